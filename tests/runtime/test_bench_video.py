"""Measuring a video's pipeline."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.bench_video import measure_pipeline
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
    assert measured.in_turn == pytest.approx(1000 / sum(stage.alone for stage in measured.stages), rel=0.5)
    assert measured.people_per_second == pytest.approx(measured.frames_per_second / 2)
    assert 0 < measured.p50 <= measured.p90 <= measured.p99


def test_the_slowest_stage_is_the_bottleneck(
    make_video: Callable[..., Path], tiny_model: Path, find: FindPeople
) -> None:
    def slow(frame: EmbeddedFrame) -> None:
        np.linalg.svd(np.ones((120, 120)))

    video = make_video(frames=40)
    with Embedder.open(tiny_model) as embedder:
        measured = measure_pipeline(lambda: Pipeline(VideoFile(video), find, 1, embedder), slow, rounds=1, frames=20)
    assert measured.frames == 20
    assert measured.bottleneck == "write"
    assert max(measured.stages, key=lambda stage: stage.alone).name == "write"


def test_nothing_to_measure(make_video: Callable[..., Path], tiny_model: Path, find: FindPeople) -> None:
    video = make_video(frames=4)
    with Embedder.open(tiny_model) as embedder, pytest.raises(InputError, match="no frame to measure"):
        measure_pipeline(lambda: Pipeline(VideoFile(video), find, 1, embedder), lambda _: None, rounds=1, frames=0)
