"""Batches, memory, graphs and faults of an engine, with a TensorRT that computes on a simulated GPU.

No engine is executed by TensorRT here: that needs a GPU.
"""

import dataclasses
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simulated_gpu import SimulatedGpu
from simulated_tensorrt import Oracle, SimulatedTensorRT

from runtime.backend import QueueingBackend, StageTimes, TimedBackend
from runtime.embedder import Embedder
from runtime.engine_manifest import BatchProfile, EngineManifest
from runtime.errors import DeviceError, EngineMismatchError, InputError, LgeuError, ManifestError
from runtime.files import sha256
from runtime.manifest import Manifest, read_engine_manifest, write_engine_manifest
from runtime.preprocess import preprocess_batch
from runtime.tensorrt_backend import TensorRTBackend
from runtime.tensorrt_library import TensorRTLibrary

SHAPE = (16, 8, 3)
PROFILE = BatchProfile(2, 4, 5)
UPLOADS, COMPUTING = 0, 1  # the backend's streams, in the order of their creation


@pytest.fixture(params=[set(), {UPLOADS}, {COMPUTING}], ids=["late", "uploads early", "computing early"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedGpu]:
    gpu = SimulatedGpu()
    gpu.eager = request.param
    monkeypatch.setattr("runtime.tensorrt_backend.open_device", gpu.open)
    yield gpu
    assert not gpu.depth, "the context was left current"


@pytest.fixture
def trt(gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch, oracle: Oracle) -> SimulatedTensorRT:
    trt: Any = SimulatedTensorRT(gpu, oracle, SHAPE, 6)
    library = TensorRTLibrary("tensorrt", "10.3.0", trt)
    monkeypatch.setattr("runtime.tensorrt_backend.load_tensorrt", lambda flavour: library)
    return trt


@pytest.fixture
def engine(tmp_path: Path, manifest: Manifest) -> Path:
    path = tmp_path / "host.engine"
    path.write_bytes(b"plan")
    described = EngineManifest("tensorrt", "10.3.0.26", ("SM86",), (PROFILE,), sha256(path), "0" * 64, None)
    write_engine_manifest(path, dataclasses.replace(manifest, engine=described))
    return path


def batch_of(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def test_chunks_padding_and_memory(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle, crops: list[NDArray[np.uint8]]
) -> None:
    with Embedder.open(engine) as embedder:
        assert embedder.backend.name == "tensorrt 10.3.0 (SM86)"
        features = embedder.embed(crops, "BGR")
        allocations = gpu.allocations
        again = embedder.embed(crops[:6], "BGR")
        assert gpu.allocations == allocations
    np.testing.assert_allclose(features, oracle(preprocess_batch(crops, 16, 8, "BGR")), atol=1e-6)
    np.testing.assert_array_equal(again, features[:6])
    # 11 crops as 5, 5 and 1, then 6 as 5 and 1; the engine's smallest batch is 2.
    assert [shape[0] for shape in trt.computed] == [5, 5, 2, 5, 2]
    assert gpu.closed


def test_small_batches_are_padded_with_black(engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT) -> None:
    seen = []
    compute = trt.oracle

    def look(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        seen.append(images.copy())
        return compute(images)

    trt.oracle = look
    with closing(TensorRTBackend(engine)) as backend:
        for images in (batch_of(5), batch_of(5), batch_of(1)):
            backend.run(images)
    np.testing.assert_array_equal(seen[-1], np.concatenate([batch_of(1), np.zeros((1, *SHAPE), np.uint8)]))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((0, *SHAPE), np.uint8),
        np.zeros((6, *SHAPE), np.uint8),
        np.zeros((2, 8, 16, 3), np.uint8),
        np.zeros((2, *SHAPE), np.float32),
    ],
)
def test_refused_batches(engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, images: Any) -> None:
    with closing(TensorRTBackend(engine)) as backend:
        for run in (backend.run, backend.submit, backend.run_timed):
            with pytest.raises(InputError, match=r"expected 1 to 5 RGB images of shape \(16, 8, 3\) and type uint8"):
                run(images)


def test_an_engine_that_takes_planes_of_floats(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle, crops: list[NDArray[np.uint8]]
) -> None:
    trt.tensors["images"] = ("in", "FLOAT", (-1, 3, 16, 8))
    with pytest.raises(ManifestError, match=r"images FLOAT \(-1, 3, 16, 8\).*; its manifest promises images UINT8"):
        Embedder.open(engine)
    described = dataclasses.replace(read_engine_manifest(engine), input_format="float-nchw")
    write_engine_manifest(engine, described)
    with Embedder.open(engine) as embedder:
        assert max(map(len, gpu.memory.values())) == 5 * 3 * 16 * 8 * 4
        features = embedder.embed(crops, "BGR")
    np.testing.assert_allclose(features, oracle(preprocess_batch(crops, 16, 8, "BGR")), atol=1e-6)
    assert trt.computed == [(5, 3, 16, 8), (5, 3, 16, 8), (2, 3, 16, 8)]


def test_where_the_time_goes(engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT) -> None:
    backend = TensorRTBackend(engine)
    assert isinstance(backend, TimedBackend)
    images = np.random.default_rng(8).integers(0, 256, (3, *SHAPE), np.uint8)
    held = gpu.held()
    for _ in range(2):
        waiting = backend.submit(images[:2])
        embeddings, stages = backend.run_timed(images)
        # Each upload takes 1 second on this clock, the network none, each download 4.
        assert stages == StageTimes(1, 0, 4)
        np.testing.assert_array_equal(embeddings, backend.run(images))
        np.testing.assert_array_equal(waiting.result(), embeddings[:2])
    assert gpu.held() - len(gpu.graphs) == held
    trt.runs = False
    with pytest.raises(DeviceError, match="illegal memory access"):
        backend.run_timed(batch_of(5))
    assert gpu.held() - len(gpu.graphs) == held
    backend.close()
    with pytest.raises(InputError, match="closed"):
        backend.run_timed(images)


def test_closing(engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle) -> None:
    backend = TensorRTBackend(engine)
    images = batch_of(3)
    waiting = backend.submit(images)
    backend.close()
    backend.close()
    assert gpu.closed
    np.testing.assert_allclose(waiting.result(), oracle(images), atol=1e-6)
    for run in (backend.run, backend.submit, backend.run_timed):
        with pytest.raises(InputError, match="closed"):
            run(np.zeros((2, *SHAPE), np.uint8))


def test_a_batch_is_copied_while_another_is_computed(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle
) -> None:
    backend = TensorRTBackend(engine)
    assert isinstance(backend, QueueingBackend)
    batches = [batch_of(size, seed=size) for size in (2, 5, 3, 4)]
    waiting = [backend.submit(batch) for batch in batches[:2]]
    if not gpu.eager:
        assert gpu.pending(UPLOADS)
        assert gpu.pending(COMPUTING)
    if gpu.eager == {UPLOADS}:
        # Both uploads are done and nothing is computed: neither waited for the other stream.
        assert gpu.clock == 2
        assert gpu.pending(COMPUTING)
    waiting += [backend.submit(batch) for batch in batches[2:]]
    for number in (3, 0, 2, 1, 0):
        np.testing.assert_allclose(waiting[number].result(), oracle(batches[number]), atol=1e-6)
    backend.close()


@pytest.mark.parametrize("gpu", [{UPLOADS}], indirect=True)
def test_an_embedder_keeps_the_gpu_busy(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle, crops: list[NDArray[np.uint8]]
) -> None:
    times = []

    def compute(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        times.append(gpu.clock)
        return oracle(images)

    trt.oracle = compute
    with Embedder.open(engine, batch_size=2) as embedder:
        features = embedder.embed(crops, "BGR")
    np.testing.assert_allclose(features, oracle(preprocess_batch(crops, 16, 8, "BGR")), atol=1e-6)
    # An upload takes 1 second, a download 4: the first of the six batches is computed when the second is uploaded.
    assert times == [2, 7, 12, 17, 22, 26]


def test_images_may_be_written_over_once_submitted(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle
) -> None:
    backend = TensorRTBackend(engine)
    images = batch_of(5)
    expected = oracle(images)
    waiting = backend.submit(images)
    images[:] = 0
    first = waiting.result()
    backend.run(images)
    np.testing.assert_allclose(first, expected, atol=1e-6)
    backend.close()


@pytest.mark.parametrize("gpu", [set()], indirect=True)
def test_threads_share_a_backend(engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle) -> None:
    backend = TensorRTBackend(engine)

    def run(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(25):
            images = generator.integers(0, 256, (generator.integers(1, 6), *SHAPE), np.uint8)
            np.testing.assert_allclose(backend.run(images), oracle(images), atol=1e-6)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    backend.close()


def test_batches_that_come_again_run_as_graphs(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, manifest: Manifest, oracle: Oracle
) -> None:
    profiles = (BatchProfile(1, 1, 1), PROFILE)
    rewrite_manifest(engine, manifest, profiles=profiles)
    trt.batches = [(1, 1, 1), (2, 4, 5)]
    backend = TensorRTBackend(engine)
    for seed in range(12):
        for count in (1, 5):
            images = batch_of(count, seed)
            np.testing.assert_allclose(backend.run(images), oracle(images), atol=1e-6)
    # Two slots take turns, so that each has one size only: two runs of its own, one to capture, the rest as graphs.
    assert len(trt.enqueued) == 2 * 3
    assert gpu.launches == 2 * 10
    for seed in range(20):
        for count in (3, 1, 2, 4):
            images = batch_of(count, seed)
            np.testing.assert_allclose(backend.run(images), oracle(images), atol=1e-6)
    queued = len(trt.enqueued)
    for count in (3, 1, 2, 4):
        backend.run(batch_of(count))
    # One image alone is in the first profile; two are in the second.
    assert len(trt.enqueued) == queued
    assert len(gpu.graphs) == 6
    backend.close()
    assert gpu.closed


def test_graphs_have_a_limit(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, manifest: Manifest, oracle: Oracle
) -> None:
    rewrite_manifest(engine, manifest, profiles=(BatchProfile(1, 8, 20),))
    trt.batches = [(1, 8, 20)]
    backend = TensorRTBackend(engine)
    for seed in range(6):  # each size three times in each of the two slots
        for count in range(19, 0, -1):
            images = batch_of(count, seed)
            np.testing.assert_allclose(backend.run(images), oracle(images), atol=1e-6)
    assert len(gpu.graphs) == 32
    assert gpu.launches == 32
    backend.close()
    assert gpu.closed


@pytest.mark.parametrize("gpu", [set()], indirect=True)
def test_whichever_call_fails_at_a_capture_batches_stay_right(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle, caplog: pytest.LogCaptureFixture
) -> None:
    warnings = set()
    for offset in range(1, 15):
        backend = TensorRTBackend(engine)
        for seed in range(2):
            backend.run(batch_of(4, seed))
        gpu.fail_at = gpu.calls + offset
        with suppress(DeviceError):
            backend.run(batch_of(4))
        gpu.fail_at = None
        for seed in range(6):
            images = batch_of(4, seed)
            np.testing.assert_allclose(backend.run(images), oracle(images), atol=1e-6)
        warnings |= {record.getMessage().partition(": ")[0] for record in caplog.records}
        backend.close()
        assert gpu.closed
    assert warnings == {"host.engine runs without CUDA graphs, which makes small batches slower"}


def test_where_no_context_is_left_for_a_graph(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle, caplog: pytest.LogCaptureFixture
) -> None:
    backend = TensorRTBackend(engine)
    for seed in range(18):
        trt.has_context = seed < 6
        images = batch_of(5 if seed < 6 else 3, seed)
        np.testing.assert_allclose(backend.run(images), oracle(images), atol=1e-6)
    assert len(gpu.graphs) == 2
    (record,) = caplog.records
    assert record.getMessage().startswith("host.engine runs without further CUDA graphs, which makes small batches")
    assert "got no execution context" in record.getMessage()
    backend.close()


def test_where_no_graph_can_be_captured(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.captures = False
    with Embedder.open(engine) as embedder, caplog.at_level(logging.WARNING):
        for seed in range(12):
            images = batch_of(5, seed)
            np.testing.assert_allclose(embedder.backend.run(images), oracle(images), atol=1e-6)
    assert [record.getMessage() for record in caplog.records] == [
        "host.engine runs without CUDA graphs, which makes small batches slower: no capture"
    ]
    assert gpu.launches == 0


def test_tensorrt_rtx_captures_by_itself(
    engine: Path,
    gpu: SimulatedGpu,
    trt: SimulatedTensorRT,
    manifest: Manifest,
    oracle: Oracle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library: Any = TensorRTLibrary("tensorrt-rtx", "10.3.0", trt)  # type: ignore[arg-type]
    monkeypatch.setattr("runtime.tensorrt_backend.load_tensorrt", lambda flavour: library)
    backend = TensorRTBackend(engine)
    assert [each.cuda_graph_strategy for each in trt.configured] == ["whole"]
    for seed in range(6):
        images = batch_of(5, seed)
        np.testing.assert_allclose(backend.run(images), oracle(images), atol=1e-6)
    assert gpu.launches == 0
    # It captures anew when one moves.
    assert trt.moved == 0
    backend.close()


def test_an_engine_without_scratch_memory(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle
) -> None:
    trt.scratch_size = 0
    backend = TensorRTBackend(engine)
    np.testing.assert_allclose(backend.run(batch_of(4)), oracle(batch_of(4)), atol=1e-6)
    backend.close()


def break_output(trt: SimulatedTensorRT, gpu: SimulatedGpu) -> None:
    trt.tensors["embeddings"] = ("out", "FLOAT", (-1, 7))


def break_type(trt: SimulatedTensorRT, gpu: SimulatedGpu) -> None:
    trt.tensors["images"] = ("in", "FLOAT", (-1, *SHAPE))


def break_profile(trt: SimulatedTensorRT, gpu: SimulatedGpu) -> None:
    trt.batches = [(1, 4, 5)]


def break_plan(trt: SimulatedTensorRT, gpu: SimulatedGpu) -> None:
    trt.readable = False


def break_context(trt: SimulatedTensorRT, gpu: SimulatedGpu) -> None:
    trt.has_context = False


def break_architecture(trt: SimulatedTensorRT, gpu: SimulatedGpu) -> None:
    gpu.architecture = "SM87"


def break_memory(trt: SimulatedTensorRT, gpu: SimulatedGpu) -> None:
    gpu.room = 5 * 16 * 8 * 3 - 1


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (break_output, ManifestError, r"has the tensors .*embeddings FLOAT \(-1, 7\).*; its manifest promises"),
        (break_type, ManifestError, r"has the tensors .*images FLOAT"),
        (break_profile, ManifestError, "takes batches 1:4:5, its manifest says 2:4:5"),
        (break_plan, ManifestError, r"cannot be deserialised \(Serialization assertion failed\)"),
        (break_context, DeviceError, "got no execution context"),
        (break_architecture, EngineMismatchError, "architecture SM86, and this one is SM87"),
        (break_memory, DeviceError, "out of memory"),
    ],
)
def test_what_fails_on_opening_frees_everything(
    engine: Path,
    gpu: SimulatedGpu,
    trt: SimulatedTensorRT,
    fault: Callable[[SimulatedTensorRT, SimulatedGpu], None],
    error: type[LgeuError],
    message: str,
) -> None:
    fault(trt, gpu)
    with pytest.raises(error, match=message):
        Embedder.open(engine)
    assert gpu.closed


@pytest.mark.parametrize("gpu", [set()], indirect=True)
def test_whichever_call_fails_on_opening_everything_is_freed(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite_manifest(engine, manifest, profiles=(BatchProfile(1, 1, 1), PROFILE))
    trt.batches = [(1, 1, 1), (2, 4, 5)]
    backend = TensorRTBackend(engine)
    calls = gpu.calls
    backend.close()
    assert calls > 15
    for number in range(1, calls + 1):
        another = SimulatedGpu()
        another.fail_at = number
        trt.gpu = another
        monkeypatch.setattr("runtime.tensorrt_backend.open_device", lambda opened=another: opened)
        with pytest.raises((DeviceError, ManifestError), match=f"call {number} failed"):
            TensorRTBackend(engine)
        assert another.closed
        assert not another.depth


@pytest.mark.parametrize("gpu", [set()], indirect=True)
def test_whichever_call_fails_in_a_run_the_next_is_right(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, oracle: Oracle
) -> None:
    backend = TensorRTBackend(engine)
    failures = []
    for offset in range(1, 12):
        for _ in range(2):
            gpu.fail_at = gpu.calls + offset
            try:
                backend.run(batch_of(4, offset))
            except DeviceError as error:
                failures.append(str(error))
            gpu.fail_at = None
            np.testing.assert_allclose(backend.run(batch_of(4)), oracle(batch_of(4)), atol=1e-6)
    assert len(failures) > 12
    assert all(re.search(r"call \d+ failed", message) for message in failures)
    backend.close()
    assert gpu.closed


def test_a_lost_gpu(engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT) -> None:
    backend = TensorRTBackend(engine)
    waiting = backend.submit(batch_of(3))
    gpu.lost = True
    with pytest.raises(DeviceError, match="lost"):
        backend.run(batch_of(3))
    for _ in range(2):
        with pytest.raises(DeviceError, match="lost"):
            waiting.result()
    backend.close()
    backend.close()
    assert gpu.closed


def test_a_batch_size_that_the_engine_has_not_frees_everything(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT
) -> None:
    with pytest.raises(InputError, match="batch size is 6; expected 1 to 5"):
        Embedder.open(engine, batch_size=6)
    assert gpu.closed


def test_a_failing_run(engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, crops: list[NDArray[np.uint8]]) -> None:
    trt.runs = False
    with (
        pytest.raises(DeviceError, match=r"failed on a batch of 5 \(illegal memory access\)"),
        Embedder.open(engine) as e,
    ):
        e.embed(crops, "BGR")
    assert gpu.closed


def test_one_batch_size_only(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, manifest: Manifest, crops: list[NDArray[np.uint8]]
) -> None:
    fixed = EngineManifest("tensorrt", "10.3.0", ("SM86",), (BatchProfile(4, 4, 4),), sha256(engine), "0" * 64, None)
    write_engine_manifest(engine, dataclasses.replace(manifest, engine=fixed))
    trt.batches = [(4, 4, 4)]
    trt.tensors = {"images": ("in", "UINT8", (4, *SHAPE)), "embeddings": ("out", "FLOAT", (4, 6))}
    with Embedder.open(engine) as embedder:
        assert len(embedder.embed(crops[:6], "BGR")) == 6
    assert [shape[0] for shape in trt.computed] == [4, 4]


def rewrite_manifest(engine: Path, manifest: Manifest, **changes: Any) -> None:
    described = EngineManifest("tensorrt", "10.3.0", ("SM86",), (PROFILE,), sha256(engine), "0" * 64, None)
    write_engine_manifest(engine, dataclasses.replace(manifest, engine=dataclasses.replace(described, **changes)))


def test_several_profiles(
    engine: Path,
    gpu: SimulatedGpu,
    trt: SimulatedTensorRT,
    manifest: Manifest,
    oracle: Oracle,
    crops: list[NDArray[np.uint8]],
) -> None:
    profiles = (BatchProfile(1, 1, 1), BatchProfile(2, 4, 6), BatchProfile(4, 4, 4))
    rewrite_manifest(engine, manifest, profiles=profiles)
    trt.batches = [(each.min, each.opt, each.max) for each in profiles]
    with Embedder.open(engine) as embedder:
        assert embedder.batch_size == 6
        for count in (1, 4, 6, 2, 3, 1):
            features = embedder.embed(crops[:count], "BGR")
            expected = oracle(preprocess_batch(crops[:count], 16, 8, "BGR"))
            np.testing.assert_allclose(features, expected, atol=1e-6)
    assert trt.profiles == [0, 1, 1, 1, 1, 0]
    assert [shape[0] for shape in trt.computed] == [1, 4, 6, 2, 3, 1]


def test_an_engine_that_keeps_its_profile(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, manifest: Manifest, crops: list[NDArray[np.uint8]]
) -> None:
    rewrite_manifest(engine, manifest, profiles=(BatchProfile(1, 1, 1), PROFILE))
    trt.batches = [(1, 1, 1), (2, 4, 5)]
    trt.switches = False
    with pytest.raises(DeviceError, match="refused its profile 1"), Embedder.open(engine) as embedder:
        embedder.embed(crops, "BGR")
    assert gpu.closed


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({}, False), ({"plugin_sha256": "1" * 64, "plugin_embedded": True}, True), ({"version_compatible": True}, True)],
)
def test_code_inside_an_engine_is_allowed_where_the_manifest_says_so(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, manifest: Manifest, changes: dict[str, Any], allowed: bool
) -> None:
    """And the plugin inside needs no library: none is here that could be loaded."""
    rewrite_manifest(engine, manifest, **changes)
    Embedder.open(engine).close()
    assert trt.host_code_allowed is allowed


def test_a_version_compatible_engine_runs_on_a_later_version(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, manifest: Manifest
) -> None:
    rewrite_manifest(engine, manifest, version="10.2.0.1")
    with pytest.raises(EngineMismatchError, match=r"built by tensorrt 10\.2\.0\.1"):
        Embedder.open(engine)
    rewrite_manifest(engine, manifest, version="10.2.0.1", version_compatible=True)
    Embedder.open(engine).close()


def test_an_engine_of_another_platform(
    engine: Path, gpu: SimulatedGpu, trt: SimulatedTensorRT, manifest: Manifest
) -> None:
    rewrite_manifest(engine, manifest, platform="Linux riscv64")
    with pytest.raises(EngineMismatchError, match="built on Linux riscv64"):
        Embedder.open(engine)
