"""How many threads OpenCV has while the stages of a pipeline have theirs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV to the threads of the stages inside the block, in the whole process.

    Every stage has a thread, and the networks have all cores: threads of OpenCV's own would only take turns with those.
    """
    _opencv_threads.limit()
    try:
        yield
    finally:
        _opencv_threads.restore()


class _OpencvThreads:
    """How many OpenCV has in this process: blocks may overlap, and the first and the last one change it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._before = 0

    def limit(self) -> None:
        with self._lock:
            if not self._blocks:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._blocks += 1

    def restore(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                cv2.setNumThreads(self._before)


_opencv_threads = _OpencvThreads()
