"""The annotated video."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.annotate import annotate_video, draw_box, labels_of
from runtime.embeddings import Embeddings
from runtime.errors import InputError
from runtime.gallery import Matches
from runtime.video import read_frames, read_header

MATCHES = Matches(
    person_ids=np.array([12, 3]), scores=np.array([0.834, -0.1], np.float32), names=np.array(["a.jpg", "b.jpg"])
)


def embeddings(frames: list[int], boxes: list[list[float]]) -> Embeddings:
    rows = len(frames)
    return Embeddings(
        features=np.ones((rows, 2), np.float32),
        person_ids=np.full(rows, -2),
        camera_ids=np.full(rows, -1),
        names=np.array([str(i) for i in range(rows)], np.str_),
        frames=np.array(frames),
        tracks=np.arange(rows),
        boxes=np.array(boxes, np.float32),
    )


def test_labels() -> None:
    tracks = np.array([4, -1])
    assert labels_of(tracks, None) == ["track 4", ""]
    assert labels_of(tracks, MATCHES) == ["track 4 | id 12 0.83", "id 3 -0.10"]


def test_boxes_are_drawn_on_their_frames(make_video: Callable[..., Path], tmp_path: Path) -> None:
    source, out = make_video(frames=6, width=96, height=80), tmp_path / "out" / "annotated.mp4"
    annotate_video(source, out, embeddings([1, 4], [[20, 30, 30, 40], [50, 20, 30, 50]]), None)
    assert read_header(out).frames == 6
    changes = []
    for before, after in zip(read_frames(source), read_frames(out), strict=True):
        assert after.shape == before.shape
        # The source is grey, so colour is what was drawn.
        changes.append((after.max(axis=2).astype(int) - after.min(axis=2) > 60).nonzero())
    assert [len(rows) > 50 for rows, _ in changes] == [False, True, False, False, True, False]
    rows, columns = changes[1]
    assert abs(rows.max() - 70) <= 3
    assert abs(columns.min() - 20) <= 3
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("box", [(0, 0, 150, 50), (140, 20, 10, 20), (70, 40, 5, 10)])
def test_a_label_lies_inside_the_frame(box: tuple[float, ...]) -> None:
    frame = np.zeros((50, 150, 3), np.uint8)
    draw_box(frame, np.array(box, np.float32), "", (0, 200, 255))
    outline = int((frame == [0, 200, 255]).all(axis=2).sum())
    draw_box(frame, np.array(box, np.float32), "track 1", (0, 200, 255))
    assert (frame == [0, 200, 255]).all(axis=2).sum() > outline + 200


def test_a_video_that_ends_early_leaves_the_old_file(make_video: Callable[..., Path], tmp_path: Path) -> None:
    source, out = make_video(frames=60), tmp_path / "annotated.mp4"
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    out.write_bytes(b"old")
    with pytest.raises(InputError, match="ends early"):
        annotate_video(source, out, embeddings([1], [[2, 3, 10, 10]]), None)
    assert out.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [out, source]


def test_embeddings_that_are_not_of_a_video(make_video: Callable[..., Path], tmp_path: Path) -> None:
    crops = Embeddings(np.ones((1, 2), np.float32), np.array([-2]), np.array([-1]), np.array(["a"]))
    with pytest.raises(InputError, match="are not of a video"):
        annotate_video(make_video(), tmp_path / "a.mp4", crops, None)
