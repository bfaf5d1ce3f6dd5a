"""Measuring a video's pipeline."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.bench_video import _measurement, _Turn, measure_pipeline
from runtime.boxes import FrameBoxes
from runtime.embedder import Embedder
from runtime.errors import InputError
from runtime.people import FindPeople, given_boxes
from runtime.pipeline import EmbeddedFrame, Pipeline
from runtime.sources import VideoFile


@pytest.fixture
def find() -> FindPeople:
    """One person on each even frame."""
    found = FrameBoxes.without_tracks(np.array([[5, 5, 15, 30]], np.float32), np.ones(1, np.float32))
    return given_boxes(dict.fromkeys(range(0, 100, 2), found))


def test_every_stage_is_measured(make_video: Callable[..., Path], tiny_model: Path, find: FindPeople) -> None:
    video = make_video(frames=40)
    written: list[int] = []
    turns: list[None] = []

    def write(frame: EmbeddedFrame) -> None:
        written.append(frame.index)

    with Embedder.open(tiny_model) as embedder:
        measured = measure_pipeline(
            lambda: Pipeline(VideoFile(video), find, 1, embedder),
            write,
            rounds=3,
            after_turn=lambda: turns.append(None),
        )
    # Two ways warm up with 16 frames, and take three turns of 40.
    assert written == [*range(16)] * 2 + [*range(40)] * 6
    assert len(turns) == 6
    assert (measured.frames, measured.people, measured.rounds) == (40, 20, 3)
    assert [stage.name for stage in measured.stages] == ["decode", "detect", "crop", "embed", "identify", "write"]
    assert all(0 <= stage.busy <= 1 and stage.alone >= 0 for stage in measured.stages)
    assert measured.bottleneck == max(measured.stages, key=lambda stage: stage.busy).name
    assert measured.people_per_second == pytest.approx(measured.frames_per_second / 2)
    assert 0 < measured.p50 <= measured.p90 <= measured.p99


def test_one_round_of_a_part(make_video: Callable[..., Path], tiny_model: Path, find: FindPeople) -> None:
    video = make_video(frames=40)
    with Embedder.open(tiny_model) as embedder:
        measured = measure_pipeline(
            lambda: Pipeline(VideoFile(video), find, 1, embedder), lambda _: None, rounds=1, frames=20
        )
    assert (measured.frames, measured.people, measured.rounds) == (20, 10, 1)
    assert measured.in_turn == pytest.approx(1000 / sum(stage.alone for stage in measured.stages))


def turn(seconds: float, **stages: float) -> _Turn:
    return _Turn(frames=10, people=30, seconds=seconds, stages=stages, latencies=[1.0, 2.0])


def test_figures_are_medians_and_the_busiest_stage_is_the_bottleneck() -> None:
    threaded = [turn(2, decode=0.5, embed=1.8), turn(4, decode=1, embed=2), turn(2.5, decode=2.4, embed=2)]
    in_turn = [turn(9, decode=1, embed=2), turn(9, decode=1, embed=4), turn(9, decode=2, embed=2)]
    measured = _measurement(threaded, in_turn)
    assert (measured.frames_per_second, measured.people_per_second) == (4, 12)
    assert measured.in_turn == 10 / 4
    # 3 / 2, 5 / 4 and 4 / 2.5: the ways of one round are compared.
    assert measured.gain == 1.5
    decode, embed = measured.stages
    assert (decode.alone, embed.alone) == (100, 200)
    assert (decode.busy, embed.busy) == (0.25, 0.8)
    assert measured.bottleneck == "embed"
    assert (measured.p50, measured.p99) == (1.5, 2)


def test_nothing_to_measure(make_video: Callable[..., Path], tiny_model: Path, find: FindPeople) -> None:
    video = make_video(frames=4)
    with Embedder.open(tiny_model) as embedder, pytest.raises(InputError, match="no frame to measure"):
        measure_pipeline(lambda: Pipeline(VideoFile(video), find, 1, embedder), lambda _: None, rounds=1, frames=0)
