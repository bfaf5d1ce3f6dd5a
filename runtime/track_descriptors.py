"""One descriptor for each track of a video, made when the track has ended: until then its embeddings are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .embeddings import NO_TRACK
from .errors import InputError
from .identities import Tracklets, describe_track
from .pipeline import EmbeddedFrame

_MOST_EMBEDDINGS = 2048


@dataclass
class _Sightings:
    """Of a track: in `count` frames, of which every `stride`-th is one of the `kept` embeddings."""

    first: int
    last: int
    count: int = 0
    stride: int = 1
    kept: int = 0


class TrackDescriptors:
    """Collects each track's embeddings on the disk, until it ends and is described.

    Of a track that does not end at most 2,048 embeddings are kept, spread over it: all of the first ones, later every
    other one, every fourth, and so on. Tracks of a boxes file last until `end_all` is called.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """Collect in `folder`, which is made.

        Args:
            folder: of one file a track.
            size: D, of an embedding.

        Raises:
            InputError: the folder cannot be made.
        """
        self._folder = folder
        self._size = size
        self._sightings: dict[int, _Sightings] = {}
        try:
            folder.mkdir()
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror}") from error

    def add(self, frame: EmbeddedFrame) -> None:
        """Take a frame's people; raises `InputError` where an embedding cannot be kept."""
        for track, feature in zip(frame.found.tracks.tolist(), frame.features, strict=True):
            if track != NO_TRACK:
                self._keep(track, frame.index, feature)

    def end(self, tracks: Sequence[int]) -> Tracklets:
        """Describe tracks that go on no more, and forget them.

        Raises:
            InputError: one has an embedding that is not finite.
        """
        ended = {track: self._sightings.pop(track) for track in sorted(tracks)}
        descriptors = [self._descriptor(track, sightings) for track, sightings in ended.items()]
        return Tracklets(
            tracks=np.array(list(ended), np.int64),
            descriptors=np.array(descriptors, np.float32).reshape(-1, self._size),
            first=np.array([each.first for each in ended.values()], np.int64),
            last=np.array([each.last for each in ended.values()], np.int64),
        )

    def end_all(self) -> Tracklets:
        """`end` for all tracks that still last."""
        return self.end(list(self._sightings))

    def _keep(self, track: int, frame: int, feature: NDArray[np.float32]) -> None:
        sightings = self._sightings.get(track) or _Sightings(frame, frame)
        if sightings.count % sightings.stride == 0:
            try:
                self._append(self._path(track), sightings, feature)
            except OSError as error:
                raise InputError(f"cannot write to {self._folder}: {error.strerror}; free some space") from error
        sightings.last = frame
        sightings.count += 1
        self._sightings[track] = sightings

    def _append(self, path: Path, sightings: _Sightings, feature: NDArray[np.float32]) -> None:
        if sightings.kept == _MOST_EMBEDDINGS:
            # Every other one goes; this one is the next of those that stay.
            staying = self._read(path, sightings)[::2]
            with path.open("r+b") as file:
                file.write(staying.tobytes())
                file.truncate()
            sightings.stride *= 2
            sightings.kept = len(staying)
        with path.open("ab") as file:
            file.write(feature.tobytes())
        sightings.kept += 1

    def _descriptor(self, track: int, sightings: _Sightings) -> NDArray[np.float32]:
        path = self._path(track)
        descriptor = describe_track(self._read(path, sightings), np.arange(sightings.kept))
        path.unlink()
        return descriptor

    def _read(self, path: Path, sightings: _Sightings) -> NDArray[np.float32]:
        return np.fromfile(path, np.float32, sightings.kept * self._size).reshape(-1, self._size)

    def _path(self, track: int) -> Path:
        return self._folder / f"{track}.f32"
