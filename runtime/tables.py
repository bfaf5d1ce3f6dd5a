"""Tables of a video's people, written line by line so that a killed run's can be read."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from .embeddings import NO_TRACK, UNKNOWN_PERSON
from .errors import InputError
from .gallery import Matches
from .pipeline import EmbeddedFrame

_MATCHES_HEADINGS = ("name", "person_id", "score", "gallery_name")


def write_matches(path: Path, names: Sequence[str], matches: Matches) -> None:
    """Write the `matches.csv` of N embeddings with N names; raises `InputError` where that fails."""
    lines = _Lines(path)
    lines.write([_MATCHES_HEADINGS])
    lines.write(_matches_rows(names, matches))
    lines.close()


class MatchesTable:
    """`matches.csv`: the nearest person in the gallery for each embedding, under a line of headings."""

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

    `frame,track,x,y,width,height,score,-1,-1,-1,person_id,similarity`: frames count from 1, as in MOT; `person_id` is
    -2 and `similarity` empty where nobody in a gallery was taken for them.
    """

    def __init__(self, path: Path) -> None:
        self._lines = _Lines(path)

    def add(self, frame: EmbeddedFrame) -> None:
        """Write a frame's people; raises `InputError` where that fails."""
        found = frame.found
        rows = []
        for row, (track, box, score) in enumerate(zip(found.tracks, found.boxes, found.scores, strict=True)):
            if track == NO_TRACK:
                continue
            person, similarity = UNKNOWN_PERSON, ""
            if frame.matches is not None:
                person, similarity = int(frame.matches.person_ids[row]), f"{frame.matches.scores[row]:.4f}"
            sides = [f"{value:.2f}" for value in box]
            rows.append((frame.index + 1, track, *sides, f"{score:.4f}", -1, -1, -1, person, similarity))
        self._lines.write(rows)

    def finish(self) -> None:
        """Nothing is left to do: every line is written."""

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def _matches_rows(names: Sequence[str], matches: Matches) -> Iterator[tuple[object, ...]]:
    for name, person, score, nearest in zip(names, matches.person_ids, matches.scores, matches.names, strict=True):
        yield name, person, f"{score:.4f}", nearest


class _Lines:
    """A text file that grows by whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("w", encoding="utf-8", newline="")
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
