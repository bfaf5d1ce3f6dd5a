"""Ctrl-C that lets the work end cleanly."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

# The last one comes when the terminal or the connection goes; not every system has it.
_SIGNALS = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interruption:
    """Whether somebody asked for the end.

    Attributes:
        asked: whether that happened.
    """

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def ends_cleanly(stop: Callable[[], None]) -> Iterator[Interruption]:
    """Call `stop` at the first Ctrl-C (or SIGTERM, or SIGHUP) inside the block; a second one ends the program at once.

    In another thread than the main one, where signals do not arrive, nothing is done; and a signal that is ignored, as
    Ctrl-C is by what a script starts in the background and SIGHUP by what nohup starts, stays ignored. So it is with
    one that another language's code in this process handles.

    Args:
        stop: asks the work to end soon, and returns at once.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        interruption.asked = True
        restore()
        # First: after SIGHUP there may be nobody to be told.
        stop()
        logger.warning("ending after the frames that were read; press Ctrl-C again to lose them")

    for number in before:
        signal.signal(number, ask)
    try:
        yield interruption
    finally:
        restore()
