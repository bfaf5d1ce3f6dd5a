"""Contact sheets: for each identity in a video one image with some of its crops, spread over time."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from .embeddings import NO_TRACK, UNKNOWN_PERSON
from .errors import InputError
from .images import decode_image
from .pipeline import EmbeddedFrame

_COLUMNS = 8
_MOST_CROPS = 24
_TILE_HEIGHT = 160
_CAPTION_HEIGHT = 16
_MARGIN = 4
_WHITE = 255
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.35
_QUALITY = 90


class ContactSheets:
    """Collects crops of each identity and draws a sheet of each at the end; a sheet shows people.

    An identity is a person in the gallery where one was found, else a track. At most 24 crops of each are shown: all of
    the first ones, later every other one, every fourth, and so on. They wait on the disk.
    """

    def __init__(self, folder: Path) -> None:
        """Collect in `folder`, which is made.

        Raises:
            InputError: that fails.
        """
        self._folder = folder
        self._crops: dict[str, _Spread] = {}
        try:
            folder.mkdir()
            self._path = folder / "crops.bin"
            self._file: BinaryIO = self._path.open("w+b")
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror}") from error

    def add(self, frame: EmbeddedFrame) -> None:
        """Take a frame's people.

        Raises:
            InputError: a crop cannot be kept.
        """
        for name, image in zip(_identities(frame), frame.images, strict=True):
            if name is None:
                continue
            crops = self._crops.setdefault(name, _Spread())
            if crops.wants_next():
                crops.keep(self._keep(frame.index, image))

    def finish(self) -> None:
        """Draw the sheets, one file an identity.

        Raises:
            InputError: one cannot be written.
        """
        try:
            self._file.flush()
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        for name, crops in self._crops.items():
            tiles = [self._tile(crop) for crop in crops.kept[:_MOST_CROPS]]
            self._write(self._folder / f"{name}.jpg", draw_sheet(tiles))
        self.close()
        self._path.unlink()

    def close(self) -> None:
        """Close what waits on the disk."""
        # A crop that could not be written has been reported.
        with suppress(OSError):
            self._file.close()

    def _keep(self, frame: int, image: NDArray[np.uint8]) -> "_Crop":
        width = round(_TILE_HEIGHT * image.shape[1] / image.shape[0])
        shown = cv2.cvtColor(cv2.resize(image, (width, _TILE_HEIGHT)), cv2.COLOR_RGB2BGR)
        content = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        try:
            start = self._file.seek(0, 2)
            self._file.write(content)
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        return _Crop(frame, start, len(content))

    def _tile(self, crop: "_Crop") -> NDArray[np.uint8]:
        self._file.seek(crop.start)
        picture = decode_image(self._file.read(crop.size), str(self._path))
        tile = cv2.copyMakeBorder(picture, 0, _CAPTION_HEIGHT, 0, 0, cv2.BORDER_CONSTANT, value=(_WHITE,) * 3)
        caption = (2, _TILE_HEIGHT + _CAPTION_HEIGHT - 4)
        cv2.putText(tile, f"frame {crop.frame}", caption, _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
        return np.asarray(tile, np.uint8)

    def _write(self, path: Path, sheet: NDArray[np.uint8]) -> None:
        try:
            path.write_bytes(cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())
        except OSError as error:
            raise _cannot_write(path, error) from error


def draw_sheet(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Tiles of one size, h x w x 3 uint8, row by row on white, eight in a row."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // _COLUMNS)
    columns = min(len(tiles), _COLUMNS)
    step_down, step_right = height + _MARGIN, width + _MARGIN
    sheet = np.full((rows * step_down + _MARGIN, columns * step_right + _MARGIN, 3), _WHITE, np.uint8)
    for number, tile in enumerate(tiles):
        top = _MARGIN + number // _COLUMNS * step_down
        left = _MARGIN + number % _COLUMNS * step_right
        sheet[top : top + height, left : left + width] = tile
    return sheet


@dataclass(frozen=True)
class _Crop:
    """Where a crop lies in the file."""

    frame: int
    start: int
    size: int


@dataclass
class _Spread:
    """Some of a row of crops whose length is not known, evenly spread over it."""

    kept: list[_Crop] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def wants_next(self) -> bool:
        self.seen += 1
        return (self.seen - 1) % self.stride == 0

    def keep(self, crop: _Crop) -> None:
        if len(self.kept) == _MOST_CROPS:
            # Every other one goes; this one is the next of those that stay.
            self.kept = self.kept[::2]
            self.stride *= 2
        self.kept.append(crop)


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror}; free some space")


def _identities(frame: EmbeddedFrame) -> list[str | None]:
    tracks = [None if track == NO_TRACK else f"track-{track:06d}" for track in frame.found.tracks]
    if frame.matches is None:
        return tracks
    return [
        track if person == UNKNOWN_PERSON else f"person-{person:06d}"
        for person, track in zip(frame.matches.person_ids, tracks, strict=True)
    ]
