"""Several training processes as one: what ends one of them ends all."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from accelerate import Accelerator, InitProcessGroupKwargs, PartialState
from accelerate.utils import gather_object

from runtime.errors import LgeuError

# How long the others wait while the main process validates.
_PATIENCE = timedelta(hours=2)


def join_processes() -> Accelerator:
    """The place of this process among those that `accelerate launch` or `torchrun` started; alone without them."""
    return Accelerator(mixed_precision="no", kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)])


def leave_processes() -> None:
    """Take leave of the other processes; for the end of a program, there is no joining again."""
    PartialState().destroy_process_group()


@contextmanager
def shared_errors(accelerator: Accelerator) -> Iterator[None]:
    """Run the block in every process, and raise in all of them what one of them ran into.

    Otherwise the others would wait for it. What is no `LgeuError` ends its own process; then it is the launcher that
    ends the others.
    """
    error: LgeuError | None = None
    try:
        yield
    except LgeuError as raised:
        error = raised
    if accelerator.num_processes > 1:
        errors = [each for each in gather_object([error]) if each is not None]
        error = error or next(iter(errors), None)
    if error is not None:
        raise error
