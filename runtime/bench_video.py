"""How fast a video goes through the pipeline, stage by stage, beside the same work done in turn in one thread."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from .errors import InputError
from .opencv_threads import one_opencv_thread
from .pipeline import DECODE, WRITE, EmbeddedFrame, Pipeline
from .stages import StageRunner, run_in_turn
from .video import Frame

Write = Callable[[EmbeddedFrame], object]


@dataclass(frozen=True)
class StageMeasurement:
    """One stage.

    Attributes:
        name: of the stage.
        alone: milliseconds a frame that it takes by itself, in turn with the others; median of the rounds.
        busy: share of the pipeline's time, in 0..1, that it works beside the others; median of the rounds.
    """

    name: str
    alone: float
    busy: float


@dataclass(frozen=True)
class PipelineMeasurement:
    """What was measured.

    Attributes:
        frames: that went through, in each round.
        people: on them.
        rounds: how many.
        frames_per_second: of the pipeline; median of the rounds, as are the others.
        people_per_second: of the pipeline.
        in_turn: frames a second when one thread does everything in turn: 1 / (sum of the stages' times alone).
        gain: frames a second of the pipeline, divided by those in turn of the same round.
        p50: half of the frames took no longer from their decoding to their result, in milliseconds; while more frames
            are there than can be worked on, as in a file, most of that is waiting in queues.
        p90: nine of ten.
        p99: ninety-nine of a hundred.
        stages: in the order of the line.
        bottleneck: the stage with the largest busy share, for which the others wait.
    """

    frames: int
    people: int
    rounds: int
    frames_per_second: float
    people_per_second: float
    in_turn: float
    gain: float
    p50: float
    p90: float
    p99: float
    stages: list[StageMeasurement]
    bottleneck: str


def measure_pipeline(
    make: Callable[[], Pipeline],
    write: Write,
    *,
    rounds: int = 3,
    frames: int | None = None,
    after_turn: Callable[[], object] = lambda: None,
) -> PipelineMeasurement:
    """Run a pipeline and, by turns, its stages one after the other in one thread.

    Args:
        make: a new pipeline over the same video; its embedder and detector may be the same ones.
        write: what is done with each frame at the end.
        rounds: how often each way is measured; before them both run over a few frames, which do not count.
        frames: measure over so many; None takes the whole video.
        after_turn: called 2 * `rounds` times.

    Raises:
        InputError: the video has no frame.
        LgeuError: a stage failed.
    """
    with one_opencv_thread():
        return _measured(make, write, rounds, frames, after_turn)


def _measured(
    make: Callable[[], Pipeline], write: Write, rounds: int, frames: int | None, after_turn: Callable[[], object]
) -> PipelineMeasurement:
    warm_up = 16 if frames is None else min(frames, 16)
    for way in (_threaded, _in_turn):
        way(make(), write, warm_up)
    threaded: list[_Turn] = []
    in_turn: list[_Turn] = []
    for number in range(rounds):
        ways = [(_threaded, threaded), (_in_turn, in_turn)]
        for way, turns in ways if number % 2 == 0 else reversed(ways):
            turns.append(way(make(), write, frames))
            after_turn()
    if not threaded[0].frames:
        raise InputError("the video has no frame to measure with")
    return _measurement(threaded, in_turn)


@dataclass
class _Turn:
    """One way, once.

    Attributes:
        frames: counted.
        people: on them.
        seconds: that everything took.
        stages: seconds of each stage's own.
        latencies: milliseconds of each frame.
    """

    frames: int = 0
    people: int = 0
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)

    def take(self, frame: EmbeddedFrame, decoded: Mapping[int, float]) -> None:
        self.frames += 1
        self.people += len(frame.features)
        self.latencies.append(1000 * (time.perf_counter() - decoded[frame.index]))


def _threaded(pipeline: Pipeline, write: Write, frames: int | None) -> _Turn:
    turn, decoded = _Turn(), dict[int, float]()
    stopping = threading.Event()
    source = _noted(islice(pipeline.source.frames(stopping, pipeline.every), frames), decoded)
    started = time.perf_counter()
    with StageRunner(
        DECODE, source, pipeline.stages(), consumer_name=WRITE, depth=pipeline.depth, stopping=stopping
    ) as runner:
        for frame in runner:
            write(frame)
            turn.take(frame, decoded)
        turn.seconds = time.perf_counter() - started
        turn.stages = runner.busy()
    return turn


def _in_turn(pipeline: Pipeline, write: Write, frames: int | None) -> _Turn:
    turn, decoded, seconds = _Turn(), dict[int, float](), dict[str, float]()
    source = _noted(islice(pipeline.source.frames(threading.Event(), pipeline.every), frames), decoded)
    writing = 0.0
    started = time.perf_counter()
    for frame in run_in_turn(DECODE, source, pipeline.stages(), seconds):
        before = time.perf_counter()
        write(frame)
        writing += time.perf_counter() - before
        turn.take(frame, decoded)
    turn.seconds = time.perf_counter() - started
    turn.stages = {**seconds, WRITE: writing}
    return turn


def _noted(frames: Iterator[Frame], decoded: dict[int, float]) -> Iterator[Frame]:
    for frame in frames:
        decoded[frame.index] = time.perf_counter()
        yield frame


def _measurement(threaded: list[_Turn], in_turn: list[_Turn]) -> PipelineMeasurement:
    frames, people = threaded[0].frames, threaded[0].people
    alone = [sum(turn.stages.values()) for turn in in_turn]
    gains = [each / turn.seconds for each, turn in zip(alone, threaded, strict=True)]
    stages = [
        StageMeasurement(
            name,
            alone=1000 * _median([turn.stages[name] / frames for turn in in_turn]),
            busy=_median([turn.stages[name] / turn.seconds for turn in threaded]),
        )
        for name in threaded[0].stages
    ]
    latencies = np.concatenate([turn.latencies for turn in threaded])
    p50, p90, p99 = (float(value) for value in np.percentile(latencies, (50, 90, 99)))
    seconds = _median([turn.seconds for turn in threaded])
    return PipelineMeasurement(
        frames=frames,
        people=people,
        rounds=len(threaded),
        frames_per_second=frames / seconds,
        people_per_second=people / seconds,
        in_turn=frames / _median(alone),
        gain=_median(gains),
        p50=p50,
        p90=p90,
        p99=p99,
        stages=stages,
        bottleneck=max(stages, key=lambda stage: stage.busy).name,
    )


def _median(values: list[float]) -> float:
    return float(np.median(values))
