"""What is measured, with a backend on a clock of its own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import bench
from runtime.backend import StageTimes
from runtime.bench import Plan, measure, turns
from runtime.embedder import Embedder
from runtime.manifest import Manifest

CROP = np.zeros((20, 10, 3), np.uint8)


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A backend that takes a second and a millisecond an image, and each fifth run twice as long."""

    name = "slow"
    device = "cpu"
    max_batch: int | None = None

    def __init__(self, manifest: Manifest, clock: Clock) -> None:
        self.manifest = manifest
        self.sizes: list[int] = []
        self._clock = clock

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._clock.now += (1 + 0.001 * len(images)) * (2 if len(self.sizes) % 5 == 4 else 1)
        self.sizes.append(len(images))
        return np.zeros((len(images), self.manifest.embedding_size), np.float32)

    def close(self) -> None:
        """Nothing is held."""


class Timed(Slow):
    def run_timed(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], StageTimes]:
        return self.run(images), StageTimes(0.25, 0.5, 0.125)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the measurements, on which preprocessing takes half a second a call."""
    clock = Clock()
    preprocess = bench.preprocess_batch

    def preprocess_for_half_a_second(*arguments: object, **options: object) -> object:
        clock.now += 0.5
        return preprocess(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bench, "perf_counter", clock)
    monkeypatch.setattr(bench, "preprocess_batch", preprocess_for_half_a_second)
    return clock


def test_latencies_and_rate(manifest: Manifest, clock: Clock) -> None:
    backend = Slow(manifest, clock)
    # A turn has a hundredth of a second, which no run fits into: one run, and a stream of three batches.
    (measured,) = measure([Embedder(backend, 8)], CROP, Plan(seconds=0.04, rounds=4))
    assert (measured.backend, measured.batch, measured.runs) == ("slow", 8, 4)
    assert backend.sizes == [8] * (3 + 4 * (1 + 3))
    # Runs 3, 7, 11 and 15 of all, of which none is a fifth; 3 + 4 * 3 + ... see the sizes above.
    assert measured.p50 == pytest.approx(1508)
    assert measured.p99 <= 2 * 1508
    assert (measured.preprocessing, measured.compute) == (pytest.approx(500), pytest.approx(1008))
    assert (measured.upload, measured.download) == (None, None)


def test_a_fast_one_runs_more_often_in_its_time(manifest: Manifest, clock: Clock) -> None:
    backend = Slow(manifest, clock)
    # Half of 5 turns of 30.2 s each, at 1.501 s a run, is 10 runs a turn.
    (measured,) = measure([Embedder(backend, 1)], CROP, Plan(seconds=151, rounds=5))
    assert measured.runs == 50
    assert measured.p50 == pytest.approx(1501)
    # A fifth of the runs take 2.502 s.
    assert measured.p90 == pytest.approx(2502)
    # 10 batches of one: 8 of 1.001 s and 2 of 2.002 s, without the half second, which the embedder does elsewhere.
    assert measured.images_per_second == pytest.approx(10 / (8 * 1.001 + 2 * 2.002))


def test_a_backend_that_tells_its_copies(manifest: Manifest, clock: Clock) -> None:
    (measured,) = measure([Embedder(Timed(manifest, clock), 2)], CROP, Plan(seconds=0.1, rounds=2))
    assert (measured.upload, measured.compute, measured.download) == (250, 500, 125)


def test_all_take_turns(manifest: Manifest, clock: Clock) -> None:
    order: list[int] = []
    backend = Slow(manifest, clock)
    backend.sizes = order
    embedders = [Embedder(backend, size) for size in (1, 2)]
    done: list[int] = []
    plan = Plan(seconds=0.1, rounds=3)
    measured = measure(embedders, CROP, plan, lambda: done.append(1))
    assert [each.batch for each in measured] == [1, 2]
    assert order[6:] == [1] * 4 + [2] * 4 + [2] * 4 + [1] * 4 + [1] * 4 + [2] * 4
    assert len(done) == turns(embedders, plan) == 8


def test_a_real_model(tiny_model: Path, oracle: Callable[..., object]) -> None:
    with Embedder.open(tiny_model, batch_size=4) as embedder:
        (measured,) = measure([embedder], CROP, Plan(seconds=0.2, rounds=2))
    assert measured.runs >= 2
    assert 0 < measured.preprocessing < measured.p50 <= measured.p90 <= measured.p99
    assert measured.images_per_second > 0
    assert measured.upload is None
