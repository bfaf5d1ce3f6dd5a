"""How long embedding takes: latencies of single batches stage by stage, and the rate of a stream of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from .backend import StageTimes, TimedBackend
from .embedder import Embedder
from .preprocess import preprocess_batch

_WARM_UP = 3
# Of a stream, so that there is a batch to preprocess while one runs.
_LEAST_STREAM = 3
_MOST_RUNS = 500

Crops = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Measurement:
    """What was measured of one backend at one batch size; times in milliseconds a batch.

    Attributes:
        backend: its name.
        batch: crops in a batch.
        runs: single batches that were timed.
        p50: half of them took no longer, preprocessing included.
        p90: nine of ten.
        p99: ninety-nine of a hundred; with fewer than a hundred runs, near the longest.
        preprocessing: median, in one thread.
        upload: median copy to the GPU; None where nothing is copied, or the backend cannot tell.
        compute: median of the network; with the copies where the backend cannot tell.
        download: median copy from the GPU, None as for `upload`.
        images_per_second: of a stream of batches through `Embedder.embed`, where stages overlap; median of the rounds.
    """

    backend: str
    batch: int
    runs: int
    p50: float
    p90: float
    p99: float
    preprocessing: float
    upload: float | None
    compute: float
    download: float | None
    images_per_second: float


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        seconds: to spend on a backend at a batch size, about; a slow one takes longer, for at least a run a round.
        rounds: all backends and sizes take their turns this often, so that what slows the machine slows all of them.
    """

    seconds: float = 4.0
    rounds: int = 5


def measure(
    embedders: Sequence[Embedder],
    crop: NDArray[np.uint8],
    plan: Plan,
    after_turn: Callable[[], object] = lambda: None,
) -> list[Measurement]:
    """Measure each embedder at its batch size.

    Args:
        embedders: to compare; several may share a backend.
        crop: h x w x 3 uint8, to fill the batches with.
        plan: how long.
        after_turn: called `turns` times.

    Returns:
        One for each of `embedders`, in their order.

    Raises:
        DeviceError: a device failed.
    """
    contenders = [_Contender(embedder, [crop] * embedder.batch_size) for embedder in embedders]
    for contender in contenders:
        contender.warm_up(plan)
        after_turn()
    for number in range(plan.rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            contender.take_turn()
            after_turn()
    return [contender.measurement() for contender in contenders]


def turns(embedders: Sequence[Embedder], plan: Plan) -> int:
    """How many turns `measure` takes, the warming up included."""
    return len(embedders) * (plan.rounds + 1)


class _Contender:
    def __init__(self, embedder: Embedder, crops: Crops) -> None:
        self._embedder = embedder
        self._crops = crops
        self._images = np.empty((len(crops), embedder.manifest.height, embedder.manifest.width, 3), np.uint8)
        self._runs_per_turn = 1
        self._preprocessing: list[float] = []
        self._running: list[float] = []
        self._stages: list[StageTimes] = []
        self._rates: list[float] = []

    def warm_up(self, plan: Plan) -> None:
        """Run until nothing is new any more, and find out how often fits into a turn."""
        took = [_seconds(self._run_one) for _ in range(_WARM_UP)]
        for times in (self._preprocessing, self._running, self._stages):
            times.clear()
        # Half of a turn is for single batches, half for the stream.
        share = plan.seconds / plan.rounds / 2
        self._runs_per_turn = int(np.clip(share / min(took), 1, _MOST_RUNS))

    def take_turn(self) -> None:
        for _ in range(self._runs_per_turn):
            self._run_one()
        stream = [*self._crops] * max(_LEAST_STREAM, self._runs_per_turn)
        seconds = _seconds(lambda: self._embedder.embed(stream, "BGR"))
        self._rates.append(len(stream) / seconds)

    def measurement(self) -> Measurement:
        latencies = 1000 * (np.array(self._preprocessing) + np.array(self._running))
        p50, p90, p99 = (float(value) for value in np.percentile(latencies, (50, 90, 99)))
        return Measurement(
            backend=self._embedder.backend.name,
            batch=len(self._crops),
            runs=len(latencies),
            p50=p50,
            p90=p90,
            p99=p99,
            preprocessing=_median(self._preprocessing),
            upload=_median([times.upload for times in self._stages]) if self._stages else None,
            compute=_median([times.compute for times in self._stages] or self._running),
            download=_median([times.download for times in self._stages]) if self._stages else None,
            images_per_second=float(np.median(self._rates)),
        )

    def _run_one(self) -> None:
        begin = perf_counter()
        height, width = self._images.shape[1:3]
        preprocess_batch(self._crops, height, width, "BGR", out=self._images)
        preprocessed = perf_counter()
        backend = self._embedder.backend
        if isinstance(backend, TimedBackend):
            _, stages = backend.run_timed(self._images)
            self._stages += [stages] if stages is not None else []
        else:
            backend.run(self._images)
        self._preprocessing.append(preprocessed - begin)
        self._running.append(perf_counter() - preprocessed)


def _seconds(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return perf_counter() - begin


def _median(seconds: Sequence[float]) -> float:
    """In milliseconds."""
    return 1000 * float(np.median(seconds))
