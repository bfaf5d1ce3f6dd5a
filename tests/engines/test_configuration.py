"""Options in TensorRT's own words, set and read back through TensorRT-RTX's module, which has the same interface.

That TensorRT then builds what they say needs TensorRT, which is not here.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest

from engines.configuration import configure
from engines.graph import read_manifest
from engines.options import LEVELS, BuildOptions
from engines.timing_cache import save_timing_cache
from runtime.engine_manifest import BatchProfile, Flavour
from runtime.manifest import Manifest
from runtime.tensorrt_library import TensorRTLibrary
from runtime.tensorrt_log import collecting_logger

ONE = BatchProfile(1, 1, 1)


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    return pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")


@pytest.fixture(scope="module")
def manifest(make_model: Callable[..., onnx.ModelProto]) -> Manifest:
    return read_manifest(make_model())


def configured(
    trt: ModuleType, manifest: Manifest, flavour: Flavour, plugin: Path | None = None, **options: Any
) -> Any:
    library = TensorRTLibrary(flavour, "10.13.0", trt)
    builder = trt.Builder(collecting_logger(trt))
    built = BuildOptions(**{"profiles": (ONE,), **options})
    return configure(builder, library, built, manifest, ["SM86", "SM120"], plugin)


def test_the_default(trt: ModuleType, manifest: Manifest) -> None:
    untouched = trt.Builder(collecting_logger(trt)).create_builder_config()
    config = configured(trt, manifest, "tensorrt")
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert not config.get_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    assert config.builder_optimization_level == untouched.builder_optimization_level
    workspace = trt.MemoryPoolType.WORKSPACE
    assert config.get_memory_pool_limit(workspace) == untouched.get_memory_pool_limit(workspace)
    assert config.plugins_to_serialize == []
    assert config.num_optimization_profiles == 1


def test_everything(trt: ModuleType, manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = tmp_path / "timing.cache"
    with caplog.at_level(logging.INFO):
        config = configured(
            trt,
            manifest,
            "tensorrt",
            tmp_path / "libstrip_gate.so",
            profiles=(ONE, BatchProfile(1, 8, 16)),
            optimization_level=5,
            workspace=3 << 29,
            timing_cache=cache,
            version_compatible=True,
        )
    assert config.num_optimization_profiles == 2
    assert config.builder_optimization_level == 5
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 3 << 29
    assert config.get_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    assert config.plugins_to_serialize == [str(tmp_path / "libstrip_gate.so")]
    assert f"{cache} does not exist; a new timing cache is begun" in caplog.text
    save_timing_cache(config, cache)
    assert cache.is_file()


def test_a_model_without_the_plugin_has_none_inside(trt: ModuleType, manifest: Manifest) -> None:
    assert configured(trt, manifest, "tensorrt", None, embed_plugin=True).plugins_to_serialize == []


def test_the_gpus_of_tensorrt_rtx(trt: ModuleType, manifest: Manifest) -> None:
    config = configured(trt, manifest, "tensorrt-rtx")
    targets = [config.get_compute_capability(index).name for index in range(config.num_compute_capabilities)]
    assert targets == ["SM86", "SM120"]


def test_levels_are_named_as_tensorrt_does(trt: ModuleType) -> None:
    assert set(LEVELS.values()) == set(trt.HardwareCompatibilityLevel.__members__)
