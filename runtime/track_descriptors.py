"""One descriptor for each track of a video, made when the track has ended: until then its embeddings are needed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .embeddings import NO_TRACK
from .errors import InputError
from .identities import Tracklets, describe_track
from .pipeline import EmbeddedFrame


@dataclass
class _Sightings:
    first: int
    last: int
    count: int = 0


class TrackDescriptors:
    """Collects each track's embeddings on the disk, and keeps its descriptor (4 D bytes) in their place when it ends.

    A video may be of any length, as long as its tracks end: those of a tracker do, those of a boxes file last until
    `tracklets` is called.
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
        self._descriptors: dict[int, NDArray[np.float32]] = {}
        try:
            folder.mkdir()
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror}") from error

    def add(self, frame: EmbeddedFrame) -> None:
        """Take a frame's people, and describe the tracks that ended before it.

        Raises:
            InputError: an embedding cannot be kept.
        """
        for track in frame.ended_tracks:
            self._describe(track)
        for track, feature in zip(frame.found.tracks.tolist(), frame.features, strict=True):
            if track != NO_TRACK:
                self._keep(track, frame.index, feature)

    def tracklets(self) -> Tracklets:
        """All tracks, those that still last among them, which end so."""
        for track in self._sightings.keys() - self._descriptors.keys():
            self._describe(track)
        tracks = sorted(self._sightings)
        return Tracklets(
            tracks=np.array(tracks, np.int64),
            descriptors=np.array([self._descriptors[each] for each in tracks], np.float32).reshape(-1, self._size),
            first=np.array([self._sightings[each].first for each in tracks], np.int64),
            last=np.array([self._sightings[each].last for each in tracks], np.int64),
        )

    def finish(self) -> None:
        """Nothing is left to do: it is no result of its own."""

    def close(self) -> None:
        """No file stays open."""

    def _keep(self, track: int, frame: int, feature: NDArray[np.float32]) -> None:
        try:
            with self._path(track).open("ab") as file:
                file.write(feature.tobytes())
        except OSError as error:
            raise InputError(f"cannot write to {self._folder}: {error.strerror}; free some space") from error
        sightings = self._sightings.setdefault(track, _Sightings(frame, frame))
        sightings.last = frame
        sightings.count += 1

    def _describe(self, track: int) -> None:
        count, path = self._sightings[track].count, self._path(track)
        # Mapped: of a track that lasted for hours a part is read at a time.
        features = np.memmap(path, np.float32, "r", shape=(count, self._size))
        self._descriptors[track] = describe_track(features, np.arange(count))
        path.unlink()

    def _path(self, track: int) -> Path:
        return self._folder / f"{track}.f32"
