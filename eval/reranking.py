"""k-reciprocal re-ranking (Zhong et al.: Re-ranking Person Re-identification with k-reciprocal Encoding, 2017).

Two flavours are in circulation, which give different figures: "d2" squares the cosine distance before everything else
(the original code for distance matrices, torchreid, fast-reid's rerank.py), "d1" does not (TransReID, the original code
for features). Name the flavour beside every result.

Neighbours of an image are itself, then the others by distance and, where distances are equal, by index.
"""

import logging
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.progress import progress

from .encoding import ROUGH, encode, original_distance, require_sparse, reranked_margin, split
from .features import Labelled, check_rows, check_sizes, open_side, select, unit_side, without_junk
from .kernels import (
    Encoding,
    Ranking,
    Search,
    Side,
    gather_unit,
    jaccard_of_matches,
    pair_cosines,
    rank_reranked,
    rerank_rows,
)
from .matches import Matches
from .memory import MemoryPlan, plan_memory
from .metrics import Metrics, match_labels, summarise
from .neighbours import OnTile, find_nearest
from .numbers import real, whole
from .ranking import cosines_of_matches, new_ranking
from .tensor_reranking import rank_reranked_tensors, rerank_tensors
from .tensors import are_on_gpu, on_device, open_tensors
from .threads import Threads

logger = logging.getLogger(__name__)

Flavour = Literal["d1", "d2"]


@dataclass(frozen=True)
class Reranking:
    """How to re-rank.

    Attributes:
        k1: neighbours that must be mutual.
        k2: images whose encodings are averaged; 1 for none.
        lambda_: share of the original distance in the result, 0..1.
        flavour: "d2" squares the distances first, "d1" does not.
    """

    k1: int = 20
    k2: int = 6
    lambda_: float = 0.3
    flavour: Flavour = "d2"

    def __post_init__(self) -> None:
        for name in ("k1", "k2"):
            object.__setattr__(self, name, whole(f"re-ranking: {name}", getattr(self, name)))
        object.__setattr__(self, "lambda_", real("re-ranking: lambda", self.lambda_))
        if min(self.k1, self.k2) < 1:
            raise InputError(f"re-ranking: k1 is {self.k1} and k2 {self.k2}; expected both to be at least 1")
        if not 0 <= self.lambda_ <= 1:
            raise InputError(f"re-ranking: lambda is {self.lambda_}; expected 0 to 1")
        if self.flavour not in get_args(Flavour):
            raise InputError(f"re-ranking: flavour is {self.flavour!r}; expected one of {', '.join(get_args(Flavour))}")

    @property
    def squared(self) -> bool:
        """Whether the original distance is squared."""
        return self.flavour == "d2"

    def list_length(self, images: int) -> int:
        """Neighbours that are looked at of each of so many images, itself among them."""
        return min(max(self.k1 + 1, self.k2), images)

    def __str__(self) -> str:
        return f"{self.flavour}, k1 {self.k1}, k2 {self.k2}, lambda {self.lambda_:g}"


def rerank(
    query_features: Any,
    gallery_features: Any,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    flavour: Flavour = "d2",
    memory_limit: int | None = None,
) -> Any:
    """Distances from queries to gallery images that take mutual neighbours into account.

    For figures alone `evaluate_reranked` does without the (Q, G) result, leaves junk out by itself, and decides
    near-ties in float64; what is here is rounded to float32, so that equal images may differ in the last digit. Where
    all images are so near to a query that rounding would be seen in the third digit, its row is computed in float64.

    Args:
        query_features: (Q, D) array or tensor of any float type; their length does not matter. CUDA tensors are worked
            on where they are, but for the sets of neighbours: that takes a copy of them there and an estimated 700 MB.
        gallery_features: (G, D), without junk: leave it out before. Taking its columns out of the result is too late,
            because it has been among the neighbours.
        k1: see `Reranking`; more than there are images means all of them.
        k2: likewise.
        lambda_: see `Reranking`.
        flavour: see `Reranking`.
        memory_limit: bytes of this machine's memory that may be used beside the features; a GPU's is not counted.

    Returns:
        (Q, G) float32 in 0..1, smaller is nearer: a tensor on the GPU of features that are there, else an array.

    Raises:
        InputError: a setting is out of its range, features are empty, not finite, of different sizes or on different
            devices, or more memory is needed than allowed.
        DeviceError: the GPU failed, e.g. for want of memory.
        MissingDependencyError: SciPy is not installed.
    """
    require_sparse()
    settings = Reranking(k1, k2, lambda_, flavour)
    if not are_on_gpu(query_features, gallery_features):
        return _rerank(query_features, gallery_features, settings, memory_limit)
    with on_device(query_features):
        query, gallery = open_tensors(query_features, gallery_features)
        check_sizes(query, gallery)
        return rerank_tensors(query, gallery, settings, memory_limit)


def _rerank(
    query_features: Any, gallery_features: Any, settings: Reranking, memory_limit: int | None
) -> NDArray[np.float32]:
    k1, k2, lambda_ = settings.k1, settings.k2, settings.lambda_
    with Threads(_pairs(len(query_features), len(gallery_features))) as threads:
        query = open_side("query", query_features, threads)
        gallery = open_side("gallery", gallery_features, threads)
        check_sizes(query, gallery)
        plan = plan_memory(len(query.rows), len(gallery.rows), query.features.shape[1], k1, k2, memory_limit, True)
        cosines = np.empty((len(query.rows), len(gallery.rows)), np.float32)
        encoded = _encode(query, gallery, settings, plan, threads, _copy_to(cosines))
        rough = reranked_margin(encoded.share, settings.squared, query.features.shape[1]) > ROUGH
        arguments = cosines, encoded.images, encoded.encoding, lambda_, encoded.share, rough, settings.squared
        threads.run(rerank_rows, len(cosines), *arguments)
    return cosines


def evaluate_reranked(
    query: Labelled, gallery: Labelled, reranking: Reranking, memory_limit: int | None = None
) -> Metrics:
    """Evaluate after re-ranking; junk leaves the gallery before, so that it is nobody's neighbour.

    The (Q, G) distances are never held: products of queries and gallery are made a second time, for a thousand queries
    at a time, which takes longer than `rerank` does and 4 bytes less for each pair.

    Args:
        query: as for `eval.metrics.evaluate`.
        gallery: likewise.
        reranking: settings.
        memory_limit: see `rerank`.

    Raises:
        InputError: as `eval.metrics.evaluate`, or more memory is needed than allowed.
        DeviceError: the GPU failed, e.g. for want of memory.
        MissingDependencyError: SciPy is not installed.
    """
    require_sparse()
    check_rows("query", query)
    check_rows("gallery", gallery)
    kept = without_junk(gallery)
    search = _search_tensors if are_on_gpu(query.features, gallery.features) else _search_arrays
    matches, ranking = search(query, gallery, kept, reranking, memory_limit)
    return summarise(ranking, matches, len(kept), len(gallery.person_ids) - len(kept))


def _search_tensors(
    query: Labelled, gallery: Labelled, kept: NDArray[np.int64], reranking: Reranking, memory_limit: int | None
) -> tuple[Matches, Ranking]:
    with on_device(query.features):
        left, right = open_tensors(query.features, gallery.features, kept)
        check_sizes(left, right)
        matches = match_labels(query, select(gallery, kept))
        return matches, rank_reranked_tensors(left, right, matches, reranking, memory_limit)


def _search_arrays(
    query: Labelled, gallery: Labelled, kept: NDArray[np.int64], reranking: Reranking, memory_limit: int | None
) -> tuple[Matches, Ranking]:
    with Threads(_pairs(len(query.person_ids), len(kept))) as threads:
        left = open_side("query", query.features, threads)
        right = open_side("gallery", gallery.features, threads, kept)
        check_sizes(left, right)
        matches = match_labels(query, select(gallery, kept))
        plan = plan_memory(
            len(left.rows), len(kept), left.features.shape[1], reranking.k1, reranking.k2, memory_limit, False
        )
        encoded = _encode(left, right, reranking, plan, threads)
        return matches, _rank(encoded, len(left.rows), matches, reranking, plan, threads)


def _pairs(queries: int, images: int) -> int:
    return (queries + images) ** 2 // 2


@dataclass(frozen=True)
class _Encoded:
    """All images at unit length, queries first, their encodings, and each query's share of the original distance."""

    images: Side
    encoding: Encoding
    share: NDArray[np.float64]


def _encode(
    query: Side,
    gallery: Side,
    settings: Reranking,
    plan: MemoryPlan,
    threads: Threads,
    on_tile: OnTile | None = None,
) -> _Encoded:
    queries, images = len(query.rows), len(query.rows) + len(gallery.rows)
    features = np.empty((images, query.features.shape[1]), np.float32)
    threads.run(gather_unit, queries, query, 0, features[:queries])
    threads.run(gather_unit, images - queries, gallery, 0, features[queries:])
    count = settings.list_length(images)
    everything = unit_side(features, threads)
    nearest, farthest = find_nearest(everything, count - 1, plan.tile, threads, on_tile)

    def cosines_of(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        cosines = np.empty(len(left))
        threads.run(pair_cosines, len(cosines), everything, everything, left, right, cosines)
        return cosines

    encoded, largest = encode(cosines_of, nearest, farthest, settings.k1, settings.k2, settings.squared)
    return _Encoded(everything, split(encoded, queries), settings.lambda_ / largest[:queries])


def _rank(
    encoded: _Encoded, queries: int, matches: Matches, settings: Reranking, plan: MemoryPlan, threads: Threads
) -> Ranking:
    """Rank by re-ranked distances, for a few queries at a time."""
    features = encoded.images.features
    candidates = features[queries:]
    search = _search(encoded, queries, matches, settings, threads)
    ranking = new_ranking(matches)
    cosines = np.empty((min(plan.block, queries), len(candidates)), np.float32)
    for start in progress(range(0, queries, plan.block), "comparing neighbours", unit="block"):
        block = features[start : min(start + plan.block, queries)]
        arguments = block, candidates, cosines, start, encoded.encoding, settings.lambda_, search, ranking
        threads.run(_rank_rows, len(block), *arguments)
    return ranking


def _search(encoded: _Encoded, queries: int, matches: Matches, settings: Reranking, threads: Threads) -> Search:
    features, scale, rows = encoded.images
    query = Side(features[:queries], scale[:queries], rows[:queries])
    gallery = Side(features[queries:], scale[queries:], rows[: len(rows) - queries])
    distances = np.empty(len(matches.queries))
    rest = encoded.encoding, matches.wanted, 1 - settings.lambda_, len(gallery.rows), distances
    threads.run(jaccard_of_matches, queries, *rest)
    original = original_distance(cosines_of_matches(query, gallery, matches, threads), settings.squared)
    distances += encoded.share[matches.queries] * original
    margin = reranked_margin(encoded.share, settings.squared, features.shape[1])
    return Search(query, gallery, matches.wanted, matches.left_out, distances, settings.squared, encoded.share, margin)


def _rank_rows(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    cosines: NDArray[np.float32],
    first_query: int,
    encoding: Encoding,
    lambda_: float,
    search: Search,
    ranking: Ranking,
    start: int,
    stop: int,
) -> None:
    np.matmul(queries[start:stop], candidates.T, out=cosines[start:stop])
    rank_reranked(cosines, first_query, encoding, lambda_, search, ranking, start, stop)


def _copy_to(result: NDArray[np.float32]) -> OnTile:
    """Keep what a tile has of queries by gallery images."""
    queries = len(result)

    def copy(cosines: NDArray[np.float32], row: int, column: int) -> None:
        rows = max(queries - row, 0)
        skipped = max(queries - column, 0)
        part = cosines[:rows, skipped:]
        if part.size:
            start = column + skipped - queries
            result[row : row + len(part), start : start + part.shape[1]] = part

    return copy
