"""A GPU through pycuda."""

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .device_errors import LOST, NO_MEMORY, no_gpu
from .errors import DeviceError

# CU_STREAM_NON_BLOCKING, for which pycuda has no name.
_NON_BLOCKING = 1

# pycuda passes on the driver's text without its code, and the classes of its errors do not tell: an illegal address is
# a LogicError, and a launch that asked for too much, after which all is well, a LaunchError.
_LOST_TEXTS = (
    "device-side assert triggered",
    "hardware stack error",
    "illegal instruction was encountered",
    "illegal memory access was encountered",
    "invalid program counter",
    "launch timed out and was terminated",
    "misaligned address",
    "over nvlink or a hardware error",
    "not supported on global/shared address space",
    "tensor memory not completely freed",
    "uncorrectable ECC error",
    "uncorrectable NVLink error",
    "unknown error",
    "unspecified launch failure",
)


class PycudaDevice:
    """`runtime.device.CudaDevice` on pycuda, which has no graphs."""

    def __init__(self, driver: ModuleType) -> None:
        """Retain the primary context of the calling thread's current GPU, else of the first.

        Args:
            driver: `pycuda.driver`.

        Raises:
            DeviceError: there is no usable GPU.
        """
        self._driver = driver
        # pycuda frees its objects with their last references.
        self._held: dict[int, Any] = {}
        self._numbers = count(1)
        try:
            driver.init()
            device = _current_device(driver)
            major, minor = device.compute_capability()
            self._context = _primary_context(device)
        except driver.Error as error:
            raise no_gpu(str(error)) from error
        self.architecture = f"SM{major}{minor}"

    @contextmanager
    def current(self) -> Iterator[None]:
        """See `CudaDevice`."""
        self._do(self._context.push)
        try:
            yield
        finally:
            # It succeeds or repeats an earlier error, which must not stand before the one that may be on its way.
            with suppress(self._driver.Error):
                self._driver.Context.pop()

    def allocate(self, size: int) -> int:
        """See `CudaDevice`."""
        allocation = self._do(self._driver.mem_alloc, size)
        self._held[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """See `CudaDevice`."""
        self._do(self._held.pop(address).free)

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """See `CudaDevice`."""
        array: NDArray[np.uint8] = self._do(self._driver.pagelocked_empty, size, np.uint8)
        return array

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        """See `CudaDevice`."""
        allocation: Any = array.base
        self._do(allocation.free)

    def create_stream(self) -> int:
        """See `CudaDevice`."""
        stream = self._do(self._driver.Stream, _NON_BLOCKING)
        self._held[int(stream.handle)] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        """See `CudaDevice`."""
        del self._held[stream]

    def upload(self, address: int, array: NDArray[np.generic], stream: int) -> None:
        """See `CudaDevice`."""
        self._do(self._driver.memcpy_htod_async, address, array, self._held[stream])

    def download(self, array: NDArray[np.generic], address: int, stream: int) -> None:
        """See `CudaDevice`."""
        self._do(self._driver.memcpy_dtoh_async, array, address, self._held[stream])

    def synchronise(self, stream: int) -> None:
        """See `CudaDevice`."""
        self._do(self._held[stream].synchronize)

    def create_event(self, *, timed: bool = False) -> int:
        """See `CudaDevice`."""
        flags = self._driver.event_flags
        event = self._do(self._driver.Event, flags.BLOCKING_SYNC | (flags.DEFAULT if timed else flags.DISABLE_TIMING))
        # pycuda does not tell an event's handle. A negative number is no address and no stream.
        number = -next(self._numbers)
        self._held[number] = event
        return number

    def destroy_event(self, event: int) -> None:
        """See `CudaDevice`."""
        del self._held[event]

    def record_event(self, event: int, stream: int) -> None:
        """See `CudaDevice`."""
        self._do(self._held[event].record, self._held[stream])

    def wait_for_event(self, stream: int, event: int) -> None:
        """See `CudaDevice`."""
        self._do(self._held[stream].wait_for_event, self._held[event])

    def synchronise_event(self, event: int) -> None:
        """See `CudaDevice`."""
        self._do(self._held[event].synchronize)

    def seconds_between(self, start: int, end: int) -> float:
        """See `CudaDevice`."""
        return float(self._do(self._held[start].time_till, self._held[end])) / 1000

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """See `CudaDevice`; always refused."""
        raise DeviceError("pycuda cannot capture CUDA graphs; install cuda-python, which can: pip install cuda-python")

    def launch_graph(self, graph: int, stream: int) -> None:
        """See `CudaDevice`; there is none."""
        raise DeviceError("pycuda has no CUDA graphs")

    def destroy_graph(self, graph: int) -> None:
        """See `CudaDevice`; there is none."""

    def close(self) -> None:
        """See `CudaDevice`; the context stays retained (see `_primary_context`)."""

    def _do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._driver.Error as error:
            # What is destroyed with its last reference must not live on in a traceback, beyond its context.
            del function, arguments
            raise _translated(self._driver, error) from error.with_traceback(None)


def _current_device(driver: ModuleType) -> Any:
    try:
        return driver.Context.get_device()
    except driver.Error:  # no context is current
        return driver.Device(0)


@functools.cache
def _primary_context(device: Any) -> Any:
    """The primary context of a `pycuda.driver.Device`, retained until the process ends, as CUDA's own runtime does.

    pycuda's `detach` releases a primary context and leaves it on the thread's stack of contexts, and does nothing when
    called in another thread.
    """
    context = device.retain_primary_context()
    # Never destroyed: its destructor would treat it as an ordinary context, fail, and say so when the process ends.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(context))
    return context


def _translated(driver: ModuleType, error: Exception) -> DeviceError:
    if isinstance(error, driver.MemoryError):
        return DeviceError(f"{error}; {NO_MEMORY}")
    return DeviceError(f"{error}; {LOST}" if any(text in str(error) for text in _LOST_TEXTS) else str(error))
