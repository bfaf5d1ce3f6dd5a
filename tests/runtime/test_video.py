"""Frames of a video, and videos that are not whole."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import InputError
from runtime.video import VideoHeader, read_frames, read_header


def test_frames_in_order(make_video: Callable[..., Path]) -> None:
    path = make_video(frames=12)
    assert read_header(path) == VideoHeader(width=64, height=48, rate=10, frames=12)
    frames = list(read_frames(path))
    assert len(frames) == 12
    for index, frame in enumerate(frames):
        assert (frame.shape, frame.dtype) == ((48, 64, 3), np.uint8)
        assert abs(int(frame[24, 0, 0]) - index * 10) < 12


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def test_a_video_that_ends_early(make_video: Callable[..., Path]) -> None:
    path = cut(make_video(frames=60), 0.6)
    with pytest.raises(InputError, match=r"video\.avi ends early: \d+ of the 60 frames .* could be read"):
        list(read_frames(path))


def test_a_real_video_that_ends_early(shared_data: Path, tmp_path: Path) -> None:
    whole = shared_data / "pets2009-s2l1" / "vtest.avi"
    (tmp_path / "short.avi").write_bytes(whole.read_bytes()[:500_000])
    with pytest.raises(InputError, match="of the 795 frames that its header promises"):
        list(read_frames(tmp_path / "short.avi"))


@pytest.mark.parametrize("name", ["video.avi", "video.mkv"])
def test_a_single_missing_frame_of_many_is_an_early_end(make_video: Callable[..., Path], name: str) -> None:
    path = make_video(frames=300, name=name)
    assert len(list(read_frames(path))) == 300
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\xff\xd8\xff")])  # where the last frame's JPEG begins
    with pytest.raises(InputError, match=r"ends early: 299 of the 300 frames .* could be read"):
        list(read_frames(path))


def test_the_real_video_is_whole(shared_data: Path) -> None:
    assert sum(1 for _ in read_frames(shared_data / "pets2009-s2l1" / "vtest.avi")) == 795


def test_a_rate_that_is_a_clocks(tmp_path: Path) -> None:
    for rate, expected in ((2000, 25), (1000, 1000), (12.5, 12.5)):
        path = tmp_path / f"{rate}.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (64, 48))
        writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.release()
        assert read_header(path).rate == expected


def test_what_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "text.avi").write_text("not a video" * 50)
    with pytest.raises(InputError, match=r"text\.avi is not a video that OpenCV .* can read"):
        list(read_frames(tmp_path / "text.avi"))
    with pytest.raises(InputError, match="does not exist"):
        read_header(tmp_path / "none.avi")


def test_a_video_of_headers_only(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(frames=30)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"movi") + 4])
    with pytest.raises(InputError, match=r"video\.avi"):
        list(read_frames(path))
