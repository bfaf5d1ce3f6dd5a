"""Frames of a video file, in order, each with its number."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .files import require_file

_DEFAULT_RATE = 25.0
# Of a stream without a rate FFmpeg gives the ticks of its clock, 90,000 a second, which no MP4 can be written with.
_LARGEST_RATE = 1000.0
# In a file; at its end a read fails at once.
_MOST_UNREADABLE = 100

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoHeader:
    """What a video says about itself.

    Attributes:
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        rate: frames per second; 25 where the header does not say, or says more than 1000.
        frames: how many there should be; None where the header does not say. Exact in AVI, MP4, MOV, Matroska and
            WebM of a constant rate; other containers only let it be estimated from the duration, now and then wrongly.
    """

    width: int
    height: int
    rate: float
    frames: int | None


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        index: its number, from 0; frames that could not be decoded have numbers, too.
        seconds: when it is shown, from the start of the video; when it arrived after the first one, in a live stream.
        pixels: H x W x 3 uint8, BGR.
        arrived: time of day of that, with a time zone; None where the stream is not live.
    """

    index: int
    seconds: float
    pixels: NDArray[np.uint8]
    arrived: datetime | None = None


def read_header(path: Path) -> VideoHeader:
    """Read what a video says about itself.

    Raises:
        InputError: the file is missing or is not a video that OpenCV can read.
    """
    capture = open_file(path)
    try:
        return header_of(capture)
    finally:
        capture.release()


def read_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video, H x W x 3 uint8, BGR; one that cannot be decoded is left out, with a warning.

    Raises:
        InputError: the file is missing, is not a video, or ends before the number of frames in its header, be it by
            one frame.
    """
    capture = open_file(path)
    try:
        expected = header_of(capture).frames
        numbered = NumberedFrames(capture, str(path))
        for _, pixels in numbered:
            yield pixels
        numbered.check_complete(expected)
    finally:
        capture.release()


class NumberedFrames:
    """The frames of an open video with their numbers, to be iterated over once.

    A frame that cannot be decoded is skipped and keeps its number, so that the ones after it keep theirs. It is told
    from the end by the frames that follow it: where the last one is damaged, the video ends before it.

    Attributes:
        count: how many frames were passed so far, damaged ones and left out ones included.
        damaged: numbers of those that could not be decoded.
    """

    def __init__(
        self,
        capture: cv2.VideoCapture,
        name: str,
        *,
        every: int = 1,
        first: int = 0,
        most_unreadable: int = _MOST_UNREADABLE,
        patience: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        damaged: list[int] | None = None,
    ) -> None:
        """Read from `capture`.

        Args:
            capture: open; released by whoever opened it.
            name: what to call it in messages.
            every: give only frames whose number is a multiple of this.
            first: number of the first frame to come.
            most_unreadable: so many frames in a row that cannot be decoded are taken for the end.
            patience: so many seconds in which none can be read, likewise.
            clock: seconds, for that.
            damaged: list to add to; None starts one.
        """
        self._capture = capture
        self._name = name
        self._every = every
        self._most_unreadable = most_unreadable
        self._patience = patience
        self._clock = clock
        self.count = first
        self.damaged = [] if damaged is None else damaged

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield numbers and frames, H x W x 3 uint8, BGR."""
        failed, since = 0, self._clock()
        while failed < self._most_unreadable:
            decoded, pixels = self._read(wanted=(self.count + failed) % self._every == 0)
            if not decoded:
                failed += 1
                if self._clock() - since >= self._patience:
                    return
                continue
            self._pass_over(failed)
            failed = 0
            self.count += 1
            if pixels is not None:
                yield self.count - 1, pixels
            since = self._clock()

    def check_complete(self, expected: int | None) -> None:
        """Refuse a video that ended early.

        Args:
            expected: the number of frames that its header promises; None where it does not.

        Raises:
            InputError: there was no frame, or fewer than `expected`.
        """
        if self.count == 0:
            raise InputError(
                f"{self._name} has no frame that OpenCV {cv2.__version__} can decode; convert it, or copy it again"
            )
        if expected is None or self.count >= expected:
            return
        raise InputError(
            f"{self._name} ends early: {self.count} of the {expected} frames that its header promises could be read; "
            "copy it again, or keep what is there (ffmpeg -i IN -c copy OUT.mp4)"
        )

    def _read(self, *, wanted: bool) -> tuple[bool, NDArray[np.uint8] | None]:
        if not wanted:
            return self._capture.grab(), None
        decoded, pixels = self._capture.read()
        return decoded, np.asarray(pixels, np.uint8) if decoded else None

    def _pass_over(self, failed: int) -> None:
        if failed:
            last = self.count + failed - 1
            logger.warning(
                "warning: %s: frame %s cannot be decoded and is left out",
                self._name,
                last if failed == 1 else f"{self.count} to {last}",
            )
            self.damaged += range(self.count, self.count + failed)
            self.count += failed


def open_file(path: Path) -> cv2.VideoCapture:
    """Open a video file; to be released by the caller.

    Raises:
        InputError: the file is missing or is not a video that OpenCV can read.
    """
    require_file(path, "video")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise InputError(f"{path} is not a video that OpenCV {cv2.__version__} can read; convert it, or copy it again")
    return capture


def header_of(capture: cv2.VideoCapture) -> VideoHeader:
    """What an open video says about itself."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return VideoHeader(
        width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        rate=rate if 0 < rate <= _LARGEST_RATE else _DEFAULT_RATE,
        frames=int(frames) if math.isfinite(frames) and frames > 0 else None,
    )
