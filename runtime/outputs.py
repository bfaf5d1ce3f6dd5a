"""What is written of a video's people, frame by frame, and put in place together at the end."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Protocol, TextIO

from .annotate import AnnotatedVideo
from .contact_sheet import ContactSheets
from .embeddings import MANIFEST_NAME, save_manifest
from .errors import InputError
from .json_lines import JsonLines
from .manifest import Manifest
from .pipeline import EmbeddedFrame
from .spool import EmbeddingsSpool
from .tables import MatchesTable, TracksTable
from .track_descriptors import TrackDescriptors
from .track_identities import IdentifiedTracks, TrackIdentities, TrackIdentity
from .unfinished import UnfinishedFolder

EMBEDDINGS = "embeddings.npz"
MATCHES = "matches.csv"
TRACKS = "tracks.csv"
ANNOTATED = "annotated.mp4"
SHEETS = "contact-sheets"
# What a run may leave in its folder; what it does not write is removed, because it would belong to other embeddings.
RESULTS = (EMBEDDINGS, MATCHES, TRACKS, ANNOTATED, SHEETS, MANIFEST_NAME)
SPOOL = "embeddings"
DESCRIBED = "described-tracks"

logger = logging.getLogger(__name__)


class Output(Protocol):
    """One of the results, while it grows."""

    def add(self, frame: EmbeddedFrame) -> None:
        """Take the next frame; raises `InputError` where it cannot be written."""
        ...

    def finish(self) -> None:
        """Complete it; raises `InputError` where that fails."""
        ...

    def close(self) -> None:
        """Close its files; a second call does nothing."""
        ...


@dataclass(frozen=True)
class Wanted:
    """Which results are wanted.

    Attributes:
        embeddings: all of them, with their frames, tracks and boxes, and the manifest of their model.
        matches: the nearest person in a gallery.
        tracks: a table of everyone with a track.
        identities: how the tracks in table, sheets and lines get theirs; None leaves them unknown, sheets to single
            crops, and tracks without lines.
        annotated: the video with boxes and labels, with so many frames a second; None without it.
        sheets: a contact sheet of each identity.
        json_lines: where to write a line of JSON for every frame and track; None for nowhere.
    """

    embeddings: bool = True
    matches: bool = False
    tracks: bool = False
    identities: TrackIdentities | None = None
    annotated: float | None = None
    sheets: bool = False
    json_lines: TextIO | None = None


class VideoOutputs:
    """All results of a run; a context manager that leaves nothing behind unless `finish` was reached.

    Until then they grow in a folder of their own inside the results' folder, where a killed run leaves them, and one of
    a live source that fails.
    """

    def __init__(self, out: Path | None, model: Manifest, wanted: Wanted, *, live: bool = False) -> None:
        """Start them.

        Args:
            out: folder for the results; None where none is to be a file: JSON lines only.
            model: whose embeddings they are of.
            wanted: which of them.
            live: whether the source cannot be run again.

        Raises:
            InputError: `out` cannot be written to.
        """
        self._live = live
        self._finished = False
        identified = wanted.identities is not None
        self._lines = None if wanted.json_lines is None else JsonLines(wanted.json_lines, tracks=identified)
        self._outputs: Sequence[Output] = []
        self._identified: IdentifiedTracks | None = None
        self._folder = None if out is None else UnfinishedFolder(out)
        self._closing = ExitStack()
        try:
            if wanted.identities:
                growing = self._temporary_folder() if self._folder is None else self._folder.path
                descriptors = TrackDescriptors(growing / DESCRIBED, model.embedding_size)
                remembers = self._folder is not None
                self._identified = IdentifiedTracks(descriptors, wanted.identities, remembers=remembers)
            if self._folder is not None:
                self._outputs = _open(self._folder.path, model, wanted, self._identified)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def add(self, frame: EmbeddedFrame) -> None:
        """Write a frame's people into all of them.

        Raises:
            InputError: one of them cannot be written.
        """
        if self._identified is not None:
            self._say(self._identified.end(frame.ended_tracks))
            self._identified.add(frame)
        for output in self._outputs:
            output.add(frame)
        # Last: a program that reads of a frame finds it in the files.
        if self._lines is not None:
            self._lines.add(frame)

    @property
    def reader_is_gone(self) -> bool:
        """Whether the program that read the JSON lines has ended."""
        return self._lines is not None and self._lines.reader_is_gone

    def finish(self) -> None:
        """Complete them and put them in place, all or none; what an earlier run left of others is removed.

        Raises:
            InputError: that fails.
        """
        failure = self._say_the_rest()
        if failure is not None and not self._live:
            raise failure
        if self._folder is not None:
            self._finish_all()
            put_in_place(self._folder, [name for name in RESULTS if (self._folder.path / name).exists()])
            self._finished = True
        if failure is not None:
            raise failure

    def _say_the_rest(self) -> InputError | None:
        """Who the tracks are that are not known yet, and what went wrong with saying so."""
        if self._identified is not None:
            try:
                self._say(self._identified.finish())
            except InputError as error:
                return error
        return None

    def _finish_all(self) -> None:
        """Every one that can be: of a live source also what is not put in place is kept."""
        failures = []
        for output in self._outputs:
            try:
                output.finish()
            except InputError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def salvage(self) -> None:
        """After a failure: `finish` where the source is live, as far as that works."""
        if self._live:
            try:
                self.finish()
            except Exception as error:  # whatever it is, the failure before it is the one to report
                logger.warning("warning: %s", error)

    def _say(self, identified: Mapping[int, TrackIdentity]) -> None:
        if self._lines is not None:
            self._lines.add_tracks(identified)

    def _temporary_folder(self) -> Path:
        try:
            return Path(self._closing.enter_context(TemporaryDirectory(prefix="lgeu-")))
        except OSError as error:
            raise InputError(f"cannot keep tracks on the disk: {error}; free some space, or set TMPDIR") from error

    def __enter__(self) -> "VideoOutputs":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.close()
        if self._folder is None:
            return
        for output in self._outputs:
            output.close()
        if self._live and not self._finished and isinstance(error, Exception):
            self._folder.keep()
            logger.warning("warning: what was finished lies in %s", self._folder.path)
        self._folder.__exit__(kind, error, traceback)


def put_in_place(folder: UnfinishedFolder, written: Sequence[str]) -> None:
    """Put a run's results in the place of an earlier one's, and remove what that left of others.

    An earlier manifest goes first and the new one comes last: a run that is killed meanwhile leaves none, rather than
    one of another model.

    Args:
        folder: with the results.
        written: names of them, of `RESULTS`.

    Raises:
        InputError: that fails.
    """
    folder.put_in_place(
        sorted(written, key=RESULTS.index), [name for name in RESULTS if name not in written or name == MANIFEST_NAME]
    )


def _open(folder: Path, model: Manifest, wanted: Wanted, identified: IdentifiedTracks | None) -> Sequence[Output]:
    outputs: list[Output] = []
    identities = None if identified is None else identified.known
    if wanted.annotated is not None:
        outputs.append(_AnnotatedOutput(AnnotatedVideo(folder / ANNOTATED, wanted.annotated)))
    if wanted.matches:
        outputs.append(MatchesTable(folder / MATCHES))
    if wanted.tracks:
        outputs.append(TracksTable(folder / TRACKS, identities))
    if wanted.sheets:
        outputs.append(ContactSheets(folder / SHEETS, identities))
    # Last: what a killed run leaves of the others has every frame that the embeddings have.
    if wanted.embeddings:
        outputs.append(_EmbeddingsOutput(folder, model))
    return outputs


class _EmbeddingsOutput:
    def __init__(self, folder: Path, model: Manifest) -> None:
        self._path = folder / EMBEDDINGS
        save_manifest(folder, model)
        self._spool = EmbeddingsSpool(folder / SPOOL, model.embedding_size)

    def add(self, frame: EmbeddedFrame) -> None:
        self._spool.append(frame)

    def finish(self) -> None:
        self._spool.close()
        self._spool.finish(self._path)

    def close(self) -> None:
        self._spool.close()


class _AnnotatedOutput:
    def __init__(self, video: AnnotatedVideo) -> None:
        self._video = video

    def add(self, frame: EmbeddedFrame) -> None:
        if frame.pixels is None:
            raise InputError("the frames to draw into were not kept; expected a pipeline with keep_pixels")
        self._video.add(frame.pixels, frame.found, frame.matches_so_far)

    def finish(self) -> None:
        self._video.finish()

    def close(self) -> None:
        self._video.close()
