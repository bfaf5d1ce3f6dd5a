"""What each track of a running video looks like so far: steadier than its single crops."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .embeddings import NO_TRACK


class TrackMeans:
    """The mean embedding of each track until now; 8 D bytes for each that has not ended."""

    def __init__(self) -> None:
        """Start without tracks."""
        self._sums: dict[int, NDArray[np.float64]] = {}

    def end(self, tracks: Sequence[int]) -> None:
        """Forget tracks that nobody gets any more."""
        for track in tracks:
            self._sums.pop(track, None)

    def add(self, tracks: NDArray[np.int64], features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a frame's people, and give for each the mean of its track, with this embedding in it, at length 1.

        Args:
            tracks: (N,); -1 for none, whose embedding is given as it is.
            features: (N, D), L2-normalised.

        Returns:
            (N, D).
        """
        means = features.copy()
        for row, track in enumerate(tracks.tolist()):
            if track == NO_TRACK:
                continue
            total = self._sums.get(track, 0) + features[row].astype(np.float64)
            self._sums[track] = total
            if length := float(np.linalg.norm(total)):
                means[row] = total / length
        return means
