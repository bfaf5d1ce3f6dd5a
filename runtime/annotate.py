"""A copy of a video with people's boxes and labels drawn in."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .embeddings import NO_TRACK, Embeddings
from .errors import InputError
from .files import atomic_path
from .gallery import Matches
from .progress import progress
from .video import VideoHeader, read_frames, read_header

_CODEC = "mp4v"
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.45
_BLACK = (0, 0, 0)
# Steps of the golden ratio around the colour circle keep neighbouring numbers apart.
_HUE_STEP = 0.618034
_HUES = 180


def annotate_video(source: Path, out: Path, embeddings: Embeddings, matches: Matches | None) -> None:
    """Write a copy of `source` with people's boxes drawn in, atomically.

    Args:
        source: the video.
        out: an .mp4 to write; it shows people: keep it no longer than needed.
        embeddings: of the people in `source`, by ascending frame.
        matches: of each of them; None without a gallery.

    Raises:
        InputError: `source` cannot be read to its end, `out` cannot be written, or `embeddings` are not from a video.
    """
    if embeddings.frames is None or embeddings.tracks is None or embeddings.boxes is None:
        raise InputError(
            f"the embeddings to draw into {source} have no frames, tracks and boxes; they are not of a video"
        )
    labels = labels_of(embeddings.tracks, matches)
    colours = embeddings.tracks if matches is None else matches.person_ids
    header = read_header(source)
    with atomic_path(out) as temporary:
        writer = _open_writer(temporary, header)
        count = 0
        try:
            for frame in progress(read_frames(source), "annotating", total=header.frames, unit="frame"):
                first, last = np.searchsorted(embeddings.frames, (count, count + 1))
                for row in range(first, last):
                    draw_box(frame, embeddings.boxes[row], labels[row], _colour(int(colours[row])))
                writer.write(frame)
                count += 1
        finally:
            writer.release()
        _check_written(temporary, out, count)


def labels_of(tracks: NDArray[np.int64], matches: Matches | None) -> list[str]:
    """What to write at each of N boxes: its track where it has one, and the nearest identity with its score.

    Args:
        tracks: (N,) -1 for no track.
        matches: of the N boxes; None without a gallery.
    """
    labels = ["" if track == NO_TRACK else f"track {track}" for track in tracks]
    if matches is None:
        return labels
    found = [f"id {person} {score:.2f}" for person, score in zip(matches.person_ids, matches.scores, strict=True)]
    return [" | ".join(filter(None, pair)) for pair in zip(labels, found, strict=True)]


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


def _open_writer(path: Path, header: VideoHeader) -> cv2.VideoWriter:
    codec = cv2.VideoWriter.fourcc(*_CODEC)
    writer = cv2.VideoWriter(str(path), codec, header.rate, (header.width, header.height))
    if not writer.isOpened():
        raise InputError(f"this OpenCV {cv2.__version__} cannot write {path.suffix} ({_CODEC}); leave out --annotate")
    return writer


def _check_written(temporary: Path, out: Path, count: int) -> None:
    # OpenCV's writer reports no errors, not even a full disk.
    written = read_header(temporary).frames
    if written != count:
        raise InputError(f"cannot write {out}: {written} of {count} frames arrived; is the disk full?")
