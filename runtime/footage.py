"""Where somebody is in a video that was embedded: the tracks, and crops without one, that look most like them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .embeddings import NO_TRACK, Embeddings
from .identities import describe_track, rows_of_tracks


@dataclass(frozen=True)
class Appearance:
    """A track, or a crop without one, and how much it looks like somebody.

    Attributes:
        footage: where it is.
        track: its number; None for a crop without one.
        similarity: cosine, -1..1: of the track's descriptor, or of the crop.
        first_frame: 0-based; None where the crops are not from a video.
        last_frame: likewise.
        crops: how many it has.
        name: of the crop that looks most like them.
        frame: of that crop; None where the crops are not from a video, as for its box.
        x: left side of that crop's box, in pixels.
        y: upper side.
        width: of the box.
        height: of the box.
    """

    footage: str
    track: int | None
    similarity: float
    first_frame: int | None
    last_frame: int | None
    crops: int
    name: str
    frame: int | None
    x: float | None
    y: float | None
    width: float | None
    height: float | None


def find_appearances(person: NDArray[np.float32], embeddings: Embeddings, footage: str) -> list[Appearance]:
    """All of them, the most similar first; those alike in the order in which they begin.

    Args:
        person: (D,) descriptor of who is looked for, L2-normalised; see `identities.describe_track`.
        embeddings: N of D elements, L2-normalised, frame by frame.
        footage: what they are of.
    """
    similarity = embeddings.features @ person
    found = [_appearance(rows, person, similarity, embeddings, footage) for rows in _rows_of_each(embeddings)]
    return sorted(found, key=lambda each: -each.similarity)


def _rows_of_each(embeddings: Embeddings) -> list[NDArray[np.int64]]:
    """Rows of each track, and of each crop without one, by the first of them."""
    # Whoever has no track gets a number that no track has.
    own = NO_TRACK - 1 - np.arange(len(embeddings))
    tracks = own if embeddings.tracks is None else np.where(embeddings.tracks == NO_TRACK, own, embeddings.tracks)
    _, rows = rows_of_tracks(tracks)
    return sorted(rows, key=lambda each: int(each[0]))


def _appearance(
    rows: NDArray[np.int64],
    person: NDArray[np.float32],
    similarity: NDArray[np.float32],
    embeddings: Embeddings,
    footage: str,
) -> Appearance:
    best = int(rows[np.argmax(similarity[rows])])
    frames, boxes = embeddings.frames, embeddings.boxes
    x, y, width, height = (None,) * 4 if boxes is None else (round(side, 2) for side in boxes[best].tolist())
    return Appearance(
        footage=footage,
        track=_track(embeddings, best),
        similarity=round(float(describe_track(embeddings.features, rows) @ person), 6),
        first_frame=None if frames is None else int(frames[rows].min()),
        last_frame=None if frames is None else int(frames[rows].max()),
        crops=len(rows),
        name=str(embeddings.names[best]),
        frame=None if frames is None else int(frames[best]),
        x=x,
        y=y,
        width=width,
        height=height,
    )


def _track(embeddings: Embeddings, row: int) -> int | None:
    if embeddings.tracks is None or embeddings.tracks[row] == NO_TRACK:
        return None
    return int(embeddings.tracks[row])
