"""A video's people for other programs, as they come: a JSON object a line, of each frame and of each track."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from .console import discard
from .embeddings import NO_TRACK, UNKNOWN_PERSON
from .errors import InputError
from .pipeline import EmbeddedFrame
from .track_identities import TrackIdentity

logger = logging.getLogger(__name__)


@dataclass
class _Sightings:
    """Of a track: the first and the last, as they are written."""

    first: Mapping[str, Any]
    last: Mapping[str, Any]


class JsonLines:
    """Writes a line for every frame, also where nobody is on it, and one for every track; hands each on at once.

    `{"frame": 12, "seconds": 1.2, "time": null, "people": [{"box": [x, y, width, height], "score": 0.9, "track": 3,
    "person_id": 7, "person": "anna", "similarity": 0.83}]}`: frames count from 0, boxes are in pixels; `time` is when
    a frame of a live stream arrived (ISO 8601, UTC); it, `track`, `person_id`, `person` and `similarity` are null where
    there is none. A person with a track is named by all of the track until then. `similarity` is that of the nearest
    person, also where it is too low for the threshold and the person unknown.

    `{"track": 3, "first": {"frame": 2, "seconds": 0.2, "time": null}, "last": {...}, "person_id": 7, "person": "anna",
    "similarity": 0.83}`: when a track was seen and who it is, once that is known.

    Attributes:
        reader_is_gone: whether the program that read the lines has ended; they are not written any more then.
    """

    def __init__(self, stream: TextIO, *, tracks: bool = False) -> None:
        """Write to a stream, which is left open.

        Args:
            stream: the stream.
            tracks: whether it will be known who the tracks are.
        """
        self._stream = stream
        self._tracks = tracks
        self._sightings: dict[int, _Sightings] = {}
        self._failed = False
        self.reader_is_gone = False

    def add(self, frame: EmbeddedFrame) -> None:
        """Write a frame's line; raises `InputError` where that fails."""
        moment = _moment(frame)
        if self._tracks:
            for track in set(frame.found.tracks.tolist()) - {NO_TRACK}:
                self._sightings.setdefault(track, _Sightings(moment, moment)).last = moment
        self._write({**moment, "people": [_person(frame, row) for row in range(len(frame.features))]})

    def add_tracks(self, identities: Mapping[int, TrackIdentity]) -> None:
        """Write the lines of tracks whose last frame was added; raises `InputError` where that fails."""
        for track, identity in identities.items():
            seen = self._sightings.pop(track, None)
            # Of a frame that could not be written there is no line either.
            if seen is None:
                continue
            known = identity.person_id != UNKNOWN_PERSON
            self._write(
                {
                    "track": track,
                    "first": seen.first,
                    "last": seen.last,
                    "person_id": identity.person_id if known else None,
                    "person": identity.person_name or None,
                    "similarity": None if identity.similarity is None else round(identity.similarity, 4),
                }
            )

    def _write(self, line: Mapping[str, Any]) -> None:
        if self.reader_is_gone or self._failed:
            return
        try:
            self._stream.write(json.dumps(line, allow_nan=False) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self.reader_is_gone = True
            logger.warning("warning: nobody reads the JSON lines any more")
            discard(self._stream)
        except OSError as error:
            # Said once: what else there is to write is not to fail for it, too.
            self._failed = True
            raise InputError(f"cannot write the JSON lines: {error.strerror}; free some space") from error


def _moment(frame: EmbeddedFrame) -> dict[str, Any]:
    return {
        "frame": frame.index,
        "seconds": round(frame.seconds, 3),
        "time": frame.arrived and frame.arrived.isoformat(timespec="milliseconds"),
    }


def _person(frame: EmbeddedFrame, row: int) -> dict[str, Any]:
    found, matches = frame.found, frame.matches_so_far
    track = int(found.tracks[row])
    known = matches is not None and matches.person_ids[row] != UNKNOWN_PERSON
    return {
        "box": [round(float(side), 2) for side in found.boxes[row]],
        "score": round(float(found.scores[row]), 4),
        "track": None if track == NO_TRACK else track,
        "person_id": int(matches.person_ids[row]) if matches is not None and known else None,
        "person": str(matches.person_names[row]) or None if matches is not None else None,
        "similarity": None if matches is None else round(float(matches.scores[row]), 4),
    }
