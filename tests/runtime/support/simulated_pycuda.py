"""`pycuda.driver` as its documentation and sources say it behaves, on a simulated GPU; what our device calls of it.

What pycuda keeps to itself is kept here, too: a stack of contexts for each thread, which is not CUDA's own; memory,
streams and events that are freed with their last reference, in the context that they were made in; and errors that
tell nothing but the driver's text.
"""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulated_gpu import SimulatedGpu

from runtime.errors import DeviceError

_DISABLE_TIMING, _BLOCKING_SYNC = 2, 1


class PycudaError(Exception):
    """`Error`; what an illegal address is depends on nothing but the driver's text."""


class PycudaMemoryError(PycudaError):
    """`MemoryError`."""


class PycudaLogicError(PycudaError):
    """`LogicError`."""


class PycudaLaunchError(PycudaError):
    """`LaunchError`."""


class PycudaRuntimeError(PycudaError):
    """`RuntimeError`."""


class SimulatedPycuda:
    """The module.

    Attributes:
        gpu: does the work.
        fails: error that the named call raises instead, e.g. {"cuMemAlloc": MemoryError("...")}.
        retained: how often a primary context was retained.
        cuda_stack: the calling thread's contexts as CUDA sees them; other libraries put theirs there themselves.
        complaints: what pycuda would have printed: things that could not be cleaned up.
        flags: of the events and streams that were made.
    """

    Error = PycudaError
    MemoryError = PycudaMemoryError
    LogicError = PycudaLogicError
    LaunchError = PycudaLaunchError
    RuntimeError = PycudaRuntimeError
    event_flags = SimpleNamespace(DEFAULT=0, BLOCKING_SYNC=_BLOCKING_SYNC, DISABLE_TIMING=_DISABLE_TIMING)

    def __init__(self, gpu: SimulatedGpu) -> None:
        self.gpu = gpu
        self.fails: dict[str, PycudaError] = {}
        self.retained = 0
        self.complaints: list[str] = []
        self.flags: list[tuple[str, int]] = []
        self._initialised = False
        self._thread = threading.local()
        self.Context = _ContextClass(self)

    @property
    def cuda_stack(self) -> list[Any]:
        if not hasattr(self._thread, "cuda"):
            self._thread.cuda, self._thread.own, self._thread.entered = [], [], []
        stack: list[Any] = self._thread.cuda
        return stack

    @property
    def own_stack(self) -> list["Context"]:
        """The calling thread's contexts as pycuda sees them."""
        _ = self.cuda_stack
        stack: list[Context] = self._thread.own
        return stack

    def call(self, name: str, work: Callable[[], Any]) -> Any:
        """A call of the driver's."""
        if name in self.fails:
            raise self.fails[name]
        if not self._initialised:
            raise PycudaLogicError(f"{name} failed: initialization error")
        try:
            return work()
        except DeviceError as error:
            kind = PycudaMemoryError if "memory" in str(error) else PycudaLogicError
            raise kind(f"{name} failed: {error}") from None

    def call_in_context(self, name: str, work: Callable[[], Any]) -> Any:
        """A call that needs a context."""
        if not self.cuda_stack:
            raise PycudaLogicError(f"{name} failed: invalid device context")
        return self.call(name, work)

    def ward(self) -> "Context":
        """The context in which something is made."""
        if not self.own_stack:
            raise PycudaLogicError(
                "explicit_context_dependent failed: invalid device context - no currently active ctx"
            )
        return self.own_stack[-1]

    def clean_up(self, ward: "Context", what: str, work: Callable[[], Any]) -> None:
        """Free something; a failure is printed and never raised."""
        if not self.own_stack or self.own_stack[-1] is not ward:
            self.complaints.append(f"{what} in out-of-thread context could not be cleaned up")
            return
        try:
            self.call(what, work)
        except PycudaError as error:
            self.complaints.append(str(error))

    def enter(self, context: "Context") -> None:
        self.cuda_stack.append(context)
        manager: AbstractContextManager[None] = self.gpu.current()
        manager.__enter__()
        self._thread.entered.append(manager)

    def leave(self) -> None:
        self.cuda_stack.pop()
        self._thread.entered.pop().__exit__(None, None, None)

    # What the module has.

    def init(self, flags: int = 0) -> None:
        if "cuInit" in self.fails:
            raise self.fails["cuInit"]
        self._initialised = True

    def Device(self, ordinal: int) -> "Device":
        self.call("cuDeviceGet", lambda: None)
        return Device(self, ordinal)

    def mem_alloc(self, size: int) -> "DeviceAllocation":
        ward = self.ward()
        return DeviceAllocation(self, ward, self.call("cuMemAlloc", lambda: self.gpu.allocate(size)))

    def pagelocked_empty(
        self, shape: int, dtype: type[np.generic], order: str = "C", mem_flags: int = 0
    ) -> NDArray[Any]:
        ward, size = self.ward(), shape * np.dtype(dtype).itemsize
        memory = self.call("cuMemHostAlloc", lambda: self.gpu.allocate_pinned(size)).view(dtype)
        return np.asarray(PagelockedHostAllocation(self, ward, memory))

    def memcpy_htod_async(self, dest: int, src: NDArray[Any], stream: "Stream") -> None:
        self.call_in_context("cuMemcpyHtoDAsync", lambda: self.gpu.upload(dest, src, stream.number))

    def memcpy_dtoh_async(self, dest: NDArray[Any], src: int, stream: "Stream") -> None:
        self.call_in_context("cuMemcpyDtoHAsync", lambda: self.gpu.download(dest, src, stream.number))

    def Stream(self, flags: int = 0) -> "Stream":
        return Stream(self, flags)

    def Event(self, flags: int = 0) -> "Event":
        return Event(self, flags)


class Device:
    """Two of the same number are equal."""

    def __init__(self, driver: SimulatedPycuda, ordinal: int) -> None:
        self._driver = driver
        self.ordinal = ordinal

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (other._driver, other.ordinal) == (self._driver, self.ordinal)

    def __hash__(self) -> int:
        return self.ordinal

    def compute_capability(self) -> tuple[int, int]:
        return 8, 6 + self.ordinal

    def retain_primary_context(self) -> "Context":
        self._driver.call("cuDevicePrimaryCtxRetain", lambda: None)
        self._driver.retained += 1
        return PrimaryContext(self._driver, self)


class Context:
    """A context, not current by itself."""

    def __init__(self, driver: SimulatedPycuda, device: Device) -> None:
        self._driver = driver
        self.device = device

    def push(self) -> None:
        driver = self._driver
        if driver.own_stack:
            driver.leave()
        driver.call("cuCtxPushCurrent", lambda: None)
        driver.enter(self)
        driver.own_stack.append(self)


class PrimaryContext(Context):
    """Destroyed as if it were another one, which fails and is printed."""

    def __del__(self, write: Callable[[int, bytes], int] = os.write) -> None:
        write(2, b"PyCUDA WARNING: a clean-up operation failed (dead context maybe?)\n")


class _ContextClass:
    """`Context` itself, with its static methods."""

    def __init__(self, driver: SimulatedPycuda) -> None:
        self._driver = driver

    def pop(self) -> None:
        driver = self._driver
        if not driver.own_stack:
            raise PycudaLogicError("context::pop failed: invalid device context - cannot pop non-current context")
        driver.leave()
        driver.own_stack.pop()
        if driver.own_stack:
            driver.enter(driver.own_stack[-1])
        if "cuCtxPopCurrent" in driver.fails:
            raise driver.fails["cuCtxPopCurrent"]

    def get_device(self) -> Device:
        driver = self._driver
        device: Device = driver.call_in_context("cuCtxGetDevice", lambda: driver.cuda_stack[-1].device)
        return device


class DeviceAllocation:
    """`int(allocation)` is its address."""

    def __init__(self, driver: SimulatedPycuda, ward: Context, address: int) -> None:
        self._driver = driver
        self._ward = ward
        self._address = address
        self._valid = True

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        if not self._valid:
            raise PycudaLogicError("device_allocation::free failed: invalid resource handle")
        self._valid = False
        self._driver.clean_up(self._ward, "cuMemFree", lambda: self._driver.gpu.free(self._address))

    def __del__(self) -> None:
        if self._valid:
            self.free()


class PagelockedHostAllocation:
    """The base of an array."""

    def __init__(self, driver: SimulatedPycuda, ward: Context, memory: NDArray[Any]) -> None:
        self._driver = driver
        self._ward = ward
        self._memory = memory
        self._valid = True
        self.__array_interface__ = memory.__array_interface__

    def free(self) -> None:
        if not self._valid:
            raise PycudaLogicError("pagelocked_host_allocation::free failed: invalid resource handle")
        self._valid = False
        self._driver.clean_up(self._ward, "cuMemFreeHost", lambda: self._driver.gpu.free_pinned(self._memory))

    def __del__(self) -> None:
        if self._valid:
            self.free()


class Stream:
    """Destroyed with its last reference."""

    def __init__(self, driver: SimulatedPycuda, flags: int) -> None:
        self._driver = driver
        self._ward = driver.ward()
        driver.flags.append(("stream", flags))
        self.number: int = driver.call("cuStreamCreate", driver.gpu.create_stream)

    @property
    def handle(self) -> int:
        return self.number

    def synchronize(self) -> None:
        self._driver.call_in_context("cuStreamSynchronize", lambda: self._driver.gpu.synchronise(self.number))

    def wait_for_event(self, event: "Event") -> None:
        gpu = self._driver.gpu
        self._driver.call_in_context("cuStreamWaitEvent", lambda: gpu.wait_for_event(self.number, event.number))

    def __del__(self) -> None:
        if hasattr(self, "number"):
            self._driver.clean_up(self._ward, "cuStreamDestroy", lambda: self._driver.gpu.destroy_stream(self.number))


class Event:
    """Destroyed with its last reference; it does not tell its handle."""

    def __init__(self, driver: SimulatedPycuda, flags: int) -> None:
        self._driver = driver
        self._ward = driver.ward()
        driver.flags.append(("event", flags))
        timed = not flags & _DISABLE_TIMING
        self.number: int = driver.call("cuEventCreate", lambda: driver.gpu.create_event(timed=timed))

    def record(self, stream: Stream) -> "Event":
        gpu = self._driver.gpu
        self._driver.call_in_context("cuEventRecord", lambda: gpu.record_event(self.number, stream.number))
        return self

    def synchronize(self) -> "Event":
        self._driver.call_in_context("cuEventSynchronize", lambda: self._driver.gpu.synchronise_event(self.number))
        return self

    def time_till(self, end: "Event") -> float:
        """Milliseconds."""
        gpu = self._driver.gpu
        elapsed: float = self._driver.call_in_context(
            "cuEventElapsedTime", lambda: 1000 * gpu.seconds_between(self.number, end.number)
        )
        return elapsed

    def __del__(self) -> None:
        if hasattr(self, "number"):
            self._driver.clean_up(self._ward, "cuEventDestroy", lambda: self._driver.gpu.destroy_event(self.number))
