"""Boxes of successive frames joined into tracks, by where people were heading and by what they look like."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dependencies import require
from .embeddings import NO_TRACK
from .errors import InputError
from .motion import BoxMotion

# Frames for which a person who is not seen is expected where they were heading.
DEFAULT_PATIENCE = 15
# On so many frames a person is looked for before they are forgotten, however far apart these are.
_LEAST_LOOKS = 3

# Successive sightings that make a track; a detector is mostly wrong once.
DEFAULT_CONFIRMATION = 2

_LEAST_OVERLAP = 0.3
# What a cosine counts beside an overlap.
_APPEARANCE = 1.0
# A track's looks change slowly.
_KEPT = 0.9
_NEVER = 1e6


@dataclass
class _Person:
    motion: BoxMotion
    feature: NDArray[np.float32]
    sightings: int = 1
    unseen: int = 0
    looked_for: float = 0
    track: int = NO_TRACK


class AppearanceTracker:
    """Joins boxes into tracks: predicted positions, and the best assignment by overlap and appearance together.

    A box can continue a track whose predicted box it overlaps by .3 (intersection over union) at least. The same input
    gives the same tracks.

    Example:
        tracker = AppearanceTracker()
        for frame, (boxes, scores, features) in enumerate(people):
            tracks = tracker.update(frame, boxes, scores, features)
    """

    def __init__(self, *, patience: int = DEFAULT_PATIENCE, confirmation: int = DEFAULT_CONFIRMATION) -> None:
        """Start without tracks.

        Args:
            patience: frames after which a person who is not seen is forgotten; where frames are left out they are
                looked for on three at least.
            confirmation: successive sightings from which on a person has a track; 1 gives everybody one at once.

        Raises:
            InputError: one of them is less than 1.
            MissingDependencyError: SciPy is not installed.
        """
        if patience < 1 or confirmation < 1:
            raise InputError(f"patience is {patience} frames and confirmation {confirmation}; expected 1 at least")
        scipy = require("scipy.optimize", purpose="tracking", install="pip install 'lgeu-reid[tracking]'")
        self._assign = scipy.linear_sum_assignment
        self._patience = patience
        self._confirmation = confirmation
        self._people: list[_Person] = []
        self._frame: int | None = None
        self._missed = 0
        self._tracks = 0
        self._ended: list[int] = []

    def update(
        self,
        frame: int,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        features: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        """Track numbers of a frame's people.

        Args:
            frame: 0-based number, larger than the last one's; frames may be left out.
            boxes: (N, 4), x y w h in pixels.
            scores: (N,) of the detector.
            features: (N, D), L2-normalised.

        Returns:
            (N,) int64, from 1; -1 for who is not confirmed yet.

        Raises:
            InputError: the frame is not a later one, or the arrays do not fit together or are not finite.
        """
        self._check(frame, boxes, scores, features)
        if self._frame is not None:
            self._move(frame - self._frame)
        self._frame, self._missed = frame, 0
        tracks = np.full(len(boxes), NO_TRACK, np.int64)
        seen = set()
        for row, person in self._matches(boxes, features):
            self._see(person, boxes[row], features[row])
            tracks[row] = person.track
            seen.add(row)
        # One who is not yet a track and is missed was a mistake.
        self._people = [each for each in self._people if not each.unseen or each.track != NO_TRACK]
        for row in range(len(boxes)):
            if row not in seen:
                tracks[row] = self._begin(boxes[row], features[row])
        return tracks

    def miss(self, frames: int) -> None:
        """So many frames went by unseen, before the next one, that have no numbers; they count like any other."""
        self._missed += frames

    def ended_tracks(self) -> list[int]:
        """Numbers that nobody gets any more from the last update on."""
        return self._ended

    def _move(self, apart: int) -> None:
        frames = apart + self._missed
        for person in self._people:
            person.unseen += frames
            # In a gap there would have been frames to look at, too.
            person.looked_for += frames / apart
        self._ended = [each.track for each in self._people if self._is_gone(each) and each.track != NO_TRACK]
        self._people = [person for person in self._people if not self._is_gone(person)]
        for person in self._people:
            for _ in range(frames):
                person.motion.predict()

    def _is_gone(self, person: _Person) -> bool:
        return person.unseen > self._patience and person.looked_for > _LEAST_LOOKS

    def _matches(self, boxes: NDArray[np.float32], features: NDArray[np.float32]) -> list[tuple[int, _Person]]:
        if not self._people or not len(boxes):
            return []
        overlaps = _overlaps(boxes, np.stack([person.motion.box for person in self._people]))
        cosines = features @ np.stack([person.feature for person in self._people]).T
        possible = overlaps >= _LEAST_OVERLAP
        costs = np.where(possible, 1 - overlaps + _APPEARANCE * (1 - cosines), _NEVER)
        pairs = zip(*self._assign(costs), strict=True)
        return [(int(row), self._people[column]) for row, column in pairs if possible[row, column]]

    def _see(self, person: _Person, box: NDArray[np.float32], feature: NDArray[np.float32]) -> None:
        person.motion.correct(box)
        mixed = _KEPT * person.feature + (1 - _KEPT) * feature
        person.feature = np.asarray(mixed / max(float(np.linalg.norm(mixed)), np.finfo(np.float32).tiny), np.float32)
        person.sightings += 1
        person.unseen, person.looked_for = 0, 0
        self._confirm(person)

    def _begin(self, box: NDArray[np.float32], feature: NDArray[np.float32]) -> int:
        person = _Person(BoxMotion(box), feature)
        self._confirm(person)
        self._people.append(person)
        return person.track

    def _confirm(self, person: _Person) -> None:
        if person.track == NO_TRACK and person.sightings >= self._confirmation:
            self._tracks += 1
            person.track = self._tracks

    def _check(
        self, frame: int, boxes: NDArray[np.float32], scores: NDArray[np.float32], features: NDArray[np.float32]
    ) -> None:
        if self._frame is not None and frame <= self._frame:
            raise InputError(f"frame {frame} was given after frame {self._frame}; expected ascending numbers")
        fits = boxes.shape == (len(boxes), 4) and scores.shape == (len(boxes),)
        if not fits or features.ndim != 2 or len(features) != len(boxes):
            raise InputError(
                f"boxes have shape {boxes.shape}, scores {scores.shape} and features {features.shape}; expected "
                "(N, 4), (N,) and (N, D)"
            )
        if not (np.isfinite(boxes).all() and np.isfinite(features).all()):
            raise InputError(f"boxes or features of frame {frame} are not finite; look at what the model gives")


def _overlaps(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union of N and M boxes x y w h: (N, M)."""
    a, b = left[:, None].astype(np.float64), right[None].astype(np.float64)
    far = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.prod(np.maximum(far - np.maximum(a[..., :2], b[..., :2]), 0), axis=-1)
    together = np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - shared
    return np.asarray(shared / np.maximum(together, np.finfo(np.float64).tiny))
