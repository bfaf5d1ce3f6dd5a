"""Times on a GPU: graphs of many launches that go through sets of buffers in turn, replayed side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

Launch = Callable[[int], object]
"""Enqueues the work on the set of buffers of that number, on the current stream."""

COPY_BYTES = 256 * 1024 * 1024
_WARM_UP_LAUNCHES = 3
# What is timed with one pair of events lasts at least this long; they resolve half a microsecond.
_LEAST_MICROSECONDS = 1000.0
# GPU clocks for which the stream is kept busy, so that replays queue up behind: about 2 ms.
_HEAD_START = 4_000_000


@dataclass(frozen=True)
class Timed:
    """A graph, and how long its launches took in every round.

    Attributes:
        graph: of `launches` launches.
        launch: what was captured. It is kept for the tensors that it holds, which a graph uses but does not keep.
        launches: in one replay.
        replays: in one round.
    """

    graph: torch.cuda.CUDAGraph
    launch: Launch
    launches: int
    replays: int

    def microseconds(self) -> float:
        """A launch, of one round."""
        return _elapsed(self.replay) / (self.replays * self.launches)

    def replay(self) -> None:
        """All of one round."""
        for _ in range(self.replays):
            self.graph.replay()


def prepare(launch: Launch, sets: int, launches: int) -> Timed:
    """Warm up and capture `launches` launches, through the sets in turn."""
    graph = capture(launch, [number % sets for number in range(launches)])
    graph.replay()
    once = _elapsed(graph.replay)
    return Timed(graph, launch, launches, max(1, round(_LEAST_MICROSECONDS / once)))


def capture(launch: Launch, numbers: Sequence[int]) -> torch.cuda.CUDAGraph:
    """A graph of the launches on these sets, after a few outside of it (which load and compile)."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for number in numbers[:_WARM_UP_LAUNCHES]:
            launch(number)
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for number in numbers:
            launch(number)
    return graph


def side_by_side(timed: Mapping[str, Timed], rounds: int) -> dict[str, float]:
    """Median microseconds of a launch of each; every round has all of them, in turns forwards and backwards."""
    names = list(timed)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            times[name].append(timed[name].microseconds())
    return {name: median(each) for name, each in times.items()}


def replay_microseconds(launch: Launch, sets: int, rounds: int) -> float:
    """Median time of a graph of one launch, replayed for every set in turn with no gap between replays."""
    graphs = [capture(launch, [number]) for number in range(sets)]

    def replay_all() -> None:
        for graph in graphs:
            graph.replay()

    replay_all()
    return median(_elapsed(replay_all) / sets for _ in range(rounds))


def prepare_copy() -> Timed:
    """A copy from memory to memory, far larger than the cache; read plus write is twice COPY_BYTES."""
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return prepare(lambda _: target.copy_(source), 1, 1)


def poison(outputs: Sequence[Tensor]) -> None:
    """NaN, so that what was not written is seen."""
    for output in outputs:
        output.fill_(float("nan"))


def _elapsed(work: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda._sleep(_HEAD_START)  # type: ignore[no-untyped-call]
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) * 1000
