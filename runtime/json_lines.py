"""A video's people for other programs: one JSON object a line and frame, as they come."""

import json
import logging
from typing import Any, TextIO

from .console import discard
from .embeddings import NO_TRACK, UNKNOWN_PERSON
from .errors import InputError
from .pipeline import EmbeddedFrame

logger = logging.getLogger(__name__)


class JsonLines:
    """Writes a line for every frame, also where nobody is on it, and hands it on at once.

    `{"frame": 12, "seconds": 1.2, "people": [{"box": [x, y, width, height], "score": 0.9, "track": 3, "person_id": 7,
    "person": "anna", "similarity": 0.83}]}`: frames count from 0, boxes are in pixels; `track`, `person_id`, `person`
    and `similarity` are null where there is none. `similarity` is that of the nearest person, also where it is too low
    for the threshold and the person unknown.

    Attributes:
        reader_is_gone: whether the program that read the lines has ended; they are not written any more then.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`, which is left open."""
        self._stream = stream
        self.reader_is_gone = False

    def add(self, frame: EmbeddedFrame) -> None:
        """Write a frame's line; raises `InputError` where that fails."""
        if self.reader_is_gone:
            return
        try:
            self._stream.write(json.dumps(_line(frame), allow_nan=False) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self.reader_is_gone = True
            logger.warning("warning: nobody reads the JSON lines any more")
            discard(self._stream)
        except OSError as error:
            raise InputError(f"cannot write the JSON lines: {error.strerror}; free some space") from error


def _line(frame: EmbeddedFrame) -> dict[str, Any]:
    return {
        "frame": frame.index,
        "seconds": round(frame.seconds, 3),
        "people": [_person(frame, row) for row in range(len(frame.features))],
    }


def _person(frame: EmbeddedFrame, row: int) -> dict[str, Any]:
    found, matches = frame.found, frame.matches
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
