"""As much of TensorRT's Python interface as running an engine needs, computing on a `SimulatedGpu`."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulated_gpu import SimulatedGpu

from runtime.errors import DeviceError

Oracle = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


class SimulatedTensorRT:
    """The module.

    Attributes:
        tensors: of the engine, by name: mode, type, shape.
        batches: smallest, best and largest batch of each profile.
        enqueued: shapes of what was queued by execution contexts, captures included.
        computed: shapes of what then ran.
        profiles: in which that was.
        configured: what was set on runtime configurations, which TensorRT-RTX has.
        moved: how often a context was given another address for a tensor than before.
    """

    uint8, float32 = "UINT8", "FLOAT"
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")
    scratch_size = 64

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    def __init__(self, gpu: SimulatedGpu, oracle: Oracle, shape: tuple[int, int, int], size: int) -> None:
        self.gpu = gpu
        self.oracle = oracle
        self.tensors: dict[str, tuple[str, str, tuple[int, ...]]] = {
            "embeddings": ("out", "FLOAT", (-1, size)),
            "images": ("in", "UINT8", (-1, *shape)),
        }
        self.batches: list[tuple[int, int, int]] = [(2, 4, 5)]
        self.readable = self.has_context = self.runs = self.switches = True
        self.host_code_allowed: bool | None = None
        self.enqueued: list[tuple[int, ...]] = []
        self.computed: list[tuple[int, ...]] = []
        self.profiles: list[int] = []
        self.configured: list[SimpleNamespace] = []
        self.moved = 0
        self.logger: Any = None
        self._objects: weakref.WeakSet[Any] = weakref.WeakSet()
        gpu.before_close = self.assert_gone

    def Runtime(self, logger: Any) -> "Runtime":
        self.logger = logger
        return self.watched(Runtime(self))

    def watched(self, made: Any) -> Any:
        """`made`, which has to be gone when the GPU is closed."""
        self._objects.add(made)
        return made

    def refuses(self) -> bool:
        """Whether the GPU fails this call, which TensorRT says by what it returns and to its logger."""
        try:
            with self.gpu.call():
                return False
        except DeviceError as error:
            self.logger.log(1, str(error))
            return True

    def assert_gone(self) -> None:
        """Engines and contexts free memory when they go, which needs the GPU."""
        assert not len(self._objects), list(self._objects)


class Runtime:
    """`IRuntime`."""

    def __init__(self, trt: SimulatedTensorRT) -> None:
        self._trt = trt
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: bytes) -> "Engine | None":
        assert plan == b"plan"
        if self._trt.refuses():
            return None
        self._trt.host_code_allowed = self.engine_host_code_allowed
        if self._trt.readable:
            return self._trt.watched(Engine(self._trt))
        self._trt.logger.log(1, "Serialization assertion failed")
        return None


class Engine:
    """`ICudaEngine`."""

    num_io_tensors = 2

    def __init__(self, trt: SimulatedTensorRT) -> None:
        self._trt = trt
        self.device_memory_size_v2 = trt.scratch_size

    def get_tensor_name(self, index: int) -> str:
        return list(self._trt.tensors)[index]

    def get_tensor_mode(self, name: str) -> str:
        return self._trt.tensors[name][0]

    def get_tensor_dtype(self, name: str) -> str:
        return self._trt.tensors[name][1]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._trt.tensors[name][2]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(batch, *self._trt.tensors[name][2][1:]) for batch in self._trt.batches[profile]]

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._trt.batches)

    def create_runtime_config(self) -> SimpleNamespace:
        config = SimpleNamespace(set_execution_context_allocation_strategy=lambda strategy: None)
        self._trt.configured.append(config)
        return config

    def create_execution_context(self, options: Any) -> "Context | None":
        assert options == "user" or options in self._trt.configured
        if self._trt.refuses() or not self._trt.has_context:
            return None
        return self._trt.watched(Context(self._trt))


@dataclass
class ContextState:
    """What a context keeps on the device, and its graphs with it.

    Attributes:
        changes: how often the context was set.
        taken_in: how many of the changes the last enqueue outside a capture found.
    """

    changes: int = 0
    taken_in: int = 0


class Context:
    """`IExecutionContext`. What a graph of it does after it was set anew is undefined: an `AssertionError` here."""

    def __init__(self, trt: SimulatedTensorRT) -> None:
        self._trt = trt
        self._profile = 0
        self._shape: tuple[int, ...] | None = None
        self._addresses: dict[str, int] = {}
        self._scratch = 0
        self._state = ContextState()

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self._trt.scratch_size
        self._scratch = memory
        self._state.changes += 1

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        if self._trt.refuses():
            return False
        self._profile = profile
        self._shape = None
        self._state.changes += 1
        return self._trt.switches and profile < len(self._trt.batches)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._trt.moved += self._addresses.get(name, address) != address
        self._addresses[name] = address
        self._state.changes += 1
        return name in self._trt.tensors

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = tuple(shape)
        self._state.changes += 1
        smallest, _, largest = self._trt.batches[self._profile]
        return smallest <= shape[0] <= largest

    def execute_async_v3(self, stream: int) -> bool:
        trt, shape, scratch, profile = self._trt, self._shape, self._scratch, self._profile
        if not trt.runs:
            trt.logger.log(1, "illegal memory access")
            return False
        assert shape is not None
        (taken,) = (name for name, (mode, *_) in trt.tensors.items() if mode == "in")
        (given,) = trt.tensors.keys() - {taken}
        source, destination = self._addresses[taken], self._addresses[given]
        planar = trt.tensors[taken][1] == "FLOAT"
        kind = np.dtype(np.float32 if planar else np.uint8)
        state, changes, captured = self._state, self._state.changes, trt.gpu.capturing
        if not captured:
            state.taken_in = changes
        assert state.taken_in == changes, "captured before an enqueue took in what was set"

        def compute() -> None:
            assert not captured or state.changes == changes, "a graph runs whose context was set anew"
            trt.computed.append(shape)
            trt.profiles.append(profile)
            if trt.scratch_size:
                trt.gpu.at(scratch, trt.scratch_size)[:] = 1
            images = trt.gpu.at(source, int(np.prod(shape)) * kind.itemsize).view(kind).reshape(shape)
            result = trt.oracle(images.transpose(0, 2, 3, 1) if planar else images).astype(np.float32)
            trt.gpu.at(destination, result.nbytes)[:] = result.view(np.uint8).reshape(-1)

        try:
            trt.gpu.queue(stream, compute)
        except DeviceError as error:
            trt.logger.log(1, str(error))
            return False
        trt.enqueued.append(shape)
        return True
