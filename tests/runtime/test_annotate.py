"""The annotated video."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.annotate import AnnotatedVideo, draw_box, labels_of
from runtime.boxes import FrameBoxes
from runtime.errors import InputError
from runtime.gallery import Matches
from runtime.video import VideoHeader, read_frames, read_header

MATCHES = Matches(
    person_ids=np.array([12, 3, 4, -2]),
    scores=np.array([0.834, -0.1, 0.5, 0.3], np.float32),
    names=np.array(["a.jpg", "b.jpg", "c.jpg", ""]),
    person_names=np.array(["anna", "", "bö", ""]),
)


def people(*boxes: tuple[float, ...]) -> FrameBoxes:
    """On a frame, with the tracks 0, 1, ..."""
    rows = len(boxes)
    return FrameBoxes(
        np.array(boxes, np.float32).reshape(rows, 4), np.arange(rows, dtype=np.int64), np.ones(rows, np.float32)
    )


def test_labels() -> None:
    tracks = np.array([4, -1, -1, 5])
    assert labels_of(tracks, None) == ["track 4", "", "", "track 5"]
    assert labels_of(tracks, MATCHES) == ["track 4 | anna 0.83", "id 3 -0.10", "id 4 0.50", "track 5 | unknown 0.30"]


def test_boxes_are_drawn_on_their_frames(make_video: Callable[..., Path], tmp_path: Path) -> None:
    source, out = make_video(frames=6, width=96, height=80), tmp_path / "annotated.mp4"
    found = {1: people((20, 30, 30, 40)), 4: people((50, 20, 30, 50))}
    with AnnotatedVideo(out, 10) as video:
        for index, frame in enumerate(read_frames(source)):
            video.add(frame, found.get(index, people()), None)
        video.finish()
    assert read_header(out) == VideoHeader(width=96, height=80, rate=10, frames=6)
    changes = []
    for before, after in zip(read_frames(source), read_frames(out), strict=True):
        assert after.shape == before.shape
        # The source is grey, so colour is what was drawn.
        changes.append((after.max(axis=2).astype(int) - after.min(axis=2) > 60).nonzero())
    assert [len(rows) > 50 for rows, _ in changes] == [False, True, False, False, True, False]
    rows, columns = changes[1]
    assert abs(rows.max() - 70) <= 3
    assert abs(columns.min() - 20) <= 3


@pytest.mark.parametrize("box", [(0, 0, 150, 50), (140, 20, 10, 20), (70, 40, 5, 10)])
def test_a_label_lies_inside_the_frame(box: tuple[float, ...]) -> None:
    frame = np.zeros((50, 150, 3), np.uint8)
    draw_box(frame, np.array(box, np.float32), "", (0, 200, 255))
    outline = int((frame == [0, 200, 255]).all(axis=2).sum())
    draw_box(frame, np.array(box, np.float32), "track 1", (0, 200, 255))
    assert (frame == [0, 200, 255]).all(axis=2).sum() > outline + 200


def test_frames_of_another_size_fit_into_the_first_one(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", 25) as video:
        for height, width in ((48, 64), (96, 128), (30, 40)):
            video.add(np.full((height, width, 3), 90, np.uint8), people(), None)
        video.finish()
    frames = list(read_frames(tmp_path / "a.mp4"))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3


@pytest.mark.parametrize("rate", [23.976, 59.9401, 64.999, 119.897, 655.432, 1000])
def test_any_rate_of_a_video_can_be_written(rate: float, tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "out.mp4", rate) as video:
        video.add(np.zeros((48, 64, 3), np.uint8), people(), None)
        video.finish()
    assert read_header(tmp_path / "out.mp4").rate == pytest.approx(rate, rel=1e-3)


def test_a_video_without_frames_is_no_file(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", 25) as video:
        video.finish()
    assert not (tmp_path / "a.mp4").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "none" / "a.mp4", 25) as video, pytest.raises(InputError, match="cannot write"):
        video.add(np.zeros((48, 64, 3), np.uint8), people(), None)
