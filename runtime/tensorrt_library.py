"""TensorRT or TensorRT-RTX as Python modules of one shape, and the StripGate library in their plugin registry."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .dependencies import require
from .device import open_device
from .engine_manifest import Flavour
from .errors import DeviceError, InputError, MissingDependencyError
from .files import require_file
from .plugin_library import OPERATOR_VERSION, check_plugin_library

_STRIP_GATE = ("StripGate", OPERATOR_VERSION, "lgeu")  # name, version, namespace

_MODULE = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
_INSTALL = {
    "tensorrt": "pip install tensorrt (on a Jetson: apt-get install python3-libnvinfer)",
    "tensorrt-rtx": "pip install 'lgeu-reid[tensorrt-rtx]'",
}

# The library that TensorRT-RTX's ONNX parser opens when it meets a plugin; its wheel has the second name only.
_RTX_SONAME = "libtensorrt_rtx.so"
_RTX_LIBRARY = "libtensorrt_rtx.so.1"


@dataclass(frozen=True)
class TensorRTLibrary:
    """One of the two libraries.

    Attributes:
        flavour: which.
        version: e.g. "10.3.0".
        trt: its Python module.
    """

    flavour: Flavour
    version: str
    trt: ModuleType

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version, e.g. (10, 3)."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)


def load_tensorrt(flavour: Flavour) -> TensorRTLibrary:
    """Import the Python module of a flavour.

    Raises:
        MissingDependencyError: it is not installed.
    """
    trt = require(_MODULE[flavour], purpose=f"an engine of flavour {flavour}", install=_INSTALL[flavour])
    return TensorRTLibrary(flavour, str(trt.__version__), trt)


def prepare_parser(library: TensorRTLibrary) -> None:
    """Make the ONNX parser able to import a plugin; does nothing where it is already.

    TensorRT-RTX's wheel lacks the name under which its parser opens the library, and the process dies when it does. A
    link beside the library in the installed package mends it.

    Raises:
        MissingDependencyError: the link is missing and cannot be made.
    """
    if library.flavour != "tensorrt-rtx":
        return
    package = require("tensorrt_rtx_libs", purpose="TensorRT-RTX's parser", install=_INSTALL["tensorrt-rtx"])
    folder = Path(str(package.__file__)).parent
    link, target = folder / _RTX_SONAME, folder / _RTX_LIBRARY
    searched = [Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if entry]
    if any((place / _RTX_SONAME).exists() for place in (folder, *searched)) or not target.exists():
        return
    try:
        link.symlink_to(target.name)
    except FileExistsError:
        return  # another process was quicker
    except OSError as error:
        raise MissingDependencyError(
            f"TensorRT-RTX's wheel lacks {link}, without which its parser cannot take a plugin, and it cannot be made "
            f"({error.strerror}); make it once as the owner of that folder: ln -s {target.name} {link}"
        ) from error


def load_plugin(library: TensorRTLibrary, path: Path) -> None:
    """Register the StripGate creator in `path` with TensorRT's plugin registry; a second time does nothing.

    Raises:
        InputError: the file is not the plugin (see `check_plugin_library`), its creator is not StripGate's, or another
            StripGate library is loaded in this process already.
    """
    path = require_file(path, "plugin library").resolve()
    before = _creators(library.trt)
    check_plugin_library(path)
    if _STRIP_GATE in before:
        if not _is_mapped(path):
            raise InputError(f"another StripGate library than {path} is loaded in this process; use one of them only")
        return
    registry = library.trt.get_plugin_registry()
    registered = registry.load_library(str(path))
    found = _creators(library.trt)
    if _STRIP_GATE not in found:
        if registered is not None:
            registry.deregister_library(registered)
        given = ", ".join(f"{name} version {version} in namespace {space!r}" for name, version, space in found - before)
        raise InputError(
            f"{library.flavour} {library.version} found {given or 'no plugin'} in {path}, not StripGate version "
            f"{OPERATOR_VERSION} in namespace 'lgeu'; build it again against this TensorRT's headers: `make plugin`"
        )


@contextmanager
def plugin_errors(path: Path, errors: list[str]) -> Iterator[None]:
    """While the block runs, append what the StripGate library complains of to `errors`, not to standard error.

    TensorRT's own logger does not reach it: see `setLoggerFinder` in the plugin's source.
    """
    handler_type = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
    handler = handler_type(lambda message: errors.append(message.decode(errors="replace")))
    set_handler = ctypes.CDLL(str(Path(path).resolve())).strip_gate_set_error_handler
    set_handler(handler)
    try:
        yield
    finally:
        set_handler(handler_type())


def create_runtime(trt: ModuleType, logger: Any, *, allow_host_code: bool) -> Any:
    """The `IRuntime` for an engine. One that has code for the CPU inside, the plugin's, has to be allowed to run it.

    That is no more trust than in a plugin library that lies beside an engine: use engines of your own only.
    """
    runtime = trt.Runtime(logger)
    if allow_host_code:
        runtime.engine_host_code_allowed = True
    return runtime


def default_plugin() -> Path:
    """Where `make plugin` puts the StripGate library: in the checkout, beside its source."""
    return Path(__file__).resolve().parents[1] / "engines" / "plugin" / "build" / "libstrip_gate.so"


def current_gpu_architecture() -> str | None:
    """Compute capability of this machine's GPU, e.g. "SM86"; None where there is no usable one.

    Raises:
        MissingDependencyError: neither cuda-python nor pycuda is installed, so that it is not known.
    """
    try:
        device = open_device()
    except DeviceError:
        return None
    try:
        return device.architecture
    finally:
        device.close()


def _creators(trt: ModuleType) -> set[tuple[str, str, str]]:
    creators: list[Any] = trt.get_plugin_registry().all_creators
    # None stands for a creator of a kind that the Python module does not know.
    return {(item.name, item.plugin_version, item.plugin_namespace) for item in creators if item is not None}


def _is_mapped(path: Path) -> bool:
    """Whether this process has the file loaded, by the kernel's own list."""
    return any(line.rstrip().endswith(f" {path}") for line in Path("/proc/self/maps").read_text().splitlines())
