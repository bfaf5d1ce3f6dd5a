"""The TensorRT libraries as far as they can be had without a GPU."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from runtime.errors import InputError, MissingDependencyError
from runtime.tensorrt_library import (
    TensorRTLibrary,
    current_gpu_architecture,
    default_plugin,
    load_plugin,
    load_tensorrt,
    prepare_parser,
)


def library(flavour: str = "tensorrt-rtx") -> TensorRTLibrary:
    return TensorRTLibrary(flavour, "1.7.1.116", ModuleType("trt"))  # type: ignore[arg-type]


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder like that of TensorRT-RTX's libraries, as the wheel leaves it."""
    package = ModuleType("tensorrt_rtx_libs")
    package.__file__ = str(tmp_path / "__init__.py")
    (tmp_path / "libtensorrt_rtx.so.1").write_bytes(b"library")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_libs", package)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    yield tmp_path
    tmp_path.chmod(0o755)


def test_the_missing_name_is_linked_once(wheel: Path) -> None:
    for _ in range(2):
        prepare_parser(library())

    assert (wheel / "libtensorrt_rtx.so").read_bytes() == b"library"
    assert (wheel / "libtensorrt_rtx.so").readlink() == Path("libtensorrt_rtx.so.1")


def test_a_name_on_the_library_path_is_enough(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "libtensorrt_rtx.so").write_bytes(b"library")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nonexistent:{folder}")

    prepare_parser(library())

    assert not (wheel / "libtensorrt_rtx.so").exists()


def test_a_link_that_cannot_be_made_is_explained(wheel: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    wheel.chmod(0o555)

    with pytest.raises(MissingDependencyError, match=r"ln -s libtensorrt_rtx\.so\.1 "):
        prepare_parser(library())


def test_full_tensorrt_needs_no_link(wheel: Path) -> None:
    prepare_parser(library("tensorrt"))

    assert not (wheel / "libtensorrt_rtx.so").exists()


def test_what_is_not_installed_names_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)

    with pytest.raises(MissingDependencyError, match="python3-libnvinfer"):
        load_tensorrt("tensorrt")


def test_a_missing_plugin_library(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")

    with pytest.raises(InputError, match="does not exist"):
        load_plugin(load_tensorrt("tensorrt-rtx"), tmp_path / "none.so")


def test_the_plugin_is_looked_for_where_it_is_built(repository: Path) -> None:
    assert default_plugin() == repository / "engines" / "plugin" / "build" / "libstrip_gate.so"


def test_the_architecture_is_a_compute_capability() -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-python is not installed")
    architecture = current_gpu_architecture()

    assert architecture is None or architecture.startswith("SM")
