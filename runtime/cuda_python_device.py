"""A GPU through cuda-python."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .device_errors import no_gpu, remedy
from .errors import DeviceError


class CudaPythonDevice:
    """`runtime.device.CudaDevice` on cuda-python's driver API."""

    def __init__(self, driver: ModuleType) -> None:
        """Retain the primary context of the calling thread's current GPU, else of the first.

        Args:
            driver: `cuda.bindings.driver`.

        Raises:
            DeviceError: there is no usable GPU.
        """
        self._driver = driver
        try:
            self._call("cuInit", 0)
            has_context = int(self._call("cuCtxGetCurrent")) != 0
            device = self._call("cuCtxGetDevice") if has_context else self._call("cuDeviceGet", 0)
            capability = driver.CUdevice_attribute
            major, minor = (
                self._call("cuDeviceGetAttribute", attribute, device)
                for attribute in (
                    capability.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                    capability.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                )
            )
            self._context = self._call("cuDevicePrimaryCtxRetain", device)
        except DeviceError as error:
            raise no_gpu(str(error)) from error
        except RuntimeError as error:
            raise no_gpu("the NVIDIA driver's library cannot be loaded") from error
        self._device: Any = device
        self.architecture = f"SM{major}{minor}"

    @contextmanager
    def current(self) -> Iterator[None]:
        """See `CudaDevice`."""
        self._call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            # It succeeds or repeats an earlier error, which must not stand before the one that may be on its way.
            self._driver.cuCtxPopCurrent()

    def allocate(self, size: int) -> int:
        """See `CudaDevice`."""
        return int(self._call("cuMemAlloc", size))

    def free(self, address: int) -> None:
        """See `CudaDevice`."""
        self._call("cuMemFree", address)

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """See `CudaDevice`."""
        address = int(self._call("cuMemAllocHost", size))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        """See `CudaDevice`."""
        self._call("cuMemFreeHost", array.ctypes.data)

    def create_stream(self) -> int:
        """See `CudaDevice`."""
        return int(self._call("cuStreamCreate", self._driver.CUstream_flags.CU_STREAM_NON_BLOCKING.value))

    def destroy_stream(self, stream: int) -> None:
        """See `CudaDevice`."""
        self._call("cuStreamDestroy", stream)

    def upload(self, address: int, array: NDArray[np.generic], stream: int) -> None:
        """See `CudaDevice`."""
        self._call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: NDArray[np.generic], address: int, stream: int) -> None:
        """See `CudaDevice`."""
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, stream)

    def synchronise(self, stream: int) -> None:
        """See `CudaDevice`."""
        self._call("cuStreamSynchronize", stream)

    def create_event(self, *, timed: bool = False) -> int:
        """See `CudaDevice`."""
        flags = self._driver.CUevent_flags
        kind = flags.CU_EVENT_DEFAULT if timed else flags.CU_EVENT_DISABLE_TIMING
        return int(self._call("cuEventCreate", flags.CU_EVENT_BLOCKING_SYNC.value | kind.value))

    def destroy_event(self, event: int) -> None:
        """See `CudaDevice`."""
        self._call("cuEventDestroy", event)

    def record_event(self, event: int, stream: int) -> None:
        """See `CudaDevice`."""
        self._call("cuEventRecord", event, stream)

    def wait_for_event(self, stream: int, event: int) -> None:
        """See `CudaDevice`."""
        self._call("cuStreamWaitEvent", stream, event, 0)

    def synchronise_event(self, event: int) -> None:
        """See `CudaDevice`."""
        self._call("cuEventSynchronize", event)

    def seconds_between(self, start: int, end: int) -> float:
        """See `CudaDevice`."""
        return float(self._call("cuEventElapsedTime", start, end)) / 1000

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """See `CudaDevice`."""
        # Of this thread only, so that what other threads allocate meanwhile does not end it.
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            _, abandoned = self._driver.cuStreamEndCapture(stream)
            if abandoned is not None and int(abandoned):
                self._driver.cuGraphDestroy(abandoned)
            raise
        captured = self._call("cuStreamEndCapture", stream)
        try:
            return int(self._call("cuGraphInstantiate", captured, 0))
        finally:
            self._driver.cuGraphDestroy(captured)

    def launch_graph(self, graph: int, stream: int) -> None:
        """See `CudaDevice`."""
        self._call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """See `CudaDevice`."""
        self._call("cuGraphExecDestroy", graph)

    def close(self) -> None:
        """See `CudaDevice`."""
        device, self._device = self._device, None
        if device is not None:
            self._call("cuDevicePrimaryCtxRelease", device)

    def _call(self, function: str, *arguments: Any) -> Any:
        status, *values = getattr(self._driver, function)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise DeviceError(f"{function} failed: {self._describe(status)}")
        return values[0] if values else None

    def _describe(self, status: Any) -> str:
        _, text = self._driver.cuGetErrorString(status)
        advice = remedy(status.name)
        described = f"CUDA error {int(status)}: {text.decode() if text else status.name}"
        return f"{described}; {advice}" if advice else described
