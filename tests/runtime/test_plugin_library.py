"""Files that are refused as the StripGate library, before TensorRT is asked."""

import platform
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import InputError
from runtime.plugin_library import check_plugin_library

OTHER_MACHINE = {"x86_64": (183, "aarch64"), "aarch64": (62, "x86_64")}


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    for content in (b"not a library, however long it may be", b"\x7fELF"):
        text.write_bytes(content)
        with pytest.raises(InputError, match=r"text\.so is not a shared library; expected libstrip_gate\.so"):
            check_plugin_library(text)


def test_a_library_that_was_cut_short(plugin_of_version_2: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.so"
    cut.write_bytes(plugin_of_version_2.read_bytes()[:200])

    with pytest.raises(InputError, match="cannot be loaded"):
        check_plugin_library(cut)


def test_another_library() -> None:
    library = Path(np.linalg._umath_linalg.__file__)  # type: ignore[attr-defined]

    with pytest.raises(
        InputError, match=r"not the StripGate plugin, or an old one \(it lacks getCreators, strip_gate_"
    ):
        check_plugin_library(library)


def test_a_library_for_another_kind_of_machine(plugin_of_version_2: Path, tmp_path: Path) -> None:
    here = platform.machine()
    if here not in OTHER_MACHINE:
        pytest.skip(f"no other machine is known to {here}")
    number, name = OTHER_MACHINE[here]
    content = bytearray(plugin_of_version_2.read_bytes())
    content[18:20] = number.to_bytes(2, "little")
    library = tmp_path / "libstrip_gate.so"
    library.write_bytes(content)

    with pytest.raises(InputError, match=f"is compiled for {name}, and this machine is {here}; build it here"):
        check_plugin_library(library)


def test_another_operator_version(plugin_of_version_2: Path) -> None:
    with pytest.raises(InputError, match=r"built for version 2 of the operator lgeu::StripGate; .* have version 1: "):
        check_plugin_library(plugin_of_version_2)
