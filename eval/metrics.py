"""CMC, mAP and mINP under the single-query protocol of Market-1501.

Junk (person -1) leaves the gallery first. For each query, gallery images of the same person from the same camera are
left out. A query with no match left is skipped and counted. Distractors (person 0) stay and never match, also where the
query is one. Equal distances are ordered by gallery index, so that two runs agree.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError

from .features import Labelled, Labels, as_array, check_labels, check_rows, check_sizes, open_side, select, without_junk
from .kernels import Ranking
from .matches import Matches, find_matches
from .ranking import rank_distances, rank_features
from .tensor_ranking import rank_tensors
from .tensors import are_on_gpu, on_device, open_tensors
from .threads import Threads

CMC_RANKS = 50


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


def evaluate(query: Labelled, gallery: Labelled) -> Metrics:
    """Search the gallery with every query, by cosine distance.

    The distances are made tile by tile and never kept: some 60 MB beside the features. Features in CUDA tensors are
    compared on their GPU, which takes a copy of them there and an estimated 700 MB.

    Args:
        query: Q labelled features, e.g. `Embeddings`; their length does not matter. One of length zero has distance 1
            from everything. What is not float32 is copied as that.
        gallery: G of them, of as many elements, junk and distractors included.

    Raises:
        InputError: either is empty, has unknown persons or cameras or a NaN or infinite feature, the features differ in
            size or are on different devices, or no query has a match.
        DeviceError: the GPU failed, e.g. for want of memory.
    """
    check_rows("query", query)
    check_rows("gallery", gallery)
    kept = without_junk(gallery)
    search = _search_tensors if are_on_gpu(query.features, gallery.features) else _search_arrays
    matches, ranking = search(query, gallery, kept)
    return summarise(ranking, matches, len(kept), len(gallery.person_ids) - len(kept))


def _search_arrays(query: Labelled, gallery: Labelled, kept: NDArray[np.int64]) -> tuple[Matches, Ranking]:
    with Threads(len(query.person_ids) * len(kept)) as threads:
        left = open_side("query", query.features, threads)
        right = open_side("gallery", gallery.features, threads, kept)
        check_sizes(left, right)
        matches = match_labels(query, select(gallery, kept))
        return matches, rank_features(left, right, matches, threads)


def _search_tensors(query: Labelled, gallery: Labelled, kept: NDArray[np.int64]) -> tuple[Matches, Ranking]:
    with on_device(query.features):
        left, right = open_tensors(query.features, gallery.features, kept)
        check_sizes(left, right)
        matches = match_labels(query, select(gallery, kept))
        return matches, rank_tensors(left, right, matches)


def evaluate_distances(distances: Any, query: Labels, gallery: Labels) -> Metrics:
    """The same from given distances.

    Args:
        distances: (Q, G) array or tensor, smaller is nearer; equal ones are ordered by gallery index. A tensor on a GPU
            is copied from there.
        query: of the Q rows.
        gallery: of the G columns; junk among them is left out.

    Raises:
        InputError: the shape does not fit, a distance is NaN or infinite, or as for `evaluate`.
    """
    distances = as_array(distances)
    expected = len(query.person_ids), len(gallery.person_ids)
    if distances.shape != expected:
        raise InputError(f"distances have shape {distances.shape}; expected {expected}, queries by gallery images")
    kept = without_junk(gallery)
    matches = match_labels(query, select(gallery, kept))
    with Threads(distances.size) as threads:
        ranking = rank_distances(distances, kept, matches, threads)
    return summarise(ranking, matches, len(kept), expected[1] - len(kept))


def match_labels(query: Labels, gallery: Labels) -> Matches:
    """Check labels and find the matches; the gallery is without junk.

    Raises:
        InputError: no images, unknown persons or cameras, or no query has a match.
    """
    check_labels("query", query)
    check_labels("gallery", gallery)
    matches = find_matches(query, gallery)
    if len(matches.queries) == 0:
        raise InputError(
            f"none of the {len(query.person_ids)} queries has a match among {len(gallery.person_ids)} gallery images "
            "(the same person seen by another camera); check the person and camera ids"
        )
    return matches


def summarise(ranking: Ranking, matches: Matches, gallery: int, junk: int) -> Metrics:
    """From the ranks of all matches to figures.

    Args:
        ranking: ranks that count only what is not left out.
        matches: at least one.
        gallery: images searched.
        junk: images left out of the gallery.
    """
    per_query = _per_query(ranking, matches)
    first = per_query.first_match[per_query.valid]
    found = np.bincount(np.minimum(first, CMC_RANKS + 1), minlength=CMC_RANKS + 2)
    return Metrics(
        cmc=np.cumsum(found[1 : CMC_RANKS + 1]) / len(first),
        mAP=float(per_query.average_precision[per_query.valid].mean()),
        mINP=float(per_query.inverse_negative_penalty[per_query.valid].mean()),
        queries=len(per_query.valid),
        valid_queries=len(first),
        gallery=gallery,
        junk=junk,
        per_query=per_query,
    )


def _per_query(ranking: Ranking, matches: Matches) -> PerQuery:
    starts, counts = matches.wanted.starts[:-1], np.diff(matches.wanted.starts)
    valid = counts > 0
    base = matches.queries * (ranking.ranks.max() + 1)
    ranks = np.sort(base + ranking.ranks) - base
    found = np.arange(1, len(ranks) + 1) - starts[matches.queries]
    precisions = np.bincount(matches.queries, weights=found / ranks, minlength=len(counts))
    first, last = np.zeros_like(counts), np.zeros_like(counts)
    first[valid] = ranks[starts[valid]]
    last[valid] = ranks[starts[valid] + counts[valid] - 1]
    unknown = np.full(len(counts), np.nan)
    return PerQuery(
        valid,
        np.divide(precisions, counts, out=unknown.copy(), where=valid),
        np.divide(counts, last, out=unknown, where=valid),
        first,
        ranking.nearest,
    )
