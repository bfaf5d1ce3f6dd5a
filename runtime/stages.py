"""Stages of work, each in a thread of its own, joined by bounded queues: the slowest sets the pace, order is kept."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .bounded_queue import BoundedQueue, Cancelled, Ended
from .errors import InputError

_DEFAULT_DEPTH = 4
# A source may hang in a system call, such as reading from a silent camera; nothing depends on its end.
_SOURCE_PATIENCE = 2.0


@dataclass(frozen=True)
class Stage:
    """One step.

    Attributes:
        name: of the step, unique in its line.
        transform: takes an iterator over what the stage before gives, and gives its own items; a generator function
            may take several items before it gives one, or give several for one. Its `finally` clauses run in its
            thread.
        idle: seconds without an item after which it is given None, again and again; None only gives it items.
    """

    name: str
    transform: Callable[[Iterator[Any]], Generator[Any, None, None]]
    idle: float | None = None


class StageRunner:
    """Runs a source and its stages in threads, and gives the last stage's items to the thread that iterates over it.

    At most `depth` items wait between two stages. An error travels down the line behind the items that were there
    before it, as if all ran in one thread: it is raised once, by the iteration, and everything before it stops. To be
    iterated over once, inside `with`: leaving the block stops the threads and waits for them.

    Example:
        with StageRunner("decode", frames, [Stage("detect", detect), Stage("embed", embed)]) as runner:
            for result in runner:
                ...
    """

    def __init__(
        self,
        source_name: str,
        source: Iterable[Any],
        stages: Sequence[Stage],
        *,
        consumer_name: str = "write",
        depth: int = _DEFAULT_DEPTH,
        keeps_up: bool = False,
        stopping: threading.Event | None = None,
    ) -> None:
        """Join the stages; nothing runs yet.

        Args:
            source_name: what the source is called in `busy`.
            source: where the items come from; iterated over in a thread of its own.
            stages: what is done to them, in this order.
            consumer_name: what the iterating thread is called in `busy`.
            depth: items that may wait between two stages.
            keeps_up: where the first stage is slower than the source, older items are passed over for newer ones, in
                place of the source waiting.
            stopping: ends the source when set (see `stop`); give one to a source that waits, so that it can look.

        Raises:
            InputError: `depth` is not positive, or two names are the same.
        """
        names = [source_name, *(stage.name for stage in stages), consumer_name]
        if depth < 1:
            raise InputError(f"the queues between stages have room for {depth} items; expected at least 1")
        if len(set(names)) < len(names):
            raise InputError(f"stages are called {', '.join(names)}; expected names that differ")
        self._stopping = stopping or threading.Event()
        self._queues: list[BoundedQueue[Any]] = [
            BoundedQueue(depth, keeps_newest=keeps_up),
            *(BoundedQueue(depth) for _ in stages),
        ]
        self._meters = {name: _Meter() for name in names}
        self._threads = [self._thread(source_name, self._until_stopped(source), None, self._queues[0])]
        for stage, incoming, outgoing in zip(stages, self._queues, self._queues[1:], strict=False):
            items = stage.transform(self._received(incoming, self._meters[stage.name], stage.idle))
            self._threads.append(self._thread(stage.name, items, incoming, outgoing))
        self._consumer = self._meters[consumer_name]

    def stop(self) -> None:
        """Take nothing more from the source; what it gave until now is still finished and given out."""
        self._stopping.set()
        self._queues[0].end(None)

    def busy(self) -> dict[str, float]:
        """Seconds that each stage worked so far, waiting for other stages left out, in the order of the line."""
        return {name: meter.busy() for name, meter in self._meters.items()}

    def passed_over(self) -> int:
        """How many of the source's items the stages had no room for so far; 0 unless it `keeps_up`."""
        return self._queues[0].passed_over

    def __enter__(self) -> "StageRunner":
        for thread in self._threads:
            thread.start()
        return self

    def __iter__(self) -> Iterator[Any]:
        """Give what the last stage gives.

        Raises:
            Exception: whatever the source or a stage raised.
        """
        self._consumer.start()
        try:
            yield from self._received(self._queues[-1], self._consumer)
        finally:
            self._consumer.end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        for queue in self._queues:
            queue.cancel()
        source, *stages = self._threads
        for thread in stages:
            thread.join()
        source.join(_SOURCE_PATIENCE)

    def _until_stopped(self, source: Iterable[Any]) -> Generator[Any, None, None]:
        for item in source:
            yield item
            if self._stopping.is_set():
                return

    def _thread(
        self,
        name: str,
        items: Generator[Any, None, None],
        incoming: BoundedQueue[Any] | None,
        outgoing: BoundedQueue[Any],
    ) -> threading.Thread:
        # As daemons they cannot keep a process alive that a second Ctrl-C ends while one hangs in a system call.
        arguments = (items, incoming, outgoing, self._meters[name])
        return threading.Thread(target=_work, args=arguments, name=name, daemon=True)

    @staticmethod
    def _received(incoming: BoundedQueue[Any], meter: "_Meter", idle: float | None = None) -> Iterator[Any]:
        while True:
            with meter.waiting():
                try:
                    item = incoming.get(idle)
                except Ended:
                    return
            yield item


def run_in_turn(
    source_name: str, source: Iterable[Any], stages: Sequence[Stage], seconds: dict[str, float]
) -> Iterator[Any]:
    """Give what a `StageRunner` gives, with one thread that does everything in turn.

    Args:
        source_name: what the source is called in `seconds`.
        source: where the items come from.
        stages: what is done to them.
        seconds: gets the time that the source and each stage took by itself, by their names.
    """
    names = [source_name, *(stage.name for stage in stages)]
    seconds.update(dict.fromkeys(names, 0.0))
    items: Iterator[Any] = iter(source)
    for name, stage in zip(names, stages, strict=False):
        items = stage.transform(_timed(items, name, stage.name, seconds))
    return _timed(items, names[-1], None, seconds)


def _timed(items: Iterator[Any], name: str, taker: str | None, seconds: dict[str, float]) -> Iterator[Any]:
    """Items, and the time they took, which is `name`'s and not that of the stage that waited for them meanwhile."""
    while True:
        started = time.perf_counter()
        try:
            item = next(items)
        except StopIteration:
            return
        finally:
            took = time.perf_counter() - started
            seconds[name] += took
            if taker is not None:
                seconds[taker] -= took
        yield item


class _Meter:
    """How long a thread has worked: since its start, without its waits."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._ended: float | None = None
        self._waiting_since: float | None = None
        self._waited = 0.0

    def start(self) -> None:
        self._started = time.perf_counter()

    def end(self) -> None:
        self._ended = time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        since = self._waiting_since = time.perf_counter()
        try:
            yield
        finally:
            self._waiting_since = None
            self._waited += time.perf_counter() - since

    def busy(self) -> float:
        if self._started is None:
            return 0.0
        now = self._ended or time.perf_counter()
        waiting = self._waiting_since
        return max(now - self._started - self._waited - (0.0 if waiting is None else now - waiting), 0.0)


def _work(
    items: Generator[Any, None, None], incoming: BoundedQueue[Any] | None, outgoing: BoundedQueue[Any], meter: _Meter
) -> None:
    """What each thread does."""
    failure: BaseException | None = None
    meter.start()
    try:
        with closing(items):
            for item in items:
                with meter.waiting():
                    outgoing.put(item)
    except Cancelled:
        pass
    except BaseException as error:  # whatever it is, it belongs to the thread that iterates over the runner
        failure = error
    finally:
        meter.end()
        outgoing.end(failure)
        if incoming is not None:
            incoming.cancel()
