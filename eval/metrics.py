"""CMC, mAP and mINP under the single-query protocol of Market-1501.

Junk (person -1) leaves the gallery first. For each query, gallery images of the same person from the same camera are
left out. A query with no match left is skipped and counted. Distractors (person 0) stay and never match. Equal
distances are ordered by gallery index, so that two runs agree.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import JUNK, UNKNOWN_CAMERA, UNKNOWN_PERSON, Embeddings
from runtime.errors import InputError
from runtime.progress import progress

CMC_RANKS = 50

_BLOCK_ELEMENTS = 2_000_000


class Labels(Protocol):
    """Who is in each of N images, and seen by which camera; `Embeddings` has these."""

    @property
    def person_ids(self) -> NDArray[np.int64]:
        """(N,); -1 junk, 0 distractor."""
        ...

    @property
    def camera_ids(self) -> NDArray[np.int64]:
        """(N,)."""
        ...


@dataclass(frozen=True)
class PerQuery:
    """Results of each of Q queries.

    Attributes:
        valid: (Q,) bool; whether the gallery has a match for it.
        average_precision: (Q,) float64 in (0, 1]; NaN where not valid.
        inverse_negative_penalty: (Q,) float64 in (0, 1], matches by the rank of the last one; NaN where not valid.
        first_match: (Q,) int64, rank of the first match from 1; 0 where not valid.
        nearest: (Q,) int64, the nearest image's place in the gallery without junk; -1 where all of it is left out.
    """

    valid: NDArray[np.bool_]
    average_precision: NDArray[np.float64]
    inverse_negative_penalty: NDArray[np.float64]
    first_match: NDArray[np.int64]
    nearest: NDArray[np.int64]


@dataclass(frozen=True)
class Metrics:
    """How well a gallery answers queries. Figures are fractions in 0..1, means over the valid queries.

    Attributes:
        cmc: (50,) float64; element k-1 is the share of valid queries with a match among the first k.
        mAP: mean average precision, without interpolation.
        mINP: mean inverse negative penalty.
        queries: Q.
        valid_queries: those with a match in the gallery.
        gallery: images searched, junk left out.
        junk: images left out.
        per_query: what the means are of.
    """

    cmc: NDArray[np.float64]
    mAP: float  # noqa: N815 (the field's own name)
    mINP: float  # noqa: N815
    queries: int
    valid_queries: int
    gallery: int
    junk: int
    per_query: PerQuery

    @property
    def rank1(self) -> float:
        """Share of valid queries whose nearest gallery image is a match."""
        return float(self.cmc[0])

    @property
    def rank5(self) -> float:
        """Share of valid queries with a match among the first 5."""
        return float(self.cmc[4])

    @property
    def rank10(self) -> float:
        """Share of valid queries with a match among the first 10."""
        return float(self.cmc[9])

    @property
    def rank20(self) -> float:
        """Share of valid queries with a match among the first 20."""
        return float(self.cmc[19])


def evaluate(query: Embeddings, gallery: Embeddings) -> Metrics:
    """Search the gallery with every query, by cosine distance.

    Args:
        query: Q embeddings; their length does not matter. One of length zero has distance 1 from everything.
        gallery: G embeddings of as many elements, junk and distractors included.

    Raises:
        InputError: either is empty, has unknown persons or cameras or a NaN or infinite feature, the features differ in
            size, or no query has a match.
    """
    check_features("query", query.features)
    check_features("gallery", gallery.features)
    if query.features.shape[1] != gallery.features.shape[1]:
        raise InputError(
            f"query features have {query.features.shape[1]} elements and gallery features {gallery.features.shape[1]}; "
            "expected as many: embed both with the same model"
        )
    kept = without_junk(gallery)
    queries, candidates = unit_length(query.features), unit_length(kept.features)
    metrics = _evaluate(lambda rows: 1 - queries[rows] @ candidates.T, query, kept)
    return replace(metrics, junk=len(gallery) - len(kept))


def evaluate_distances(distances: NDArray[np.floating], query: Labels, gallery: Labels) -> Metrics:
    """The same from given distances, e.g. re-ranked ones.

    Args:
        distances: (Q, G), smaller is nearer.
        query: of the Q rows.
        gallery: of the G columns; junk among them is left out.

    Raises:
        InputError: the shape does not fit, a distance is NaN or infinite, or as for `evaluate`.
    """
    expected = len(query.person_ids), len(gallery.person_ids)
    if distances.shape != expected:
        raise InputError(f"distances have shape {distances.shape}; expected {expected}, queries by gallery images")
    check_features("distance", distances)
    keep = np.flatnonzero(gallery.person_ids != JUNK)
    kept = _PlainLabels(gallery.person_ids[keep], gallery.camera_ids[keep])
    metrics = _evaluate(lambda rows: distances[rows][:, keep], query, kept)
    return replace(metrics, junk=expected[1] - len(keep))


def without_junk(gallery: Embeddings) -> Embeddings:
    """The rows that are not junk, in their order."""
    keep = gallery.person_ids != JUNK
    return Embeddings(gallery.features[keep], gallery.person_ids[keep], gallery.camera_ids[keep], gallery.names[keep])


def unit_length(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows divided by their length, (N, D) float32; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))[:, None]
    return np.asarray(features / np.where(lengths > 0, lengths, 1), np.float32)


def check_features(what: str, values: NDArray[np.floating]) -> None:
    """Refuse an empty matrix, and NaN or infinity in it.

    Raises:
        InputError: says how many rows and which is the first.
    """
    if values.size == 0:
        raise InputError(f"{what}: nothing to evaluate, shape {values.shape}; expected at least one row")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise InputError(
            f"{what}: {bad.size} of {len(values)} rows hold NaN or infinity, the first is row {bad[0]}; "
            "expected finite numbers: check the model that made them"
        )


@dataclass(frozen=True)
class _PlainLabels:
    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64]


def _check_labels(what: str, labels: Labels) -> None:
    if len(labels.person_ids) == 0:
        raise InputError(f"{what} is empty (after junk is left out); expected at least one image")
    for kind, ids, unknown in (
        ("person", labels.person_ids, UNKNOWN_PERSON),
        ("camera", labels.camera_ids, UNKNOWN_CAMERA),
    ):
        bad = np.flatnonzero(ids <= unknown)
        if bad.size:
            raise InputError(
                f"{what}: {bad.size} of {len(ids)} images have an unknown {kind}, the first is row {bad[0]} "
                f"({kind} {ids[bad[0]]}); evaluation needs to know every {kind}"
            )


def _evaluate(distances: Callable[[slice], NDArray[np.floating]], query: Labels, gallery: Labels) -> Metrics:
    _check_labels("query", query)
    _check_labels("gallery", gallery)
    queries, candidates = len(query.person_ids), len(gallery.person_ids)
    height = max(1, _BLOCK_ELEMENTS // candidates)
    blocks = [slice(start, start + height) for start in range(0, queries, height)]
    results = [
        _rank(distances(rows), _PlainLabels(query.person_ids[rows], query.camera_ids[rows]), gallery)
        for rows in progress(blocks, "evaluating", unit="block")
    ]
    per_query = PerQuery(
        *(np.concatenate([getattr(result, item.name) for result in results]) for item in fields(PerQuery))
    )
    return _means(per_query, candidates)


def _rank(distances: NDArray[np.floating], query: Labels, gallery: Labels) -> PerQuery:
    """Order each row's gallery images and look where the matches came."""
    order = np.argsort(distances, axis=1, kind="stable")
    same_person = gallery.person_ids[order] == query.person_ids[:, None]
    left_out = same_person & (gallery.camera_ids[order] == query.camera_ids[:, None])
    # Junk and distractors are nobody: a query with such an id matches nothing.
    row, column = np.nonzero(same_person & ~left_out & (query.person_ids[:, None] > 0))
    rank = np.cumsum(~left_out, axis=1, dtype=np.int64)[row, column]

    rows = len(distances)
    matches = np.bincount(row, minlength=rows)
    valid = matches > 0
    starts = np.cumsum(matches) - matches
    found = np.arange(1, len(row) + 1) - starts[row]
    precisions = np.bincount(row, weights=found / rank, minlength=rows)
    first, last = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    first[valid] = rank[starts[valid]]
    last[valid] = rank[starts[valid] + matches[valid] - 1]
    unknown = np.full(rows, np.nan)
    nearest = np.take_along_axis(order, left_out.argmin(axis=1)[:, None], axis=1)[:, 0]
    return PerQuery(
        valid,
        np.divide(precisions, matches, out=unknown.copy(), where=valid),
        np.divide(matches, last, out=unknown, where=valid),
        first,
        np.where(left_out.all(axis=1), -1, nearest),
    )


def _means(per_query: PerQuery, gallery: int) -> Metrics:
    valid = per_query.valid
    if not valid.any():
        raise InputError(
            f"none of the {len(valid)} queries has a match among {gallery} gallery images (the same person seen by "
            "another camera); check the person and camera ids"
        )
    first = per_query.first_match[valid]
    return Metrics(
        cmc=np.array([np.mean(first <= rank) for rank in range(1, CMC_RANKS + 1)]),
        mAP=float(per_query.average_precision[valid].mean()),
        mINP=float(per_query.inverse_negative_penalty[valid].mean()),
        queries=len(valid),
        valid_queries=int(valid.sum()),
        gallery=gallery,
        junk=0,
        per_query=per_query,
    )
