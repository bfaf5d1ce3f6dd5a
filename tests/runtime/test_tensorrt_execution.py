"""Chunks, addresses and memory of an engine, with a TensorRT that computes on the host.

No engine is executed by TensorRT here: that needs a GPU.
"""

import ctypes
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.backend import StageTimes, TimedBackend
from runtime.embedder import Embedder
from runtime.errors import DeviceError, EngineMismatchError, InputError, LgeuError, ManifestError
from runtime.files import sha256
from runtime.manifest import BatchProfile, EngineManifest, Manifest, read_engine_manifest, write_engine_manifest
from runtime.preprocess import preprocess_batch
from runtime.tensorrt_backend import TensorRTBackend
from runtime.tensorrt_library import TensorRTLibrary

Oracle = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
SHAPE = (16, 8, 3)
PROFILE = BatchProfile(2, 4, 5)


class HostMemory:
    """Device memory that is host memory, and knows what is out."""

    architecture = "SM86"

    def __init__(self) -> None:
        self.allocations: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.events: dict[int, int] = {}
        self.time = 0
        self.allocated = 0
        self.room = 1 << 20
        self.closed = False

    def allocate(self, size: int) -> int:
        if size > self.room:
            raise DeviceError("out of memory")
        block = ctypes.create_string_buffer(size)
        self.allocations[ctypes.addressof(block)] = block
        self.allocated += 1
        return ctypes.addressof(block)

    def free(self, address: int) -> None:
        del self.allocations[address]

    def create_stream(self) -> int:
        self.streams.add(7)
        return 7

    def destroy_stream(self, stream: int) -> None:
        self.streams.remove(stream)

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        assert stream in self.streams
        assert array.nbytes <= len(self.allocations[address])
        ctypes.memmove(address, array.ctypes.data, array.nbytes)
        self.time += 1

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        assert stream in self.streams
        assert array.nbytes <= len(self.allocations[address])
        ctypes.memmove(array.ctypes.data, address, array.nbytes)
        self.time += 4

    def synchronise(self, stream: int) -> None:
        assert stream in self.streams

    def create_event(self) -> int:
        self.events[len(self.events)] = -1
        return len(self.events) - 1

    def record_event(self, event: int, stream: int) -> None:
        assert stream in self.streams
        self.events[event] = self.time

    def seconds_between(self, start: int, end: int) -> float:
        return self.events[end] - self.events[start]

    def destroy_event(self, event: int) -> None:
        del self.events[event]

    def close(self) -> None:
        assert not self.allocations
        assert not self.events
        assert not self.streams
        self.closed = True


class HostTensorRT:
    """As much of TensorRT's Python interface as an engine needs, computing with `oracle` where it was told to look."""

    uint8, float32 = "UINT8", "FLOAT"
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.tensors: dict[str, tuple[str, str, tuple[int, ...]]] = {
            "embeddings": ("out", "FLOAT", (-1, 6)),
            "images": ("in", "UINT8", (-1, *SHAPE)),
        }
        self.batches: list[tuple[int, int, int]] = [(2, 4, 5)]
        self.active = 0
        self.engine_host_code_allowed = False
        self.readable = self.has_context = self.runs = self.switches = True
        self.seen: list[tuple[int, ...]] = []
        self._addresses: dict[str, int] = {}
        self._logger: Any = None

    def Runtime(self, logger: Any) -> "HostTensorRT":
        self._logger = logger
        return self

    def deserialize_cuda_engine(self, plan: bytes) -> "HostTensorRT | None":
        assert plan == b"plan"
        self.host_code_allowed_at_start = self.engine_host_code_allowed
        if not self.readable:
            self._logger.log(1, "Serialization assertion failed")
        return self if self.readable else None

    num_io_tensors = 2

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> str:
        return self.tensors[name][0]

    def get_tensor_dtype(self, name: str) -> str:
        return self.tensors[name][1]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name][2]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(batch, *self.tensors[name][2][1:]) for batch in self.batches[profile]]

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.batches)

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert stream == 7
        # TensorRT does not say whether it keeps them, so that nobody may rely on it.
        self._addresses.clear()
        self.active = profile
        return profile < len(self.batches) and self.switches

    def create_execution_context(self) -> "HostTensorRT | None":
        return self if self.has_context else None

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return name in self.tensors

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.seen.append(tuple(shape))
        smallest, _, largest = self.batches[self.active]
        return smallest <= shape[0] <= largest

    def execute_async_v3(self, stream: int) -> bool:
        if self.runs:
            shape = self.seen[-1]
            planar = self.tensors["images"][1] == "FLOAT"
            kind = ctypes.c_float if planar else ctypes.c_uint8
            buffer = (kind * int(np.prod(shape))).from_address(self._addresses["images"])
            images = np.frombuffer(buffer, kind).reshape(shape)
            result = self.oracle(images.transpose(0, 2, 3, 1) if planar else images).astype(np.float32)
            ctypes.memmove(self._addresses["embeddings"], result.ctypes.data, result.nbytes)
        else:
            self._logger.log(1, "illegal memory access")
        return self.runs


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> HostMemory:
    memory = HostMemory()
    monkeypatch.setattr("runtime.tensorrt_backend.open_device", lambda: memory)
    return memory


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, oracle: Oracle) -> HostTensorRT:
    trt: Any = HostTensorRT(oracle)
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


def test_chunks_padding_and_memory(
    engine: Path, memory: HostMemory, trt: HostTensorRT, oracle: Oracle, crops: list[NDArray[np.uint8]]
) -> None:
    with Embedder.open(engine) as embedder:
        assert embedder.backend.name == "tensorrt 10.3.0 (SM86)"
        features = embedder.embed(crops, "BGR")
        again = embedder.embed(crops[:6], "BGR")
        assert (memory.allocated, len(memory.allocations)) == (2, 2)
    np.testing.assert_allclose(features, oracle(preprocess_batch(crops, 16, 8, "BGR")), atol=1e-6)
    np.testing.assert_array_equal(again, features[:6])
    # 11 crops as 5, 5 and 1, then 6 as 5 and 1; the engine's smallest batch is 2.
    assert [shape[0] for shape in trt.seen] == [5, 5, 2, 5, 2]
    assert memory.closed


def test_an_engine_that_takes_planes_of_floats(
    engine: Path, memory: HostMemory, trt: HostTensorRT, oracle: Oracle, crops: list[NDArray[np.uint8]]
) -> None:
    trt.tensors["images"] = ("in", "FLOAT", (-1, 3, 16, 8))
    with pytest.raises(ManifestError, match=r"images FLOAT \(-1, 3, 16, 8\).*; its manifest promises images UINT8"):
        Embedder.open(engine)
    described = dataclasses.replace(read_engine_manifest(engine), input_format="float-nchw")
    write_engine_manifest(engine, described)
    with Embedder.open(engine) as embedder:
        assert max(map(len, memory.allocations.values())) == 5 * 3 * 16 * 8 * 4
        features = embedder.embed(crops, "BGR")
    np.testing.assert_allclose(features, oracle(preprocess_batch(crops, 16, 8, "BGR")), atol=1e-6)
    assert trt.seen == [(5, 3, 16, 8), (5, 3, 16, 8), (2, 3, 16, 8)]


def test_where_the_time_goes(engine: Path, memory: HostMemory, trt: HostTensorRT) -> None:
    backend = TensorRTBackend(engine)
    assert isinstance(backend, TimedBackend)
    images = np.random.default_rng(8).integers(0, 256, (3, *SHAPE), np.uint8)
    for _ in range(2):
        embeddings, stages = backend.run_timed(images)
        np.testing.assert_array_equal(embeddings, backend.run(images))
        # Each upload takes 1 second on this clock, the network none, each download 4.
        assert stages == StageTimes(1, 0, 4)
        assert not memory.events
    trt.runs = False
    with pytest.raises(DeviceError, match="illegal memory access"):
        backend.run_timed(images)
    assert not memory.events
    backend.close()
    with pytest.raises(InputError, match="closed"):
        backend.run_timed(images)


def test_closing(engine: Path, memory: HostMemory, trt: HostTensorRT) -> None:
    backend = TensorRTBackend(engine)
    backend.close()
    backend.close()
    assert memory.closed
    with pytest.raises(InputError, match="closed"):
        backend.run(np.zeros((2, *SHAPE), np.uint8))


def break_output(trt: HostTensorRT, memory: HostMemory) -> None:
    trt.tensors["embeddings"] = ("out", "FLOAT", (-1, 7))


def break_type(trt: HostTensorRT, memory: HostMemory) -> None:
    trt.tensors["images"] = ("in", "FLOAT", (-1, *SHAPE))


def break_profile(trt: HostTensorRT, memory: HostMemory) -> None:
    trt.batches = [(1, 4, 5)]


def break_plan(trt: HostTensorRT, memory: HostMemory) -> None:
    trt.readable = False


def break_context(trt: HostTensorRT, memory: HostMemory) -> None:
    trt.has_context = False


def break_architecture(trt: HostTensorRT, memory: HostMemory) -> None:
    memory.architecture = "SM87"


def break_memory(trt: HostTensorRT, memory: HostMemory) -> None:
    memory.room = 5 * 16 * 8 * 3 - 1


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
    memory: HostMemory,
    trt: HostTensorRT,
    fault: Callable[[HostTensorRT, HostMemory], None],
    error: type[LgeuError],
    message: str,
) -> None:
    fault(trt, memory)
    with pytest.raises(error, match=message):
        Embedder.open(engine)
    assert memory.closed


def test_a_batch_size_that_the_engine_has_not_frees_everything(
    engine: Path, memory: HostMemory, trt: HostTensorRT
) -> None:
    with pytest.raises(InputError, match="batch size is 6; expected 1 to 5"):
        Embedder.open(engine, batch_size=6)
    assert memory.closed


def test_a_failing_run(engine: Path, memory: HostMemory, trt: HostTensorRT, crops: list[NDArray[np.uint8]]) -> None:
    trt.runs = False
    with (
        pytest.raises(DeviceError, match=r"failed on a batch of 5 \(illegal memory access\)"),
        Embedder.open(engine) as e,
    ):
        e.embed(crops, "BGR")
    assert memory.closed


def test_one_batch_size_only(
    engine: Path, memory: HostMemory, trt: HostTensorRT, manifest: Manifest, crops: list[NDArray[np.uint8]]
) -> None:
    fixed = EngineManifest("tensorrt", "10.3.0", ("SM86",), (BatchProfile(4, 4, 4),), sha256(engine), "0" * 64, None)
    write_engine_manifest(engine, dataclasses.replace(manifest, engine=fixed))
    trt.batches = [(4, 4, 4)]
    trt.tensors = {"images": ("in", "UINT8", (4, *SHAPE)), "embeddings": ("out", "FLOAT", (4, 6))}
    with Embedder.open(engine) as embedder:
        assert len(embedder.embed(crops[:6], "BGR")) == 6
    assert [shape[0] for shape in trt.seen] == [4, 4]


def rewrite_manifest(engine: Path, manifest: Manifest, **changes: Any) -> None:
    described = EngineManifest("tensorrt", "10.3.0", ("SM86",), (PROFILE,), sha256(engine), "0" * 64, None)
    write_engine_manifest(engine, dataclasses.replace(manifest, engine=dataclasses.replace(described, **changes)))


def test_several_profiles(
    engine: Path,
    memory: HostMemory,
    trt: HostTensorRT,
    manifest: Manifest,
    oracle: Oracle,
    crops: list[NDArray[np.uint8]],
) -> None:
    profiles = (BatchProfile(1, 1, 1), BatchProfile(2, 4, 6), BatchProfile(4, 4, 4))
    rewrite_manifest(engine, manifest, profiles=profiles)
    trt.batches = [(each.min, each.opt, each.max) for each in profiles]
    used = []
    with Embedder.open(engine) as embedder:
        assert embedder.batch_size == 6
        for count in (1, 4, 6, 2, 3, 1):
            features = embedder.embed(crops[:count], "BGR")
            expected = oracle(preprocess_batch(crops[:count], 16, 8, "BGR"))
            np.testing.assert_allclose(features, expected, atol=1e-6)
            used.append(trt.active)
        assert (memory.allocated, len(memory.allocations)) == (2, 2)
    assert used == [0, 1, 1, 1, 1, 0]
    assert [shape[0] for shape in trt.seen] == [1, 4, 6, 2, 3, 1]


def test_an_engine_that_keeps_its_profile(
    engine: Path, memory: HostMemory, trt: HostTensorRT, manifest: Manifest, crops: list[NDArray[np.uint8]]
) -> None:
    rewrite_manifest(engine, manifest, profiles=(BatchProfile(1, 1, 1), PROFILE))
    trt.batches = [(1, 1, 1), (2, 4, 5)]
    trt.switches = False
    with pytest.raises(DeviceError, match="refused its profile 1"), Embedder.open(engine) as embedder:
        embedder.embed(crops, "BGR")
    assert memory.closed


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({}, False), ({"plugin_sha256": "1" * 64, "plugin_embedded": True}, True), ({"version_compatible": True}, True)],
)
def test_code_inside_an_engine_is_allowed_where_the_manifest_says_so(
    engine: Path, memory: HostMemory, trt: HostTensorRT, manifest: Manifest, changes: dict[str, Any], allowed: bool
) -> None:
    """And the plugin inside needs no library: none is here that could be loaded."""
    rewrite_manifest(engine, manifest, **changes)
    Embedder.open(engine).close()
    assert trt.host_code_allowed_at_start is allowed


def test_a_version_compatible_engine_runs_on_a_later_version(
    engine: Path, memory: HostMemory, trt: HostTensorRT, manifest: Manifest
) -> None:
    rewrite_manifest(engine, manifest, version="10.2.0.1")
    with pytest.raises(EngineMismatchError, match=r"built by tensorrt 10\.2\.0\.1"):
        Embedder.open(engine)
    rewrite_manifest(engine, manifest, version="10.2.0.1", version_compatible=True)
    Embedder.open(engine).close()


def test_an_engine_of_another_platform(engine: Path, memory: HostMemory, trt: HostTensorRT, manifest: Manifest) -> None:
    rewrite_manifest(engine, manifest, platform="Linux riscv64")
    with pytest.raises(EngineMismatchError, match="built on Linux riscv64"):
        Embedder.open(engine)
