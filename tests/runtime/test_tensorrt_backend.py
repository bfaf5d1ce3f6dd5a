"""Which engines are refused before a GPU is looked for, with a real TensorRT-RTX engine."""

import dataclasses
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.embedder import Embedder
from runtime.engine_manifest import BatchProfile, Flavour
from runtime.errors import DeviceError, InputError, ManifestError
from runtime.files import sha256
from runtime.manifest import read_engine_manifest, write_engine_manifest
from runtime.preprocess import preprocess_batch
from runtime.tensorrt_backend import TensorRTBackend

SHAPE = (16, 8, 3)
PROFILE = BatchProfile(2, 4, 5)


@pytest.fixture(scope="module")
def rtx_engine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model built by TensorRT-RTX for SM86."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    from engines.builder import build_engine
    from engines.options import BuildOptions

    out = tmp_path_factory.mktemp("engine") / "tiny.engine"
    options = BuildOptions((PROFILE,), targets=("SM86",), allow_min_batch=True)
    return build_engine(tiny_model, out, flavour="tensorrt-rtx", plugin=None, options=options)


def rewritten(engine: Path, folder: Path, **changes: Any) -> Path:
    """A copy of an engine whose manifest is changed."""
    copy = folder / "copy.engine"
    copy.write_bytes(engine.read_bytes())
    manifest = read_engine_manifest(engine)
    assert manifest.engine is not None
    write_engine_manifest(copy, dataclasses.replace(manifest, engine=dataclasses.replace(manifest.engine, **changes)))
    return copy


def test_a_good_engine_without_a_gpu(rtx_engine: Path, has_gpu: bool) -> None:
    if has_gpu:
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match=r"no usable NVIDIA GPU .* use the \.onnx file here"):
        Embedder.open(rtx_engine)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine_sha256": "0" * 64}, "truncated or replaced"),
        (
            {"version": "1.6.0.5"},
            r"built by tensorrt-rtx 1\.6\.0\.5, and tensorrt-rtx .* is installed here",
        ),
        ({"plugin_sha256": "0" * 64}, "built with the plugin of SHA-256 000000000000"),
    ],
)
def test_refused_before_a_gpu_is_looked_for(
    rtx_engine: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    library = tmp_path / "libstrip_gate.so"
    library.write_bytes(b"another library")
    with pytest.raises(ManifestError, match=message):
        Embedder.open(rewritten(rtx_engine, tmp_path, **changes))


def test_a_plugin_of_another_operator_version(rtx_engine: Path, tmp_path: Path, plugin_of_version_2: Path) -> None:
    """An engine that was built with such a library, by another version of ours, which its hash alone does not show."""
    engine = rewritten(rtx_engine, tmp_path, plugin_sha256=sha256(plugin_of_version_2))

    with pytest.raises(InputError, match="built for version 2 of the operator lgeu::StripGate"):
        Embedder.open(engine, plugin=plugin_of_version_2)


def test_an_engine_that_lost_its_manifest_or_its_end(rtx_engine: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.engine"
    alone.write_bytes(rtx_engine.read_bytes())
    with pytest.raises(ManifestError, match=r"has no manifest alone\.engine\.json beside it"):
        Embedder.open(alone)
    cut = rewritten(rtx_engine, tmp_path)
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(ManifestError, match="truncated or replaced"):
        Embedder.open(cut)


@pytest.mark.gpu
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_that_runs(
    tiny_model: Path,
    crops: list[NDArray[np.uint8]],
    oracle: Callable[[NDArray[np.uint8]], NDArray[np.float64]],
    flavour: Flavour,
    build_for_this_gpu: Callable[..., Path],
    tmp_path: Path,
) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model.read_bytes())
    with Embedder.open(build_for_this_gpu(path, flavour, PROFILE)) as embedder:
        features = embedder.embed(crops, "BGR")
    np.testing.assert_allclose(features, oracle(preprocess_batch(crops, 16, 8, "BGR")), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_batches_on_their_way_together(
    tiny_model: Path,
    oracle: Callable[[NDArray[np.uint8]], NDArray[np.float64]],
    flavour: Flavour,
    build_for_this_gpu: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In two profiles, as graphs, by two threads, beside another engine; 10,000 take no more memory than the first."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model.read_bytes())
    engine = build_for_this_gpu(path, flavour, BatchProfile(1, 1, 1), BatchProfile(2, 4, 8))
    batches = [np.random.default_rng(size).integers(0, 256, (size, *SHAPE), np.uint8) for size in (8, 1, 3, 2, 8, 5)]
    expected = [oracle(batch) for batch in batches]

    def run(backend: TensorRTBackend, rounds: int) -> None:
        for _ in range(rounds):
            waiting = [backend.submit(batch) for batch in batches]
            for pending, wanted in zip(waiting, expected, strict=True):
                np.testing.assert_allclose(pending.result(), wanted, atol=1e-5)

    with (
        closing(TensorRTBackend(engine)) as backend,
        closing(TensorRTBackend(engine)) as another,
        ThreadPoolExecutor(2) as pool,
        caplog.at_level(logging.WARNING),
    ):
        list(pool.map(run, (backend, backend, another), (10, 10, 10)))
        before = free_memory()
        run(backend, 10_000 // len(batches))
        assert before - free_memory() < 32 << 20
    assert not [record for record in caplog.records if "CUDA graphs" in record.getMessage()]


def free_memory() -> int:
    """Bytes of the GPU that nobody uses."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    _, free, _ = runtime.cudaMemGetInfo()
    return int(free)
