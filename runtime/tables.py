"""Tables of a video's people, written line by line so that a killed run's can be read."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .embeddings import NO_TRACK, UNKNOWN_PERSON
from .errors import InputError
from .files import atomic_path
from .gallery import Matches
from .pipeline import EmbeddedFrame
from .track_identities import TrackIdentity

_MATCHES_HEADINGS = ("name", "person_id", "score", "gallery_name", "person_name")


def write_matches(path: Path, names: Sequence[str], matches: Matches) -> None:
    """Write the `matches.csv` of N embeddings with N names; raises `InputError` where that fails."""
    lines = _Lines(path)
    lines.write([_MATCHES_HEADINGS])
    lines.write(_matches_rows(names, matches))
    lines.close()


class MatchesTable:
    """`matches.csv`: the nearest person in the gallery (-2: unknown) for each embedding, under a line of headings."""

    def __init__(self, path: Path) -> None:
        self._lines = _Lines(path)
        self._lines.write([_MATCHES_HEADINGS])

    def add(self, frame: EmbeddedFrame) -> None:
        """Write a frame's people; raises `InputError` where that fails."""
        if frame.matches is not None:
            names = [frame.name_of(row) for row in range(len(frame.features))]
            self._lines.write(_matches_rows(names, frame.matches))

    def finish(self) -> None:
        """Nothing is left to do: every line is written."""

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class TracksTable:
    """`tracks.csv`: MOT lines of everyone with a track, without headings, and two columns more.

    `frame,track,x,y,width,height,score,-1,-1,-1,person_id,similarity`: frames count from 1, as in MOT. While the video
    runs, the last two are -2 and empty: who a track is, is known at its end.
    """

    def __init__(self, path: Path, identities: Callable[[], Mapping[int, TrackIdentity]] | None) -> None:
        """Start an empty table.

        Args:
            path: the file.
            identities: called at the end: who the tracks are; those it does not name stay unknown, all without it.
        """
        self._path = path
        self._identities = identities
        self._lines = _Lines(path)

    def add(self, frame: EmbeddedFrame) -> None:
        """Write a frame's people; raises `InputError` where that fails."""
        found = frame.found
        self._lines.write(
            (frame.index + 1, track, *(f"{side:.2f}" for side in box), f"{score:.4f}", -1, -1, -1, UNKNOWN_PERSON, "")
            for track, box, score in zip(found.tracks, found.boxes, found.scores, strict=True)
            if track != NO_TRACK
        )

    def finish(self) -> None:
        """Put the identities in; raises `InputError` where that fails."""
        self.close()
        if self._identities is not None:
            identities = self._identities()
            with atomic_path(self._path) as temporary, self._path.open(encoding="utf-8", newline="") as lines:
                named = _Lines(temporary)
                named.write(_with_identity(row, identities) for row in csv.reader(lines))
                named.close()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def _with_identity(row: list[str], identities: Mapping[int, TrackIdentity]) -> list[object]:
    identity = identities.get(int(row[1]))
    if identity is None:
        return [*row]
    similarity = "" if identity.similarity is None else f"{identity.similarity:.4f}"
    return [*row[:-2], identity.person_id, similarity]


def _matches_rows(names: Sequence[str], matches: Matches) -> Iterator[tuple[object, ...]]:
    columns = (matches.person_ids, matches.scores, matches.names, matches.person_names)
    for name, person, score, nearest, called in zip(names, *columns, strict=True):
        yield name, person, f"{score:.4f}", nearest, called


class _Lines:
    """A text file that grows by whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # A file's name that is not UTF-8 is written as the bytes that it is.
            self._file = path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, rows: Iterable[Sequence[object]]) -> None:
        try:
            self._writer.writerows(rows)
            self._file.flush()
        except OSError as error:
            raise InputError(f"cannot write {self._path}: {error.strerror}; free some space") from error

    def close(self) -> None:
        # A line that could not be written has been reported.
        with suppress(OSError):
            self._file.close()
