"""Device memory and streams behind one small interface, on cuda-python or pycuda, whichever is installed.

Both work in the primary context of the GPU, so that they can live beside torch or another engine in one process. Host
arrays are ordinary, pageable NumPy arrays. Addresses and streams are plain integers, as TensorRT takes them.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import DeviceError, MissingDependencyError


class DeviceMemory(Protocol):
    """One GPU. Every method raises `DeviceError` when the GPU refuses; errors of asynchronous work may come later.

    Attributes:
        architecture: compute capability, e.g. "SM86".
    """

    architecture: str

    def allocate(self, size: int) -> int:
        """Address of `size` new bytes of device memory."""
        ...

    def free(self, address: int) -> None:
        """Give back what `allocate` returned."""
        ...

    def create_stream(self) -> int:
        """A new stream's handle."""
        ...

    def destroy_stream(self, stream: int) -> None:
        """Give back what `create_stream` returned."""
        ...

    def upload(self, address: int, array: NDArray[np.generic], stream: int) -> None:
        """Queue the copy of a C-contiguous `array`, which must live until the stream is synchronised."""
        ...

    def download(self, array: NDArray[np.generic], address: int, stream: int) -> None:
        """Queue the copy from the device into a C-contiguous `array`, complete once the stream is synchronised."""
        ...

    def synchronise(self, stream: int) -> None:
        """Wait for everything queued on the stream."""
        ...

    def create_event(self) -> int:
        """A new event's handle: a mark on a stream, to take times with."""
        ...

    def record_event(self, event: int, stream: int) -> None:
        """Set the mark behind everything queued on the stream."""
        ...

    def seconds_between(self, start: int, end: int) -> float:
        """Time from one event to another, both recorded and their stream synchronised."""
        ...

    def destroy_event(self, event: int) -> None:
        """Give back what `create_event` returned."""
        ...

    def close(self) -> None:
        """Let go of the GPU; allocations, streams and events must have been given back before."""
        ...


def open_device() -> DeviceMemory:
    """Open the GPU: the calling thread's current one with cuda-python, the first visible one with pycuda.

    Raises:
        DeviceError: there is no usable GPU.
        MissingDependencyError: neither cuda-python nor pycuda is installed.
    """
    if runtime := _import("cuda.bindings.runtime"):
        return CudaPythonMemory(runtime)
    if driver := _import("pycuda.driver"):
        return PycudaMemory(driver)
    raise MissingDependencyError(
        "running an engine needs the Python package 'cuda-python' or 'pycuda', and neither can be imported; "
        "install one with: pip install cuda-python"
    )


class CudaPythonMemory:
    """`DeviceMemory` on cuda-python's runtime API, which uses the primary context by itself."""

    def __init__(self, runtime: ModuleType) -> None:
        self._runtime = runtime
        try:
            status, count = runtime.cudaGetDeviceCount()
        except RuntimeError as error:  # cuda-python raises it itself where there is no driver library to load
            raise _no_gpu(str(error)) from error
        if status != runtime.cudaError_t.cudaSuccess or count == 0:
            raise _no_gpu(self._describe(status))
        attribute = runtime.cudaDeviceAttr
        device = self._call("cudaGetDevice")
        major = self._call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMajor, device)
        minor = self._call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMinor, device)
        self.architecture = f"SM{major}{minor}"

    def allocate(self, size: int) -> int:
        """See `DeviceMemory`."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaFree", address)

    def create_stream(self) -> int:
        """See `DeviceMemory`."""
        return int(self._call("cudaStreamCreate"))

    def destroy_stream(self, stream: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaStreamDestroy", stream)

    def upload(self, address: int, array: NDArray[np.generic], stream: int) -> None:
        """See `DeviceMemory`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, stream)

    def download(self, array: NDArray[np.generic], address: int, stream: int) -> None:
        """See `DeviceMemory`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, stream)

    def synchronise(self, stream: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaStreamSynchronize", stream)

    def create_event(self) -> int:
        """See `DeviceMemory`."""
        return int(self._call("cudaEventCreate"))

    def record_event(self, event: int, stream: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaEventRecord", event, stream)

    def seconds_between(self, start: int, end: int) -> float:
        """See `DeviceMemory`."""
        return float(self._call("cudaEventElapsedTime", start, end)) / 1000

    def destroy_event(self, event: int) -> None:
        """See `DeviceMemory`."""
        self._call("cudaEventDestroy", event)

    def close(self) -> None:
        """See `DeviceMemory`; the primary context is the runtime's own, so there is nothing to let go of."""

    def _call(self, function: str, *arguments: Any) -> Any:
        status, *values = getattr(self._runtime, function)(*arguments)
        if status != self._runtime.cudaError_t.cudaSuccess:
            raise DeviceError(f"{function} failed: {self._describe(status)}")
        return values[0] if values else None

    def _describe(self, status: Any) -> str:
        _, text = self._runtime.cudaGetErrorString(status)
        return f"CUDA error {int(status)}: {text.decode()}"


class PycudaMemory:
    """`DeviceMemory` on pycuda, with the primary context retained and current only during each call."""

    def __init__(self, driver: ModuleType) -> None:
        self._driver = driver
        self._allocations: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        self._events: dict[int, Any] = {}
        try:
            driver.init()
            device = driver.Device(0)
            major, minor = device.compute_capability()
            self._context = device.retain_primary_context()
        except driver.Error as error:
            raise _no_gpu(str(error)) from error
        self.architecture = f"SM{major}{minor}"

    def allocate(self, size: int) -> int:
        """See `DeviceMemory`."""
        with self._current("allocating device memory"):
            allocation = self._driver.mem_alloc(size)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """See `DeviceMemory`."""
        with self._current("freeing device memory"):
            self._allocations.pop(address).free()

    def create_stream(self) -> int:
        """See `DeviceMemory`."""
        with self._current("creating a stream"):
            stream = self._driver.Stream()
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        """See `DeviceMemory`; pycuda destroys a stream with its last reference."""
        with self._current("destroying a stream"):
            del self._streams[stream]

    def upload(self, address: int, array: NDArray[np.generic], stream: int) -> None:
        """See `DeviceMemory`."""
        with self._current("copying to the device"):
            self._driver.memcpy_htod_async(address, array, self._streams[stream])

    def download(self, array: NDArray[np.generic], address: int, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._current("copying from the device"):
            self._driver.memcpy_dtoh_async(array, address, self._streams[stream])

    def synchronise(self, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._current("waiting for the device"):
            self._streams[stream].synchronize()

    def create_event(self) -> int:
        """See `DeviceMemory`."""
        with self._current("creating an event"):
            event = self._driver.Event()
        self._events[id(event)] = event
        return id(event)

    def record_event(self, event: int, stream: int) -> None:
        """See `DeviceMemory`."""
        with self._current("recording an event"):
            self._events[event].record(self._streams[stream])

    def seconds_between(self, start: int, end: int) -> float:
        """See `DeviceMemory`."""
        with self._current("reading an event"):
            return float(self._events[start].time_till(self._events[end])) / 1000

    def destroy_event(self, event: int) -> None:
        """See `DeviceMemory`; pycuda destroys an event with its last reference."""
        with self._current("destroying an event"):
            del self._events[event]

    def close(self) -> None:
        """See `DeviceMemory`."""
        self._context.detach()

    @contextmanager
    def _current(self, action: str) -> Iterator[None]:
        try:
            self._context.push()
            try:
                yield
            finally:
                self._driver.Context.pop()
        except self._driver.Error as error:
            raise DeviceError(f"{action} failed: {error}") from error


def _import(module: str) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def _no_gpu(reason: str) -> DeviceError:
    return DeviceError(
        f"no usable NVIDIA GPU ({reason}); an engine runs on a GPU with its driver only: use the .onnx file here"
    )
