"""Near ties: images whose order programs that compute the same in float32 may not agree on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import Embeddings
from runtime.progress import progress

from .features import select, without_junk
from .kernels import Lists
from .matches import find_matches
from .metrics import PerQuery

_BLOCK_ELEMENTS = 8_000_000
# Of a product in float64: equal images have it, too.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Searched:
    """Embeddings and what searching the gallery with the queries found."""

    query: Embeddings
    gallery: Embeddings
    per_query: PerQuery


def difference_without_ties(reference: Searched, candidate: Searched, tie: float) -> float:
    """By how much two results of the same images differ in mAP, swaps of near ties undone; candidate minus reference.

    Undone is a swap of a match and another image whose distances from the query changed by no more than `tie` against
    each other.

    Args:
        reference: with finite embeddings.
        candidate: likewise.
        tie: of cosine distances, 0 or more.
    """
    valid = np.flatnonzero(reference.per_query.valid)
    before, after = (each.per_query.average_precision[valid] for each in (reference, candidate))
    rows = valid[before != after]
    return float(differences_without_ties(reference, candidate, rows, tie).sum() / len(valid)) if rows.size else 0.0


def differences_without_ties(
    reference: Searched, candidate: Searched, rows: NDArray[np.int64], tie: float
) -> NDArray[np.float64]:
    """The same of the average precision of single queries.

    Args:
        reference: as there.
        candidate: as there.
        rows: (N,) those of the queries that are asked for, each with a match in the gallery.
        tie: as there.

    Returns:
        (N,).
    """
    kept = without_junk(reference.gallery)
    matches = find_matches(select(reference.query, rows), select(reference.gallery, kept))
    found = np.empty(len(rows))
    height = max(1, _BLOCK_ELEMENTS // len(kept))
    for start in progress(range(0, len(rows), height), "undoing ties", unit="block"):
        some = rows[start : start + height]
        blocks = [_distances(each, some, kept) for each in (reference, candidate)]
        for row, (before, after) in enumerate(zip(*blocks, strict=True), start):
            wanted, left_out = (_of_query(lists, row) for lists in (matches.wanted, matches.left_out))
            found[row] = _difference(before, after, wanted, left_out, tie)
    return found


def _difference(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    wanted: NDArray[np.int64],
    left_out: NDArray[np.int64],
    tie: float,
) -> float:
    """Of one query, with (G,) distances by reference and candidate."""
    others = np.setdiff1d(np.arange(len(before)), np.concatenate([wanted, left_out]))
    ahead = np.empty((2, len(wanted)), np.int64)
    for place, match in enumerate(wanted.tolist()):
        gaps = [distances[others] - distances[match] for distances in (before, after)]
        # Equal distances are ordered by their place in the gallery.
        first, second = ((gap < -_ROUNDING) | ((np.abs(gap) <= _ROUNDING) & (others < match)) for gap in gaps)
        undone = (first != second) & (np.abs(gaps[1] - gaps[0]) <= tie)
        ahead[:, place] = first.sum(), np.where(undone, first, second).sum()
    count = np.arange(1, len(wanted) + 1)
    was, now = (count / (np.sort(ahead) + count)).mean(axis=1)
    return float(now - was)


def _of_query(lists: Lists, row: int) -> NDArray[np.int64]:
    return lists.positions[lists.starts[row] : lists.starts[row + 1]]


def _distances(searched: Searched, rows: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of some queries to the kept gallery, in float64, a part of it at a time: a copy of all may take gigabytes."""
    left, gallery = _normalised(searched.query.features[rows]), searched.gallery.features
    height = max(1, _BLOCK_ELEMENTS // gallery.shape[1])
    parts = [kept[start : start + height] for start in range(0, len(kept), height)]
    return 1 - np.concatenate([left @ _normalised(gallery[part]).T for part in parts], axis=1)


def _normalised(features: NDArray[np.float32]) -> NDArray[np.float64]:
    rows = features.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1)
    return rows
