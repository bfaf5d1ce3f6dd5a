"""The StripGate library as a file, before TensorRT sees it: compiled for this machine, of this operator version."""

import _ctypes
import ctypes
import platform
from pathlib import Path

from .errors import InputError

# Of the operator lgeu::StripGate that our ONNX files and engines hold, as the plugin registry knows it.
OPERATOR_VERSION = "1"

_ENTRY_POINTS = ("getCreators", "strip_gate_operator_version", "strip_gate_set_error_handler")
_MACHINES = {62: "x86_64", 183: "aarch64"}  # e_machine of an ELF file, in the words of platform.machine()
_ADVICE = "expected libstrip_gate.so as `make plugin` builds it"


def check_plugin_library(path: Path) -> None:
    """Refuse a file that is not the StripGate plugin for this machine and this version of the operator.

    The file is not left loaded, so that whether it is says whether TensorRT has it.

    Args:
        path: a file, by its full path: the dynamic loader would look for a bare name elsewhere.

    Raises:
        InputError: it is not a shared library, is compiled for another kind of machine, is another library, or was
            built for another operator version.
    """
    _check_machine(path)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be loaded ({error}); {_ADVICE} on this machine") from error
    try:
        _check_entry_points(path, library)
    finally:
        _ctypes.dlclose(library._handle)


def _check_entry_points(path: Path, library: ctypes.CDLL) -> None:
    lacking = [name for name in _ENTRY_POINTS if not hasattr(library, name)]
    if lacking:
        raise InputError(
            f"{path} is not the StripGate plugin, or an old one (it lacks {', '.join(lacking)}); {_ADVICE}"
        )
    version = _operator_version(library)
    if version != OPERATOR_VERSION:
        raise InputError(
            f"{path} was built for version {version} of the operator lgeu::StripGate; models and engines here have "
            f"version {OPERATOR_VERSION}: build the plugin again with `make plugin`, from the sources in use"
        )


def _check_machine(path: Path) -> None:
    """Say in words what the dynamic loader says as "No such file or directory"."""
    with path.open("rb") as file:
        header = file.read(20)
    if header[:4] != b"\x7fELF" or len(header) < 20:
        raise InputError(f"{path} is not a shared library; {_ADVICE}")
    number = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    machine, here = _MACHINES.get(number, f"ELF machine {number}"), platform.machine()
    if here in _MACHINES.values() and machine != here:
        raise InputError(f"{path} is compiled for {machine}, and this machine is {here}; build it here: `make plugin`")


def _operator_version(library: ctypes.CDLL) -> str:
    function = library.strip_gate_operator_version
    function.restype = ctypes.c_char_p
    return str(function().decode(errors="replace"))
