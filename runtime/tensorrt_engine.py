"""A deserialised engine, and its execution contexts in memory that they share."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from .device import CudaDevice
from .engine_tensors import read_tensors
from .errors import DeviceError, ManifestError
from .freeing import free_later
from .tensorrt_library import TensorRTLibrary, create_runtime
from .tensorrt_log import collecting_logger, complaint


class TensorRTEngine:
    """Queues batches of an engine with one input and one output on one stream, by one thread at a time.

    An execution context stays in its profile, so that none is switched while batches run. On one stream they run one
    after the other, so that all work in the same scratch memory, as large as the neediest profile's.

    Attributes:
        tensors: what it takes and gives, which is for the caller to check.
        captures_itself: TensorRT-RTX makes CUDA graphs of its own, once its kernels for a batch size are compiled; one
            captured from outside could keep the slower kernels that it starts with.
    """

    def __init__(
        self,
        path: Path,
        library: TensorRTLibrary,
        device: CudaDevice,
        stream: int,
        resources: ExitStack,
        *,
        allow_host_code: bool = False,
    ) -> None:
        """Deserialise an engine that belongs to `library` and `device`; the device is current.

        Args:
            path: the engine.
            library: TensorRT, with the engine's plugin loaded.
            device: the GPU.
            stream: that the batches will be queued on.
            resources: gives back what is held, also when a later step of this fails.
            allow_host_code: see `create_runtime`.

        Raises:
            ManifestError: it cannot be deserialised.
            DeviceError: the GPU refused, e.g. for want of memory.
        """
        self.captures_itself = library.flavour == "tensorrt-rtx"
        self._trt = library.trt
        self._path = path
        self._stream = stream
        logger = collecting_logger(library.trt)
        self._messages: list[str] = logger.errors
        self._runtime = create_runtime(library.trt, logger, allow_host_code=allow_host_code)
        self._engine: Any = None
        self._context_options: Any = None
        resources.callback(self._release_engine)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise ManifestError(
                f"{path} cannot be deserialised ({complaint(self._messages)}); build it again on this machine"
            )
        self.tensors = read_tensors(self._engine, library.trt)
        self._scratch_size = int(self._engine.device_memory_size_v2)
        self._scratch = device.allocate(self._scratch_size) if self._scratch_size else 0
        if self._scratch:
            free_later(resources, device.free, self._scratch)
        self._contexts: list[Any] = []
        resources.callback(self._contexts.clear)
        self._context_options = self._create_context_options()

    def create_contexts(self) -> list[int]:
        """A new execution context for each profile; see `create_context`."""
        return [self.create_context(profile) for profile in range(self._engine.num_optimization_profiles)]

    def create_context(self, profile: int) -> int:
        """Number of a new execution context in the profile of that index; the device is current.

        Raises:
            DeviceError: TensorRT refused, e.g. for want of memory.
        """
        self._messages.clear()
        contexts = self._contexts
        contexts.append(self._engine.create_execution_context(self._context_options))
        if contexts[-1] is None:
            raise DeviceError(
                f"{self._path} got no execution context ({complaint(self._messages)}); free memory on the GPU"
            )
        if self._scratch_size:
            contexts[-1].set_device_memory(self._scratch, self._scratch_size)
        # A new context is in profile 0.
        if profile and not contexts[-1].set_optimization_profile_async(profile, self._stream):
            raise DeviceError(f"the engine refused its profile {profile} ({complaint(self._messages)})")
        return len(contexts) - 1

    def prepare(self, context: int, shape: tuple[int, ...], source: int, target: int) -> Callable[[], None]:
        """Set what an execution context computes from now on; the device is current, here and in what is returned.

        Args:
            context: its number.
            shape: of the input.
            source: address of the input, which must stay as it is while a batch is on its way.
            target: address of the output, which is not to be used by others meanwhile.

        Returns:
            What queues a batch.

        Raises:
            DeviceError: TensorRT refused, here or in what is returned.
        """
        self._messages.clear()
        contexts = self._contexts
        (taken,), (given,) = self.tensors.inputs, self.tensors.outputs
        if not contexts[context].set_input_shape(taken.name, shape):
            raise DeviceError(f"the engine refused the input shape {shape} ({complaint(self._messages)})")
        for name, address in ((taken.name, source), (given.name, target)):
            if not contexts[context].set_tensor_address(name, address):
                raise DeviceError(f"the engine refused the address of {name} ({complaint(self._messages)})")
        return partial(self._enqueue, context, shape[0])

    def _enqueue(self, context: int, count: int) -> None:
        self._messages.clear()
        if not self._contexts[context].execute_async_v3(self._stream):
            raise DeviceError(f"the engine failed on a batch of {count} ({complaint(self._messages)})")

    def _create_context_options(self) -> Any:
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self.captures_itself:
            return strategy
        options = self._engine.create_runtime_config()
        options.set_execution_context_allocation_strategy(strategy)
        options.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return options

    def _release_engine(self) -> None:
        self._context_options = self._engine = self._runtime = None
