"""Contact sheets: for each identity in a video one image with some of its crops, spread over time."""

import struct
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from .track_identities import TrackIdentity

_COLUMNS = 8
_MOST_CROPS = 24
_TILE_HEIGHT = 160
_CAPTION_HEIGHT = 16
_MARGIN = 4
_WHITE = 255
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.35
_QUALITY = 90
# Before a crop in the file: its frame and how many bytes it has.
_HEAD = struct.Struct("<qq")


class ContactSheets:
    """Collects crops of each identity and draws a sheet of each at the end; a sheet shows people.

    At most 24 crops of each are shown: all of the first ones, later every other one, every fourth, and so on. They wait
    on the disk.
    """

    def __init__(self, folder: Path, identities: Callable[[], Mapping[int, TrackIdentity]] | None = None) -> None:
        """Collect in `folder`, which is made.

        Args:
            folder: of the sheets.
            identities: called at the end: who the tracks are; those it does not name have a sheet of their own, and
                crops without a track are left out. None goes by each crop: the person in the gallery where one was
                found, else its track.

        Raises:
            InputError: the folder cannot be made.
        """
        self._folder = folder
        self._identities = identities
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
        names = _person_sheets(frame) if self._identities is None else _track_sheets(frame)
        for name, image in zip(names, frame.images, strict=True):
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
        for name, starts in self._sheets().items():
            tiles = [self._tile(start) for start in _spread(sorted(starts))]
            self._write(self._folder / f"{name}.jpg", draw_sheet(tiles))
        self.close()
        self._path.unlink()

    def close(self) -> None:
        """Close what waits on the disk."""
        # A crop that could not be written has been reported.
        with suppress(OSError):
            self._file.close()

    def _sheets(self) -> Mapping[str, Iterable[int]]:
        """Where the crops of each sheet start in the file."""
        known = {} if self._identities is None else self._identities()
        persons = {
            _track_sheet(track): _person_sheet(identity.person_id)
            for track, identity in known.items()
            if identity.person_id != UNKNOWN_PERSON
        }
        sheets: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
        for name, crops in self._crops.items():
            sheets[persons.get(name, name)].extend(crops.starts)
        return sheets

    def _keep(self, frame: int, image: NDArray[np.uint8]) -> int:
        width = round(_TILE_HEIGHT * image.shape[1] / image.shape[0])
        shown = cv2.cvtColor(cv2.resize(image, (width, _TILE_HEIGHT)), cv2.COLOR_RGB2BGR)
        content = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        try:
            start = self._file.seek(0, 2)
            self._file.write(_HEAD.pack(frame, len(content)) + content)
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        return start

    def _tile(self, start: int) -> NDArray[np.uint8]:
        self._file.seek(start)
        frame, size = _HEAD.unpack(self._file.read(_HEAD.size))
        picture = decode_image(self._file.read(size), str(self._path))
        tile = cv2.copyMakeBorder(picture, 0, _CAPTION_HEIGHT, 0, 0, cv2.BORDER_CONSTANT, value=(_WHITE,) * 3)
        caption = (2, _TILE_HEIGHT + _CAPTION_HEIGHT - 4)
        cv2.putText(tile, f"frame {frame}", caption, _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
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


@dataclass(slots=True)
class _Spread:
    """Some of a row of crops whose length is not known, evenly spread over it; there are many of these.

    Attributes:
        starts: where they start in the file, in the order of their frames.
    """

    starts: "array[int]" = field(default_factory=lambda: array("q"))
    stride: int = 1
    seen: int = 0

    def wants_next(self) -> bool:
        self.seen += 1
        return (self.seen - 1) % self.stride == 0

    def keep(self, start: int) -> None:
        if len(self.starts) == _MOST_CROPS:
            # Every other one goes; this one is the next of those that stay.
            self.starts = self.starts[::2]
            self.stride *= 2
        self.starts.append(start)


def _spread(crops: Sequence[int]) -> Sequence[int]:
    """At most as many as a sheet shows, evenly from the first to the last."""
    if len(crops) <= _MOST_CROPS:
        return crops
    return [crops[number * (len(crops) - 1) // (_MOST_CROPS - 1)] for number in range(_MOST_CROPS)]


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror}; free some space")


def _track_sheets(frame: EmbeddedFrame) -> list[str | None]:
    return [None if track == NO_TRACK else _track_sheet(track) for track in frame.found.tracks]


def _person_sheets(frame: EmbeddedFrame) -> list[str | None]:
    """The person in the gallery where one was found, else the track."""
    tracks = _track_sheets(frame)
    if frame.matches is None:
        return tracks
    return [
        track if person == UNKNOWN_PERSON else _person_sheet(person)
        for person, track in zip(frame.matches.person_ids, tracks, strict=True)
    ]


def _track_sheet(number: int) -> str:
    return f"track-{number:06d}"


def _person_sheet(number: int) -> str:
    return f"person-{number:06d}"
