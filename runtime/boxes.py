"""People's boxes in a video: read from a MOT file, clipped to the frame, cut out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .embeddings import NO_TRACK
from .errors import InputError
from .files import require_file

_COLUMNS = "frame,track,x,y,width,height,confidence"

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
        Boxes by 0-based video frame, in the file's order; frames without boxes are absent.

    Raises:
        InputError: the file is missing, has no box, or a line is malformed (named by its number).
    """
    try:
        lines = require_file(path, "boxes file").read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file ({error.reason}); expected MOT lines {_COLUMNS},...") from error
    rows: dict[int, list[tuple[int, list[float], float]]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            frame, track, box, confidence = _parse_line(line, frame_offset)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}; expected {_COLUMNS},...") from error
        if confidence != 0:
            rows.setdefault(frame, []).append((track, box, confidence))
    if not rows:
        raise InputError(f"{path} holds no box with a confidence other than 0; expected lines {_COLUMNS},...")
    return {frame: _frame_boxes(items) for frame, items in rows.items()}


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


def _parse_line(line: str, frame_offset: int) -> tuple[int, int, list[float], float]:
    fields = line.split(",")
    if len(fields) < 7:
        raise ValueError(f"{len(fields)} fields")
    frame, track, *box, confidence = (float(field) for field in fields[:7])
    if not all(abs(number) <= _LARGEST for number in (frame, track, *box, confidence)):
        raise ValueError("a number is not finite, or larger than float32 holds")
    if not all(number.is_integer() and abs(number) <= _LARGEST_WHOLE for number in (frame, track)):
        raise ValueError(f"frame {fields[0]} or track {fields[1]} is not a whole number")
    if frame + frame_offset < 0:
        raise ValueError(
            f"frame {int(frame)} with --frame-offset {frame_offset} lies before the video's first frame, 0"
        )
    if confidence != 0 and min(box[2:]) <= 0:
        raise ValueError(f"the box is {fields[4]} wide and {fields[5]} high")
    return int(frame) + frame_offset, int(track), box, confidence


def _frame_boxes(items: list[tuple[int, list[float], float]]) -> FrameBoxes:
    tracks, boxes, scores = zip(*items, strict=True)
    return FrameBoxes(np.array(boxes, np.float32), np.array(tracks, np.int64), np.array(scores, np.float32))
