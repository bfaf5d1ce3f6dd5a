"""What hands items from one thread to the next."""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Ended(Exception):  # noqa: N818
    """There is nothing more to come."""


class Cancelled(BaseException):
    """Nobody wants what is made here. Not an Exception: a stage that handles those must not handle this."""


class BoundedQueue(Generic[T]):
    """A first-in-first-out queue with limited room that can be ended by its writer and cancelled by anyone.

    Attributes:
        passed_over: how many items gave their place to newer ones.
    """

    def __init__(self, depth: int, *, keeps_newest: bool = False) -> None:
        """Start empty.

        Args:
            depth: room for so many items.
            keeps_newest: where there is no room the oldest item makes some, in place of `put` waiting for it.
        """
        self.passed_over = 0
        self._depth = depth
        self._keeps_newest = keeps_newest
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self._cancelled = False

    def put(self, item: T) -> None:
        """Wait for room and add `item`; raises `Cancelled`, also after the end."""
        with self._changed:
            if self._keeps_newest and not self._ended and len(self._items) == self._depth:
                self._items.popleft()
                self.passed_over += 1
            self._changed.wait_for(lambda: self._cancelled or self._ended or len(self._items) < self._depth)
            if self._cancelled or self._ended:
                raise Cancelled
            self._items.append(item)
            self._changed.notify_all()

    def get(self, seconds: float | None = None) -> T | None:
        """Wait for the oldest item; after the last one raises the writer's error or `Ended`, and `Cancelled`.

        Args:
            seconds: how long to wait; then None is given.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._cancelled or self._items or self._ended, seconds):
                return None
            if self._cancelled:
                raise Cancelled
            if not self._items:
                raise self._error or Ended
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def end(self, error: BaseException | None) -> None:
        """Say that there is nothing more to come, because of `error` where there is one; only the first time counts."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def cancel(self) -> None:
        """Wake everyone who waits: nobody puts or gets any more."""
        with self._changed:
            self._cancelled = True
            self._items.clear()
            self._changed.notify_all()
