"""What the machine does to a run, in one line: a device without room, a process of the loader without room."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from runtime.errors import DeviceError, InputError

_LOWER = "lower batch_size, or the input size, in the recipe"


@contextmanager
def room_for(what: str, device: torch.device, remedy: str = _LOWER) -> Iterator[None]:
    """Run the block, and say what there was no room for if it runs out of the device's memory.

    Raises:
        DeviceError: that; also in the place of one that the block raises for want of memory.
    """
    try:
        yield
    except (torch.OutOfMemoryError, DeviceError) as error:
        cause = error.__cause__ if isinstance(error, DeviceError) else error
        if not isinstance(cause, torch.OutOfMemoryError):
            raise
        raise DeviceError(f"{device} has no room for {what} ({str(cause).splitlines()[0]}); {remedy}") from error


def room_for_model(device: torch.device) -> AbstractContextManager[None]:
    """`room_for` the network itself, which smaller batches do not make smaller."""
    return room_for("the model", device, "end what else runs on it, or choose a smaller backbone")


@contextmanager
def loader_failures(workers: int) -> Iterator[None]:
    """Run the block, and say what to do if one of the loader's workers is killed or finds no room for a batch.

    Raises:
        InputError: that.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).strip()
        # torch names the files in shared memory so; what a worker says of one comes with a traceback before it.
        if not text.startswith("DataLoader worker") and "</torch_" not in text:
            raise
        raise InputError(
            f"one of {workers} workers failed ({text.splitlines()[-1]}), as happens where memory is short; lower "
            "workers or, in a container, give it more shared memory (docker run --shm-size 8g)"
        ) from error
