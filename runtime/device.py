"""A GPU's memory, streams, events and graphs behind one interface, on cuda-python or pycuda, whichever is installed.

Both work in the GPU's primary context, so that they live beside torch, a decoder or another engine in one process.
Addresses and streams are plain integers, as TensorRT takes them; so are events and graphs.
"""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .cuda_python_device import CudaPythonDevice
from .errors import MissingDependencyError
from .pycuda_device import PycudaDevice


class CudaDevice(Protocol):
    """One GPU. Every method raises `DeviceError` when the GPU refuses; errors of queued work come from a later call.

    All methods but `current` and `close` are called inside `with device.current()`, and so is TensorRT. Any thread may.

    Attributes:
        architecture: compute capability, e.g. "SM86".
    """

    architecture: str

    def current(self) -> AbstractContextManager[None]:
        """Inside the block the GPU's primary context is the calling thread's; afterwards the one from before is."""
        ...

    def allocate(self, size: int) -> int:
        """Address of `size` new bytes of device memory, aligned to 256 or more."""
        ...

    def free(self, address: int) -> None:
        """Give back what `allocate` returned."""
        ...

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """`size` new bytes of page-locked host memory: copies from and to it are done while others compute."""
        ...

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        """Give back what `allocate_pinned` returned; no view of it may be used any more."""
        ...

    def create_stream(self) -> int:
        """A new stream, which does not wait for the default stream that other libraries use."""
        ...

    def destroy_stream(self, stream: int) -> None:
        """Give back what `create_stream` returned."""
        ...

    def upload(self, address: int, array: NDArray[np.generic], stream: int) -> None:
        """Queue the copy of a C-contiguous `array`, which must stay as it is until the copy is done."""
        ...

    def download(self, array: NDArray[np.generic], address: int, stream: int) -> None:
        """Queue the copy from the device into a C-contiguous `array`."""
        ...

    def synchronise(self, stream: int) -> None:
        """Wait for everything queued on the stream."""
        ...

    def create_event(self, *, timed: bool = False) -> int:
        """A new event: a mark on a stream, to wait for without using a core and, where `timed`, to take times with."""
        ...

    def destroy_event(self, event: int) -> None:
        """Give back what `create_event` returned."""
        ...

    def record_event(self, event: int, stream: int) -> None:
        """Set the mark behind everything queued on the stream."""
        ...

    def wait_for_event(self, stream: int, event: int) -> None:
        """What is queued on the stream from now on starts after the event."""
        ...

    def synchronise_event(self, event: int) -> None:
        """Wait until everything before the event is done."""
        ...

    def seconds_between(self, start: int, end: int) -> float:
        """Time from one timed event to another, both recorded and waited for."""
        ...

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """A graph of what `work` queues on the stream, which is not run by that.

        Other threads may go on using the GPU meanwhile. An exception of `work` ends the capture and is passed on.
        """
        ...

    def launch_graph(self, graph: int, stream: int) -> None:
        """Queue all of a graph."""
        ...

    def destroy_graph(self, graph: int) -> None:
        """Give back what `capture` returned."""
        ...

    def close(self) -> None:
        """Let go of the GPU, once; everything must have been given back before."""
        ...


def open_device() -> CudaDevice:
    """Open the GPU that is current in the calling thread, else the first visible one.

    Raises:
        DeviceError: there is no usable GPU.
        MissingDependencyError: neither cuda-python nor pycuda is installed.
    """
    if driver := _import("cuda.bindings.driver"):
        return CudaPythonDevice(driver)
    if driver := _import("pycuda.driver"):
        return PycudaDevice(driver)
    raise MissingDependencyError(
        "running an engine needs the Python package 'cuda-python' or 'pycuda', and neither can be imported; "
        "install one with: pip install cuda-python"
    )


def _import(module: str) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None
