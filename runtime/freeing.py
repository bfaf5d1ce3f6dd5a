"""Giving back what is held on a GPU that may have failed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from .device import CudaDevice
from .errors import DeviceError

logger = logging.getLogger(__name__)
T = TypeVar("T")


def free_later(resources: ExitStack, free: Callable[[T], object], held: T) -> T:
    """Have `resources` call `free(held)` quietly, and return `held`."""
    resources.callback(free_quietly, free, held)
    return held


def free_quietly(free: Callable[[T], object], held: T) -> None:
    """Call `free(held)`.

    On a GPU that failed everything fails, which was or will be said where it mattered; that one thing cannot be given
    back must neither keep the others from being so, nor stand before the error that led here.
    """
    try:
        free(held)
    except DeviceError as error:
        logger.debug("not given back: %s", error)


@contextmanager
def current_if_possible(device: CudaDevice) -> Iterator[None]:
    """`device.current()`, without an error where a GPU that failed refuses even that."""
    with ExitStack() as entered:
        with suppress(DeviceError):
            entered.enter_context(device.current())
        yield


@contextmanager
def held_on(device: CudaDevice, resources: ExitStack) -> Iterator[ExitStack]:
    """With the device current, a stack for what is held on it; `resources` closes that with the device current again.

    Where the block fails, its stack is closed at once.
    """

    def free(held: ExitStack) -> None:
        with current_if_possible(device):
            held.close()

    with device.current(), ExitStack() as held:
        yield held
        resources.callback(free, held.pop_all())
