"""A GPU on the host that holds its user to the rules of CUDA, and does what is queued as late, or as early, as it may.

What a real GPU mostly forgives is an `AssertionError` or a wrong result here: memory used after it was freed or while
a copy is under way, a result read before its event, a call without the context or between a capture's begin and end.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import DeviceError

# What is in memory that nobody wrote: as float32 not a number.
_GARBAGE = 0xFF


@dataclass
class Stream:
    """Work in order, of which the first `done` is."""

    work: list[Callable[[], None]] = field(default_factory=list)
    done: int = 0
    eager: bool = False


class SimulatedGpu:
    """A `runtime.device.CudaDevice`.

    Attributes:
        eager: numbers of the streams, in the order of their creation, that work as soon as they can; others work when
            somebody waits for them.
        calls: of all methods that a GPU could refuse.
        fail_at: the call that fails, once, counted as `calls` is.
        lost: every call fails.
        captures: whether graphs can be captured.
    """

    architecture = "SM86"

    def __init__(self) -> None:
        self.eager: set[int] = set()
        self.calls = 0
        self.fail_at: int | None = None
        self.lost = False
        self.captures = True
        self.room = 1 << 20
        self.closed = False
        self.launches = 0
        self.streams: dict[int, Stream] = {}
        self.memory: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.events: dict[int, tuple[Stream, int] | None] = {}
        self.times: dict[int, float] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.clock = 0.0
        self.allocations = 0
        self.before_close: Callable[[], None] = lambda: None
        self._timed: set[int] = set()
        self._next = 1000
        self._thread = threading.local()
        self._capture: list[Callable[[], None]] | None = None
        self._lock = threading.RLock()

    def open(self) -> "SimulatedGpu":
        """Itself, also after it was closed."""
        self.closed = False
        return self

    # The context.

    @contextmanager
    def current(self) -> Iterator[None]:
        assert not self.closed
        if self.lost:
            raise DeviceError("lost")
        self._thread.depth = self.depth + 1
        try:
            yield
        finally:
            self._thread.depth -= 1

    @property
    def depth(self) -> int:
        """How often the context is current in this thread."""
        return int(getattr(self._thread, "depth", 0))

    @contextmanager
    def call(self, *, while_capturing: bool = False) -> Iterator[None]:
        """Around whatever a GPU may refuse, TensorRT's calls included."""
        with self._lock:
            self.calls += 1
            if self.lost or self.calls == self.fail_at:
                raise DeviceError("lost" if self.lost else f"call {self.calls} failed")
            assert self.depth, "the context is not current"
            assert not self.closed
            assert while_capturing or self._capture is None, "not allowed during a capture"
            yield

    def close(self) -> None:
        assert not self.depth
        assert not self.closed
        self.before_close()
        if not self.lost:
            assert self.held() == 0
        self.closed = True

    def held(self) -> int:
        """Memory, streams, events and graphs that were not given back."""
        return sum(map(len, (self.memory, self.pinned, self.streams, self.events, self.graphs)))

    # Memory.

    def allocate(self, size: int) -> int:
        with self.call():
            if size > self.room:
                raise DeviceError("out of memory")
            self.allocations += 1
            return self._hold(self.memory, size)[0]

    def free(self, address: int) -> None:
        with self.call():
            self._assert_idle()
            del self.memory[address]

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        with self.call():
            self.allocations += 1
            return np.ctypeslib.as_array(self._hold(self.pinned, size)[1])

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        with self.call():
            self._assert_idle()
            del self.pinned[array.ctypes.data]

    def at(self, address: int, size: int) -> NDArray[np.uint8]:
        """What is in device memory."""
        assert size <= len(self.memory[address]), "beyond the end of an allocation"
        return np.ctypeslib.as_array(self.memory[address])[:size]

    def _hold(self, where: dict[int, Any], size: int) -> tuple[int, Any]:
        block = (ctypes.c_uint8 * size)(*[_GARBAGE] * size)
        where[ctypes.addressof(block)] = block
        return ctypes.addressof(block), block

    def _assert_idle(self) -> None:
        for stream in self.streams.values():
            assert stream.done == len(stream.work), "freed while work is queued"

    def _assert_pinned(self, array: NDArray[Any]) -> None:
        start = array.ctypes.data
        assert any(
            base <= start and start + array.nbytes <= base + len(block) for base, block in self.pinned.items()
        ), "not page-locked"

    # Streams.

    def create_stream(self) -> int:
        with self.call():
            handle = self._handle()
            self.streams[handle] = Stream(eager=len(self.streams) in self.eager)
            return handle

    def destroy_stream(self, stream: int) -> None:
        with self.call():
            self._assert_idle()
            del self.streams[stream]

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        self._assert_pinned(array)
        queued = array.tobytes()

        def copy() -> None:
            assert array.tobytes() == queued, "written over before its upload was done"
            self.at(address, array.nbytes)[:] = np.frombuffer(queued, np.uint8)
            self.clock += 1

        self.queue(stream, copy)

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        self._assert_pinned(array)
        array.view(np.uint8)[:] = _GARBAGE

        def copy() -> None:
            array.view(np.uint8).reshape(-1)[:] = self.at(address, array.nbytes)
            self.clock += 4

        self.queue(stream, copy)

    def queue(self, stream: int, work: Callable[[], None]) -> None:
        """Add work to a stream, or to the graph that is being captured on it."""
        with self.call(while_capturing=True):
            if self._capture is not None:
                self._capture.append(work)
            else:
                self._append(self.streams[stream], [work])

    def _append(self, stream: Stream, work: list[Callable[[], None]]) -> None:
        stream.work += work
        if stream.eager:
            self._work_until(stream, len(stream.work))

    def _work_until(self, stream: Stream, end: int) -> None:
        while stream.done < end:
            stream.done += 1
            stream.work[stream.done - 1]()

    def synchronise(self, stream: int) -> None:
        with self.call():
            self._work_until(self.streams[stream], len(self.streams[stream].work))

    def pending(self, number: int) -> int:
        """How much work the stream that was created as that number has still to do."""
        stream = list(self.streams.values())[number]
        return len(stream.work) - stream.done

    # Events.

    def create_event(self, *, timed: bool = False) -> int:
        with self.call():
            handle = self._handle()
            self.events[handle] = None
            self._timed |= {handle} if timed else set()
            return handle

    def destroy_event(self, event: int) -> None:
        with self.call():
            del self.events[event]

    def record_event(self, event: int, stream: int) -> None:
        assert event in self.events

        def mark() -> None:
            self.times[event] = self.clock

        self.queue(stream, mark)
        self.events[event] = (self.streams[stream], len(self.streams[stream].work))

    def wait_for_event(self, stream: int, event: int) -> None:
        recorded = self.events[event]
        assert recorded is not None, "an event that was never recorded is not waited for"
        self.queue(stream, lambda: self._work_until(*recorded))

    def synchronise_event(self, event: int) -> None:
        with self.call():
            recorded = self.events[event]
            assert recorded is not None
            self._work_until(*recorded)

    def seconds_between(self, start: int, end: int) -> float:
        with self.call():
            assert {start, end} <= self._timed
            return self.times[end] - self.times[start]

    # Graphs.

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        with self.call():
            if not self.captures:
                raise DeviceError("no capture")
            self._capture = captured = []
            try:
                work()
            finally:
                self._capture = None
            handle = self._handle()
            self.graphs[handle] = captured
            return handle

    @property
    def capturing(self) -> bool:
        """Whether what is queued goes into a graph."""
        return self._capture is not None

    def launch_graph(self, graph: int, stream: int) -> None:
        with self.call():
            self.launches += 1
            self._append(self.streams[stream], self.graphs[graph])

    def destroy_graph(self, graph: int) -> None:
        with self.call():
            self._assert_idle()
            del self.graphs[graph]

    def _handle(self) -> int:
        self._next += 1
        return self._next
