"""The plugin object, driven by a C++ program through TensorRT's interfaces without a TensorRT library."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from engines.strip_gate import OPERATOR_VERSION
from runtime import plugin_library as plugin_file


@pytest.fixture(scope="module")
def program(
    repository: Path, tensorrt_headers: Path, cuda_headers: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("plugin_object") / "plugin_object_test"
    sources = sorted((repository / "tests" / "engines" / "plugin_object").glob("*.cpp"))
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations"]
    includes = ["-isystem", str(tensorrt_headers), "-isystem", str(cuda_headers)]
    subprocess.run(["g++", *flags, *includes, *map(str, sources), "-o", str(path), "-ldl"], check=True)
    return path


def test_creator_fields_clones_types_shapes_and_serialisation(program: Path, plugin_library: Path) -> None:
    run = subprocess.run([str(program), str(plugin_library)], capture_output=True, text=True)

    assert run.returncode == 0, run.stderr


def test_library_exports_its_entry_points_alone_and_needs_no_tensorrt(plugin_library: Path) -> None:
    if shutil.which("nm") is None or shutil.which("readelf") is None:
        pytest.skip("binutils are not installed")
    symbols = subprocess.run(["nm", "-D", "--defined-only", str(plugin_library)], capture_output=True, text=True)
    needed = subprocess.run(["readelf", "-d", str(plugin_library)], capture_output=True, text=True).stdout

    functions = [line.split()[-1] for line in symbols.stdout.splitlines() if " T " in line]

    assert sorted(functions) == [
        "getCreators",
        "setLoggerFinder",
        "strip_gate_operator_version",
        "strip_gate_set_error_handler",
    ]
    assert "nvinfer" not in needed
    assert "cudart" not in needed


def test_the_library_computes_the_operator_that_models_hold(plugin_library: Path) -> None:
    function = ctypes.CDLL(str(plugin_library)).strip_gate_operator_version
    function.restype = ctypes.c_char_p

    assert function().decode() == plugin_file.OPERATOR_VERSION == str(OPERATOR_VERSION)


def test_cmake_names_three_ways_to_the_headers(repository: Path, plugin_library: Path, tmp_path: Path) -> None:
    source = repository / "engines" / "plugin"
    command = ["cmake", "-S", str(source), "-B", str(tmp_path / "build"), f"-DTensorRT_ROOT={tmp_path}"]

    run = subprocess.run(command, capture_output=True, text=True)

    assert run.returncode != 0
    message = " ".join(run.stderr.split())
    for way in ("libnvinfer-headers-dev", "-DTensorRT_ROOT=", "fetch_tensorrt_headers.sh"):
        assert way in message
