"""Who the tracks of a finished video are, read from its spool, a part of one track at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .identities import KnownPeople, describe_tracks, identify, link_tracks

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
        threshold: least cosine similarity; None takes the nearest person in the gallery, and links nobody.
    """

    gallery: KnownPeople | None
    threshold: float | None

    def of_spool(self, folder: Path) -> Mapping[int, TrackIdentity]:
        """By track, those of a spool (see `runtime.spool`) with at least one row; empty where nothing is to be found.

        Args:
            folder: the spool, complete.
        """
        if self.gallery is None and self.threshold is None:
            return {}
        tracks, frames = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("tracks", "frames"))
        # Mapped: a track's rows are read when it is described, and not all of them at once.
        people = describe_tracks(tracks, frames, np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False))
        if self.gallery is None:
            assert self.threshold is not None  # noqa: S101
            linked = zip(people.tracks, link_tracks(people, self.threshold), strict=True)
            return {int(track): TrackIdentity(int(identity), None) for track, identity in linked}
        if not len(people):
            return {}
        found = identify(people, self.gallery, _NEAREST if self.threshold is None else self.threshold)
        rows = zip(people.tracks, found.person_ids, found.scores, strict=True)
        return {int(track): TrackIdentity(int(person), float(score)) for track, person, score in rows}
