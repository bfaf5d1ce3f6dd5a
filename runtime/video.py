"""Frames of a video file, in order."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .files import require_file

_DEFAULT_RATE = 25.0


@dataclass(frozen=True)
class VideoHeader:
    """What a video says about itself.

    Attributes:
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        rate: frames per second; 25 where the header does not say.
        frames: how many there should be; None where the header does not say. Exact in AVI, MP4, MOV, Matroska and
            WebM of a constant rate; other containers only let it be estimated from the duration, now and then wrongly.
    """

    width: int
    height: int
    rate: float
    frames: int | None


def read_header(path: Path) -> VideoHeader:
    """Read what a video says about itself.

    Raises:
        InputError: the file is missing or is not a video that OpenCV can read.
    """
    capture = _open(path)
    try:
        return _header(capture)
    finally:
        capture.release()


def read_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video, H x W x 3 uint8, BGR.

    Raises:
        InputError: the file is missing, is not a video, or ends before the number of frames in its header, be it by
            one frame.
    """
    capture = _open(path)
    try:
        count = 0
        while True:
            decoded, frame = capture.read()
            if not decoded:
                break
            count += 1
            yield np.asarray(frame, np.uint8)
        _check_complete(path, count, _header(capture).frames)
    finally:
        capture.release()


def _open(path: Path) -> cv2.VideoCapture:
    require_file(path, "video")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise InputError(f"{path} is not a video that OpenCV {cv2.__version__} can read; convert it, or copy it again")
    return capture


def _header(capture: cv2.VideoCapture) -> VideoHeader:
    rate = capture.get(cv2.CAP_PROP_FPS)
    frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return VideoHeader(
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        rate=rate if math.isfinite(rate) and rate > 0 else _DEFAULT_RATE,
        frames=int(frames) if math.isfinite(frames) and frames > 0 else None,
    )


def _check_complete(path: Path, count: int, expected: int | None) -> None:
    if count == 0:
        raise InputError(f"{path} has no frame that OpenCV {cv2.__version__} can decode; convert it, or copy it again")
    if expected is None or count >= expected:
        return
    raise InputError(
        f"{path} ends early: {count} of the {expected} frames that its header promises could be read; copy it "
        "again, or keep what is there (ffmpeg -i IN -c copy OUT.mp4)"
    )
