"""Ctrl-C during a call into a library through which no exception may travel."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back until the block ends; a second one ends the process at once.

    Where it is ignored, as by what a script starts in the background, it stays so.

    Yields:
        Whether there was one, for the block to ask and to end early.

    Raises:
        KeyboardInterrupt: at the block's end, if there was one.
    """
    elsewhere = threading.current_thread() is not threading.main_thread()
    if elsewhere or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield lambda: False  # Ctrl-C is the main thread's, and does not come here
        return
    came = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
