"""A copy of a video with people's boxes and labels drawn in."""

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from .boxes import FrameBoxes
from .embeddings import NO_TRACK, UNKNOWN_PERSON
from .errors import InputError
from .gallery import Matches
from .video import read_header

_CODEC = "mp4v"
_LARGEST_WITH_THOUSANDTHS = 65.0
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.45
_BLACK = (0, 0, 0)
# Steps of the golden ratio around the colour circle keep neighbouring numbers apart.
_HUE_STEP = 0.618034
_HUES = 180


class AnnotatedVideo:
    """A video with people's boxes and labels drawn in, written frame by frame; a context manager that closes the file.

    It shows people: keep it no longer than needed.
    """

    def __init__(self, path: Path, rate: float) -> None:
        """Prepare to write; the file is made with the first frame, whose size is the video's.

        Args:
            path: an .mp4.
            rate: frames per second.
        """
        self._path = path
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._count = 0

    def add(self, pixels: NDArray[np.uint8], found: FrameBoxes, matches: Matches | None) -> None:
        """Write a frame.

        Args:
            pixels: H x W x 3 uint8, BGR; drawn into.
            found: the boxes of the N people on it.
            matches: of each of them; None without a gallery.

        Raises:
            InputError: the file cannot be written.
        """
        colours = found.tracks if matches is None else matches.person_ids
        for box, label, number in zip(found.boxes, labels_of(found.tracks, matches), colours, strict=True):
            draw_box(pixels, box, label, _colour(int(number)))
        if self._writer is None:
            self._size = pixels.shape[1], pixels.shape[0]
            self._writer = _open_writer(self._path, self._rate, self._size)
        if (pixels.shape[1], pixels.shape[0]) != self._size:
            # A stream may come back with another size, and OpenCV would leave such frames out without a word.
            pixels = np.asarray(cv2.resize(pixels, self._size), np.uint8)
        self._writer.write(pixels)
        self._count += 1

    def finish(self) -> None:
        """Complete the file.

        Raises:
            InputError: not every frame arrived in it.
        """
        self.close()
        # OpenCV's writer reports no errors, not even a full disk.
        if self._count and (written := _frames_in(self._path)) != self._count:
            raise InputError(f"cannot write {self._path}: {written} of {self._count} frames arrived; is the disk full?")

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def __enter__(self) -> "AnnotatedVideo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def labels_of(tracks: NDArray[np.int64], matches: Matches | None) -> list[str]:
    """What to write at each of N boxes: its track where it has one, and who it is with the score.

    Args:
        tracks: (N,) -1 for no track.
        matches: of the N boxes; None without a gallery.
    """
    labels = ["" if track == NO_TRACK else f"track {track}" for track in tracks]
    if matches is None:
        return labels
    people = zip(matches.person_ids, matches.person_names, matches.scores, strict=True)
    found = [f"{_called(int(number), str(name))} {score:.2f}" for number, name, score in people]
    return [" | ".join(filter(None, pair)) for pair in zip(labels, found, strict=True)]


def _called(number: int, name: str) -> str:
    if number == UNKNOWN_PERSON:
        return "unknown"
    # OpenCV draws ASCII only.
    return name if name and name.isascii() else f"id {number}"


def draw_box(frame: NDArray[np.uint8], box: NDArray[np.float32], label: str, colour: tuple[int, int, int]) -> None:
    """Draw a box and, above it but inside the frame, its label into `frame` (H x W x 3 uint8), in place."""
    x, y, w, h = (round(float(value)) for value in box)
    cv2.rectangle(frame, (x, y), (x + w, y + h), colour, 2)
    if not label:
        return
    (width, height), baseline = cv2.getTextSize(label, _FONT, _FONT_SCALE, 1)
    left, top = max(min(x, frame.shape[1] - width), 0), max(y - height - baseline, 0)
    cv2.rectangle(frame, (left, top), (left + width, top + height + baseline), colour, cv2.FILLED)
    cv2.putText(frame, label, (left, top + height), _FONT, _FONT_SCALE, _BLACK, 1, cv2.LINE_AA)


def _colour(number: int) -> tuple[int, int, int]:
    hue = int(number * _HUE_STEP % 1 * _HUES)
    pixel = cv2.cvtColor(np.array([[[hue, 200, 255]]], np.uint8), cv2.COLOR_HSV2BGR)
    blue, green, red = (int(value) for value in pixel[0, 0])
    return blue, green, red


def _frames_in(path: Path) -> int:
    try:
        return read_header(path).frames or 0
    except InputError:
        return 0


def _open_writer(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    # OpenCV gives FFmpeg thousandths of a frame where there are any, and MPEG-4 counts to 65,535 of them a second.
    rate = round(rate, 3 if rate < _LARGEST_WITH_THOUSANDTHS else 1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*_CODEC), rate, size)
    if not writer.isOpened():
        raise InputError(f"this OpenCV {cv2.__version__} cannot write {path} ({_CODEC}); leave out --annotate")
    return writer
