"""Who the tracks of a video are: for each its person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .identities import KnownPeople, Tracklets, identify, join_tracklets, link_tracks
from .pipeline import EmbeddedFrame
from .track_descriptors import TrackDescriptors

# Every cosine reaches it.
_NEAREST = -2.0


@dataclass(frozen=True)
class TrackIdentity:
    """Who a track is.

    Attributes:
        person_id: in the gallery, -2 unknown; without a gallery a number, from 1, that tracks of one person share.
        similarity: cosine to the gallery entry; None without a gallery.
        person_name: in the gallery; "" for none or where unknown.
    """

    person_id: int
    similarity: float | None
    person_name: str = ""


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
        """By track; without a gallery those of a whole video are needed together."""
        if self.gallery is None:
            assert self.threshold is not None  # noqa: S101
            linked = zip(people.tracks, link_tracks(people, self.threshold), strict=True)
            return {int(track): TrackIdentity(int(identity), None) for track, identity in linked}
        if not len(people):
            return {}
        found = identify(people, self.gallery, _NEAREST if self.threshold is None else self.threshold)
        rows = zip(people.tracks, found.person_ids, found.scores, found.person_names, strict=True)
        return {int(track): TrackIdentity(int(person), float(score), str(name)) for track, person, score, name in rows}


class IdentifiedTracks:
    """Who the tracks of a running video are: with a gallery each when it ends, without one all of them at its end."""

    def __init__(self, descriptors: TrackDescriptors, identities: TrackIdentities, *, remembers: bool = True) -> None:
        """Start without tracks.

        Args:
            descriptors: new ones.
            identities: how tracks get theirs.
            remembers: whether `known` will be asked for: it grows with the video.
        """
        self._descriptors = descriptors
        self._identities = identities
        self._remembers = remembers
        self._ended: list[Tracklets] = []
        self._known: dict[int, TrackIdentity] = {}

    def add(self, frame: EmbeddedFrame) -> None:
        """Take a frame's people; raises `InputError` where an embedding cannot be kept."""
        self._descriptors.add(frame)

    def end(self, tracks: Sequence[int]) -> Mapping[int, TrackIdentity]:
        """End some tracks, and say who they are where that is known already.

        Raises:
            InputError: as for `TrackDescriptors.end`.
        """
        ended = self._descriptors.end(tracks)
        if self._identities.gallery is not None:
            return self._learn(ended)
        if len(ended):
            self._ended.append(ended)
        return {}

    def finish(self) -> Mapping[int, TrackIdentity]:
        """End all other tracks, and say who those are that `end` did not name; raises as that does."""
        return self._learn(join_tracklets([*self._ended, self._descriptors.end_all()]))

    def known(self) -> Mapping[int, TrackIdentity]:
        """Everyone that `end` and `finish` named; nobody where that is not remembered."""
        return self._known

    def _learn(self, people: Tracklets) -> Mapping[int, TrackIdentity]:
        new = self._identities.of(people)
        if self._remembers:
            self._known.update(new)
        return new
