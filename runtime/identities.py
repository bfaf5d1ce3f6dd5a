"""Who the tracks of a video are: one descriptor a track, the nearest known person, or the same unknown one again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .embeddings import NO_TRACK
from .errors import InputError
from .gallery import Matches

# Of a track's crops this share, the least like the others, is left out: cut off, covered by somebody else, or of them.
_LEFT_OUT = 0.25
# Of a track that lasts for hours so many embeddings are read at once.
_ROWS_AT_ONCE = 1024


class KnownPeople(Protocol):
    """A gallery: see `gallery_index.open_gallery`."""

    def nearest(self, features: NDArray[np.float32]) -> Matches:
        """The nearest entry of each of (N, D) `features`."""
        ...


@dataclass(frozen=True)
class OpenSet:
    """A gallery that does not know everybody.

    Attributes:
        gallery: of known people.
        threshold: cosine similarity to the nearest of them below which somebody is unknown.
    """

    gallery: KnownPeople
    threshold: float

    def nearest(self, features: NDArray[np.float32]) -> Matches:
        """The nearest entry of each of (N, D) `features`, or nobody."""
        return self.gallery.nearest(features).known_from(self.threshold)


def open_set(gallery: KnownPeople | None, threshold: float | None) -> KnownPeople | None:
    """The gallery as an `OpenSet`, where there is one and a threshold; without that the nearest person is taken."""
    return gallery if gallery is None or threshold is None else OpenSet(gallery, threshold)


@dataclass(frozen=True)
class Tracklets:
    """The tracks of a video, by ascending number.

    Attributes:
        tracks: (T,) int64.
        descriptors: (T, D) float32, of length 1.
        first: (T,) int64, frame in which each was first seen.
        last: (T,) int64, likewise last.

    Raises:
        InputError: a descriptor is not finite: everybody would be like it, or nobody.
    """

    tracks: NDArray[np.int64]
    descriptors: NDArray[np.float32]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def __post_init__(self) -> None:
        finite = np.isfinite(self.descriptors).all(axis=1)
        if not finite.all():
            named = ", ".join(map(str, self.tracks[~finite][:5]))
            raise InputError(f"embeddings of track {named} are not finite; look at what the model gives")

    def __len__(self) -> int:
        return len(self.tracks)


def join_tracklets(parts: Sequence[Tracklets]) -> Tracklets:
    """Those of at least one part of a video, none of them in two."""
    order = np.argsort(np.concatenate([each.tracks for each in parts]), kind="stable")
    return Tracklets(
        tracks=np.concatenate([each.tracks for each in parts])[order],
        descriptors=np.concatenate([each.descriptors for each in parts])[order],
        first=np.concatenate([each.first for each in parts])[order],
        last=np.concatenate([each.last for each in parts])[order],
    )


def describe_tracks(tracks: NDArray[np.int64], frames: NDArray[np.int64], features: NDArray[np.float32]) -> Tracklets:
    """One descriptor for each track: the mean of its embeddings at length 1, without the quarter least like that mean.

    Args:
        tracks: (N,) track of each embedding; -1 for none, which is left out.
        frames: (N,) 0-based.
        features: (N, D) float32, L2-normalised; may be mapped from a file, of which some rows are read at a time.

    Raises:
        InputError: the arrays are not of one length, or a track's embeddings are not finite.
    """
    if not len(tracks) == len(frames) == len(features):
        raise InputError(
            f"{len(tracks)} tracks, {len(frames)} frames and {len(features)} embeddings; expected as many of each"
        )
    numbers, rows = rows_of_tracks(tracks)
    descriptors = np.empty((len(rows), features.shape[1]), np.float32)
    for track, each in enumerate(rows):
        descriptors[track] = describe_track(features, each)
    return Tracklets(
        tracks=numbers,
        descriptors=descriptors,
        first=np.array([frames[each].min() for each in rows], np.int64),
        last=np.array([frames[each].max() for each in rows], np.int64),
    )


def rows_of_tracks(tracks: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """The numbers of the tracks, ascending, and the rows of each, ascending.

    Args:
        tracks: (N,) track of each row; -1 for none, which is left out.
    """
    order = np.argsort(tracks, kind="stable")
    order = order[tracks[order] != NO_TRACK]
    numbers, starts = np.unique(tracks[order], return_index=True)
    return numbers, np.split(order, starts[1:]) if len(numbers) else []


def describe_track(features: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The descriptor (D,) of one track, as in `describe_tracks`.

    Args:
        features: (N, D) float32, as there.
        rows: (R,) int64, which of them are the track's; R is at least 1.
    """
    mean = _mean(features, rows)
    similarity = np.concatenate([block @ mean for block in _blocks(features, rows)])
    kept = np.argsort(-similarity, kind="stable")[: len(rows) - int(_LEFT_OUT * len(rows))]
    return _mean(features, rows[np.sort(kept)])


def identify(people: Tracklets, gallery: KnownPeople, threshold: float) -> Matches:
    """The known person that each track is nearest to; person -2 (unknown) and name "" below the threshold.

    Args:
        people: T tracks.
        gallery: of known people, by the same model.
        threshold: cosine similarity; see `lgeu gallery threshold`.
    """
    return OpenSet(gallery, threshold).nearest(people.descriptors)


def link_tracks(people: Tracklets, threshold: float) -> NDArray[np.int64]:
    """Local identities, where there is no gallery: tracks of people who left and came back get the same one.

    In the order in which they begin, each track joins the most similar identity of those that were not in the picture
    at the time, if that reaches the threshold; else it begins another one.

    Args:
        people: T tracks.
        threshold: least cosine similarity of a track's descriptor and the mean of an identity's.

    Returns:
        (T,) int64 identities, from 1.
    """
    identities = np.empty(len(people), np.int64)
    sums = np.zeros_like(people.descriptors)
    lengths = np.ones(len(people), np.float32)
    last_seen = np.empty(len(people), np.int64)
    count = 0
    for track in np.lexsort((people.tracks, people.first)):
        descriptor = people.descriptors[track]
        # Tracks come in the order in which they begin: who was last seen before this one does was not in the picture.
        apart = last_seen[:count] < people.first[track]
        similar = np.where(apart, sums[:count] @ descriptor / lengths[:count], -np.inf)
        best = int(np.argmax(similar)) if count else 0
        if not count or similar[best] < threshold:
            best = count
            last_seen[best] = people.last[track]
            count += 1
        sums[best] += descriptor
        lengths[best] = max(float(np.linalg.norm(sums[best])), float(np.finfo(np.float32).tiny))
        last_seen[best] = max(last_seen[best], people.last[track])
        identities[track] = best + 1
    return identities


def _mean(features: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """At length 1."""
    total = np.zeros(features.shape[1], np.float64)
    for block in _blocks(features, rows):
        total += block.sum(axis=0, dtype=np.float64)
    return np.asarray(total / max(float(np.linalg.norm(total)), np.finfo(np.float64).tiny), np.float32)


def _blocks(features: NDArray[np.float32], rows: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield features[rows[start : start + _ROWS_AT_ONCE]]
