"""People's boxes in a video: read from a MOT file, clipped to the frame, cut out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .embeddings import NO_TRACK
from .errors import InputError
from .files import require_file

_COLUMNS = "frame,track,x,y,width,height,confidence"
_LINES_AT_ONCE = 8192

# Up to here a float tells whole numbers apart.
_LARGEST_WHOLE = 2**53
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class FrameBoxes:
    """The N boxes of one frame.

    Attributes:
        boxes: (N, 4) float32, x y w h in pixels; x, y is the top left corner.
        tracks: (N,) int64; -1 for no track.
        scores: (N,) float32, how sure the detector is, or the confidence of a MOT file.
    """

    boxes: NDArray[np.float32]
    tracks: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        rows = len(self.boxes)
        if self.boxes.shape != (rows, 4) or self.tracks.shape != (rows,) or self.scores.shape != (rows,):
            raise InputError(
                f"boxes have shape {self.boxes.shape}, tracks {self.tracks.shape} and scores {self.scores.shape}; "
                "expected (N, 4), (N,) and (N,)"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def without_tracks(cls, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> "FrameBoxes":
        """From (N, 4) boxes and their (N,) scores alone."""
        return cls(boxes, np.full(len(boxes), NO_TRACK, np.int64), scores)

    @classmethod
    def nobody(cls) -> "FrameBoxes":
        """No box."""
        return cls.without_tracks(np.empty((0, 4), np.float32), np.empty(0, np.float32))

    def clipped(self, width: int, height: int) -> "FrameBoxes":
        """The boxes cut to a frame of `width` x `height` pixels, without those less than a pixel wide or high then.

        Slivers show nobody, and a table would round them to nothing.
        """
        left, top = np.clip(self.boxes[:, :2], 0, (width, height)).T
        right, bottom = np.clip(self.boxes[:, :2].astype(np.float64) + self.boxes[:, 2:], 0, (width, height)).T
        boxes = np.stack([left, top, right - left, bottom - top], axis=1).astype(np.float32)
        inside = (boxes[:, 2:] >= 1).all(axis=1)
        return FrameBoxes(boxes[inside], self.tracks[inside], self.scores[inside])


def read_boxes(path: Path, frame_offset: int = -1) -> Mapping[int, FrameBoxes]:
    """Read a MOT file: lines `frame,track,x,y,width,height,confidence,...`.

    Args:
        path: the file; lines with confidence 0 are ignored.
        frame_offset: added to the file's frame numbers to give 0-based video frames; MOT counts from 1.

    Returns:
        Boxes by 0-based video frame, those of a frame in the file's order; frames without boxes are absent. It holds
        some 30 bytes a box.

    Raises:
        InputError: the file is missing, has no box, or a line is malformed (named by its number).
    """
    try:
        with require_file(path, "boxes file").open(encoding="utf-8-sig") as file:
            blocks = [_read_block(path, lines, frame_offset) for lines in _numbered_blocks(file)]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file ({error.reason}); expected MOT lines {_COLUMNS},...") from error
    frames = np.concatenate([frames for frames, _ in blocks]) if blocks else np.empty(0, np.int64)
    if not len(frames):
        raise InputError(f"{path} holds no box with a confidence other than 0; expected lines {_COLUMNS},...")
    return _BoxesByFrame(frames, [boxes for _, boxes in blocks])


class _BoxesByFrame(Mapping[int, FrameBoxes]):
    """All boxes of a file in arrays, ordered by frame: an object for each frame would need three times the memory."""

    def __init__(self, frames: NDArray[np.int64], blocks: Sequence[FrameBoxes]) -> None:
        """From the (N,) 0-based frames of the N boxes in successive blocks."""
        order = np.argsort(frames, kind="stable")
        self._boxes = FrameBoxes(
            np.concatenate([block.boxes for block in blocks])[order],
            np.concatenate([block.tracks for block in blocks])[order],
            np.concatenate([block.scores for block in blocks])[order],
        )
        frames = frames[order]
        starts = np.flatnonzero(np.diff(frames, prepend=-1))
        self._frames = frames[starts]
        self._starts = np.append(starts, len(frames))

    def __getitem__(self, frame: int) -> FrameBoxes:
        place = int(np.searchsorted(self._frames, frame))
        if place == len(self._frames) or self._frames[place] != frame:
            raise KeyError(frame)
        rows = slice(self._starts[place], self._starts[place + 1])
        return FrameBoxes(self._boxes.boxes[rows], self._boxes.tracks[rows], self._boxes.scores[rows])

    def __iter__(self) -> Iterator[int]:
        return map(int, self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def cut(frame: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Cut a clipped box out of a frame, its edges rounded to whole pixels, at least one pixel wide and high.

    Args:
        frame: H x W x 3 uint8.
        box: (4,) x y w h in pixels, inside the frame.

    Returns:
        h x w x 3 uint8, a copy: the crop must not keep the whole frame alive.
    """
    height, width = frame.shape[:2]
    x, y, w, h = (float(value) for value in box)
    left, right = _pixels(x, w, width)
    top, bottom = _pixels(y, h, height)
    return frame[top:bottom, left:right].copy()


def _pixels(start: float, length: float, limit: int) -> tuple[int, int]:
    first = min(math.floor(start + 0.5), limit - 1)
    return first, min(max(math.floor(start + length + 0.5), first + 1), limit)


def _numbered_blocks(file: Iterator[str]) -> Iterator[Sequence[tuple[int, str]]]:
    """Lines that are not blank, with their numbers from 1."""
    lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())
    while block := list(islice(lines, _LINES_AT_ONCE)):
        yield block


def _read_block(
    path: Path, lines: Sequence[tuple[int, str]], frame_offset: int
) -> tuple[NDArray[np.int64], FrameBoxes]:
    """The 0-based frame of each box with a confidence other than 0, and these boxes."""
    values = _parse(path, lines)
    _check(path, lines, values, frame_offset)
    values = values[values[:, 6] != 0]
    frames, tracks = values[:, :2].astype(np.int64).T
    return frames + frame_offset, FrameBoxes(
        values[:, 2:6].astype(np.float32), tracks.copy(), values[:, 6].astype(np.float32)
    )


def _parse(path: Path, lines: Sequence[tuple[int, str]]) -> NDArray[np.float64]:
    """The first seven numbers of each line."""
    try:
        return np.loadtxt([line for _, line in lines], delimiter=",", usecols=range(7), comments=None, ndmin=2)
    except ValueError:
        # One by one, to name the line.
        return np.array([_parse_line(path, number, line) for number, line in lines])


def _parse_line(path: Path, number: int, line: str) -> list[float]:
    fields = line.strip().split(",")
    if len(fields) < 7:
        raise _malformed(path, number, f"{len(fields)} fields")
    try:
        return [float(field) for field in fields[:7]]
    except ValueError as error:
        raise _malformed(path, number, str(error)) from error


def _check(path: Path, lines: Sequence[tuple[int, str]], values: NDArray[np.float64], frame_offset: int) -> None:
    numbers, sides = values[:, :2], values[:, 4:6]
    faults = {
        "a number is not finite, or larger than float32 holds": ~(np.abs(values) <= _LARGEST),
        "frame {:g} or track {:g} is not a whole number": (
            (numbers != np.trunc(numbers)) | (np.abs(numbers) > _LARGEST_WHOLE)
        ),
        f"frame {{:.0f}} with --frame-offset {frame_offset} lies before the video's first frame, 0": (
            numbers[:, :1] + frame_offset < 0
        ),
        "the box is {4:g} wide and {5:g} high": (sides <= 0) & (values[:, 6:] != 0),
    }
    faulty = {message: mask.any(axis=1) for message, mask in faults.items()}
    wrong = np.logical_or.reduce(list(faulty.values()))
    if wrong.any():
        row = int(np.argmax(wrong))
        message = next(message for message, rows in faulty.items() if rows[row])
        raise _malformed(path, lines[row][0], message.format(*values[row]))


def _malformed(path: Path, number: int, fault: str) -> InputError:
    return InputError(f"{path}, line {number}: {fault}; expected {_COLUMNS},...")
