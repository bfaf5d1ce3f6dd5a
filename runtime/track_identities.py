"""Who the tracks of a finished video are: for each its person."""

from collections.abc import Mapping
from dataclasses import dataclass

from .identities import KnownPeople, Tracklets, identify, link_tracks

# Every cosine reaches it.
_NEAREST = -2.0


@dataclass(frozen=True)
class TrackIdentity:
    """Who a track is.

    Attributes:
        person_id: in the gallery, -2 unknown; without a gallery a number, from 1, that tracks of one person share.
        similarity: cosine to the gallery entry; None without a gallery.
    """

    person_id: int
    similarity: float | None


@dataclass(frozen=True)
class TrackIdentities:
    """How tracks get their identities.

    Attributes:
        gallery: of known people; None links the tracks of people who left and came back to one another.
        threshold: least cosine similarity; None takes the nearest person in the gallery. Without one it is needed.
    """

    gallery: KnownPeople | None
    threshold: float | None

    def of(self, people: Tracklets) -> Mapping[int, TrackIdentity]:
        """By track, those of a whole video."""
        if self.gallery is None:
            assert self.threshold is not None  # noqa: S101
            linked = zip(people.tracks, link_tracks(people, self.threshold), strict=True)
            return {int(track): TrackIdentity(int(identity), None) for track, identity in linked}
        if not len(people):
            return {}
        found = identify(people, self.gallery, _NEAREST if self.threshold is None else self.threshold)
        rows = zip(people.tracks, found.person_ids, found.scores, strict=True)
        return {int(track): TrackIdentity(int(person), float(score)) for track, person, score in rows}
