"""Near ties: what programs that compute the same in float32 may order differently."""

import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import Embeddings

from .features import LabelledFeatures
from .metrics import PerQuery, evaluate_distances

_BLOCK_ELEMENTS = 2_000_000


def difference_beyond_ties(
    reference: PerQuery, candidate: PerQuery, query: Embeddings, gallery: Embeddings, tie: float
) -> float:
    """By how much two results differ in mAP, but for what near ties of the reference allow; candidate minus reference.

    Args:
        reference: results of the embeddings.
        candidate: results of other embeddings of the same images.
        query: the reference's.
        gallery: likewise.
        tie: as for `average_precision_bounds`.
    """
    valid = np.flatnonzero(reference.valid)
    differ = reference.average_precision[valid] != candidate.average_precision[valid]
    rows = valid[differ]
    if not rows.size:
        return 0.0
    found = candidate.average_precision[rows]
    lowest, highest = average_precision_bounds(query, gallery, rows, tie)
    return float((found - np.clip(found, lowest, highest)).sum() / len(valid))


def average_precision_bounds(
    query: Embeddings, gallery: Embeddings, rows: NDArray[np.int64], tie: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest average precision where images nearly as far from a query as a match change places with it.

    Average precision depends on nothing but how many of the other images come before each match. As long as the
    distances of a match and of another image change by no more than `tie` against each other, it is no lower than with
    all matches farther by `tie`, and no higher than with all of them nearer by it.

    Args:
        query: finite embeddings.
        gallery: finite embeddings; junk is left out.
        rows: (N,) those of the queries that are asked for, each with a match in the gallery.
        tie: of cosine distances, 0 or more.

    Returns:
        Both (N,).
    """
    height = max(1, _BLOCK_ELEMENTS // len(gallery))
    blocks = [_bounds(query, gallery, rows[start : start + height], tie) for start in range(0, len(rows), height)]
    lowest, highest = np.concatenate(blocks, axis=1)
    return lowest, highest


def _bounds(query: Embeddings, gallery: Embeddings, rows: NDArray[np.int64], tie: float) -> NDArray[np.float64]:
    """Lowest and highest, (2, N)."""
    some = LabelledFeatures(query.features[rows], query.person_ids[rows], query.camera_ids[rows])
    distances = _cosine_distances(some.features, gallery.features)
    is_match = (some.person_ids[:, None] == gallery.person_ids) & (some.camera_ids[:, None] != gallery.camera_ids)
    moved = (evaluate_distances(distances + shift * is_match, some, gallery) for shift in (tie, -tie))
    return np.stack([metrics.per_query.average_precision for metrics in moved])


def _cosine_distances(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float64]:
    """In float64, a part of the gallery at a time: a copy of all of it may take gigabytes."""
    left = _normalised(query)
    height = max(1, _BLOCK_ELEMENTS // gallery.shape[1])
    parts = [gallery[start : start + height] for start in range(0, len(gallery), height)]
    return 1 - np.concatenate([left @ _normalised(part).T for part in parts], axis=1)


def _normalised(features: NDArray[np.float32]) -> NDArray[np.float64]:
    rows = features.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1)
    return rows
