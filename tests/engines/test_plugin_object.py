"""The plugin object, driven by a C++ program through TensorRT's interfaces without a TensorRT library."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from engines.strip_gate import OPERATOR_VERSION
from runtime import plugin_library as plugin_file
from runtime.tensorrt_library import current_gpu_architecture


@pytest.fixture(scope="module")
def program(repository: Path, plugin_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    headers = _tensorrt_headers(plugin_library)
    cuda = _cuda_headers()
    path = tmp_path_factory.mktemp("plugin_object") / "plugin_object_test"
    sources = sorted((repository / "tests" / "engines" / "plugin_object").glob("*.cpp"))
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations"]
    includes = ["-isystem", str(headers), "-isystem", str(cuda)]
    subprocess.run(["g++", *flags, *includes, *map(str, sources), "-o", str(path), "-ldl"], check=True)
    return path


def test_creator_fields_clones_types_shapes_and_serialisation(program: Path, plugin_library: Path) -> None:
    gpu = "gpu" if current_gpu_architecture() else "no-gpu"

    run = subprocess.run([str(program), str(plugin_library), gpu], capture_output=True, text=True)

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


def _tensorrt_headers(library: Path) -> Path:
    """The headers that the library was built with, as CMake found them."""
    cache = (library.parent / "CMakeCache.txt").read_text().splitlines()
    root = next((line.split("=", 1)[1] for line in cache if line.startswith("TensorRT_ROOT:")), "")
    candidates = [Path(root), Path(root) / "include"] if root else [Path("/usr/include/x86_64-linux-gnu")]
    for folder in candidates:
        if (folder / "NvInferRuntime.h").is_file():
            return folder
    pytest.skip(f"TensorRT's headers are not in {' or '.join(map(str, candidates))}")


def _cuda_headers() -> Path:
    nvcc = Path(shutil.which("nvcc") or "").resolve()
    for folder in (nvcc.parents[1] / "include", Path("/usr/local/cuda/include")):
        if (folder / "cuda_runtime_api.h").is_file():
            return folder
    pytest.skip("CUDA's headers are not beside nvcc")
