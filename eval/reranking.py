"""k-reciprocal re-ranking (Zhong et al.: Re-ranking Person Re-identification with k-reciprocal Encoding, 2017).

Two flavours are in circulation, which give different figures: "d2" squares the cosine distance before everything else
(the original code for distance matrices, torchreid, fast-reid's rerank.py), "d1" does not (TransReID, the original code
for features). Name the flavour beside every result.

Neighbours of an image are itself, then the others by distance and, where distances are equal, by index.
"""

from dataclasses import asdict, dataclass, replace
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from runtime.dependencies import require
from runtime.embeddings import Embeddings
from runtime.errors import InputError
from runtime.progress import progress

from .metrics import Metrics, check_features, evaluate_distances, unit_length, without_junk

Flavour = Literal["d1", "d2"]

_BLOCK_ELEMENTS = 8_000_000


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
        if self.k1 < 1 or self.k2 < 1:
            raise InputError(f"re-ranking: k1 is {self.k1} and k2 {self.k2}; expected both at least 1")
        if not 0 <= self.lambda_ <= 1:
            raise InputError(f"re-ranking: lambda is {self.lambda_}; expected 0 to 1")
        if self.flavour not in get_args(Flavour):
            raise InputError(f"re-ranking: flavour is {self.flavour!r}; expected one of {', '.join(get_args(Flavour))}")

    def __str__(self) -> str:
        return f"{self.flavour}, k1 {self.k1}, k2 {self.k2}, lambda {self.lambda_:g}"


def rerank(
    query_features: NDArray[np.floating],
    gallery_features: NDArray[np.floating],
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    flavour: Flavour = "d2",
) -> NDArray[np.float32]:
    """Distances from queries to gallery images that take mutual neighbours into account.

    Args:
        query_features: (Q, D); their length does not matter.
        gallery_features: (G, D), without junk: junk left in changes the neighbours.
        k1: see `Reranking`; more than there are images means all of them.
        k2: likewise.
        lambda_: see `Reranking`.
        flavour: see `Reranking`.

    Returns:
        (Q, G) float32 in 0..1, smaller is nearer.

    Raises:
        InputError: a setting is out of its range, or features are empty, not finite or of different sizes.
        MissingDependencyError: SciPy is not installed.
    """
    require_sparse()
    settings = Reranking(k1, k2, lambda_, flavour)
    check_features("query", query_features)
    check_features("gallery", gallery_features)
    if query_features.shape[1] != gallery_features.shape[1]:
        raise InputError(
            f"query features have {query_features.shape[1]} elements and gallery features {gallery_features.shape[1]}; "
            "expected as many: embed both with the same model"
        )
    features = unit_length(np.concatenate([query_features, gallery_features]))
    queries = len(query_features)
    neighbours, scale, result = _neighbours(features, queries, settings)
    encoding = _encode(features, scale, neighbours, settings)
    return _blend(result, encoding, settings.lambda_)


def evaluate_reranked(query: Embeddings, gallery: Embeddings, reranking: Reranking) -> Metrics:
    """Evaluate after re-ranking; junk leaves the gallery before, so that it is nobody's neighbour.

    Raises:
        InputError: as `eval.metrics.evaluate`.
    """
    kept = without_junk(gallery)
    distances = rerank(query.features, kept.features, **asdict(reranking))
    metrics = evaluate_distances(distances, query, kept)
    return replace(metrics, junk=len(gallery) - len(kept))


def require_sparse() -> ModuleType:
    """`scipy.sparse`, which re-ranking needs; called first by what does long work before it re-ranks.

    Raises:
        MissingDependencyError: SciPy is not installed.
    """
    return require("scipy.sparse", purpose="re-ranking", install="pip install 'lgeu-reid[eval]'")


def _neighbours(
    features: NDArray[np.float32], queries: int, settings: Reranking
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Each image's nearest k1 + 1, itself first; its largest distance; and the scaled distances, queries to gallery."""
    images = len(features)
    count = min(max(settings.k1 + 1, settings.k2), images)
    neighbours = np.empty((images, count), np.int64)
    scale = np.empty(images, np.float32)
    original = np.empty((queries, images - queries), np.float32)
    height = max(1, _BLOCK_ELEMENTS // images)
    for start in progress(range(0, images, height), "finding neighbours", unit="block"):
        rows = slice(start, min(start + height, images))
        distances = _distance(features[rows] @ features.T, settings.flavour)
        largest = distances.max(axis=1)
        scale[rows] = np.where(largest > 0, largest, 1)
        distances /= scale[rows, None]
        if start < queries:
            original[rows] = distances[: queries - start, queries:]
        # An exact duplicate with a lower index must not push an image out of its own list.
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = -1
        neighbours[rows] = _smallest(distances, count)
    return neighbours, scale, original


def _distance(cosine: NDArray[np.float32], flavour: Flavour) -> NDArray[np.float32]:
    distance = np.maximum(1 - cosine, 0, dtype=np.float32)
    return np.square(distance) if flavour == "d2" else distance


def _smallest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Columns of the `count` smallest of each row, in order; equal values in the order of their columns."""
    threshold = np.partition(values, count - 1, axis=1)[:, count - 1 : count]
    row, column = np.nonzero(values <= threshold)
    order = np.lexsort((column, values[row, column], row))
    starts = np.searchsorted(row, np.arange(len(values)))
    chosen = order[starts[:, None] + np.arange(count)]
    return np.asarray(column[chosen], np.int64)


def _encode(
    features: NDArray[np.float32], scale: NDArray[np.float32], neighbours: NDArray[np.int64], settings: Reranking
) -> Any:
    """Each image as weights on its mutual neighbours: a sparse (N, N) matrix whose rows sum to 1."""
    mutual = _mutual(neighbours[:, : settings.k1 + 1])
    mutual_half = _mutual(neighbours[:, : round(settings.k1 / 2) + 1])
    members = _expand(mutual, mutual_half)
    row = np.repeat(np.arange(len(features)), np.diff(members.indptr))
    distance = _pair_distances(features, row, members.indices, settings.flavour) / scale[row]
    members.data = np.exp(-distance.astype(np.float64))
    members.data /= np.bincount(row, weights=members.data, minlength=len(features))[row]
    nearest = neighbours[:, : settings.k2]
    return (_indicator(nearest) / nearest.shape[1]) @ members


def _indicator(columns: NDArray[np.int64]) -> Any:
    """Sparse (N, N) matrix with a one where `columns` (N, K) says."""
    images, count = columns.shape
    ones = np.ones(images * count, np.int32)
    return require_sparse().csr_matrix((ones, columns.ravel(), np.arange(images + 1) * count), shape=(images, images))


def _mutual(columns: NDArray[np.int64]) -> Any:
    """Sparse (N, N): a one where two images are in each other's lists."""
    forward = _indicator(columns)
    return forward.multiply(forward.T).tocsr()


def _expand(mutual: Any, mutual_half: Any) -> Any:
    """Add a mutual neighbour's own half-sized set where more than two thirds of it is shared."""
    overlap = (mutual @ mutual_half.T).multiply(mutual).tocoo()
    sizes = np.diff(mutual_half.indptr)
    accepted = 3 * overlap.data > 2 * sizes[overlap.col]
    overlap.data = accepted.astype(np.int32)
    expanded = (mutual + overlap.tocsr() @ mutual_half).tocsr()
    expanded.eliminate_zeros()
    expanded.sort_indices()
    return expanded


def _pair_distances(
    features: NDArray[np.float32], left: NDArray[np.int64], right: NDArray[np.int64], flavour: Flavour
) -> NDArray[np.float32]:
    """Distances of P pairs of images, (P,) float32."""
    cosine = np.empty(len(left), np.float32)
    height = max(1, _BLOCK_ELEMENTS // features.shape[1])
    for start in range(0, len(left), height):
        pairs = slice(start, start + height)
        cosine[pairs] = np.einsum("pd,pd->p", features[left[pairs]], features[right[pairs]])
    return _distance(cosine, flavour)


def _blend(original: NDArray[np.float32], encoding: Any, lambda_: float) -> NDArray[np.float32]:
    """Jaccard distances of the encodings, blended into the original distances in place."""
    queries, candidates = original.shape
    query, gallery = encoding[:queries].tocsr(), encoding[queries:].tocsc()
    for row in progress(range(queries), "comparing neighbours", unit="query"):
        shared = _shared_weight(query, row, gallery, candidates)
        original[row] = lambda_ * original[row] + (1 - lambda_) * (1 - shared / (2 - shared))
    return original


def _shared_weight(query: Any, row: int, gallery: Any, candidates: int) -> NDArray[np.float64]:
    """Sum over neighbours of the smaller of the query's and a gallery image's weight, for each gallery image."""
    entries = slice(query.indptr[row], query.indptr[row + 1])
    columns, weights = query.indices[entries], query.data[entries]
    starts, lengths = gallery.indptr[columns], np.diff(gallery.indptr)[columns]
    ends = np.cumsum(lengths)
    places = np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)
    smaller = np.minimum(gallery.data[places], np.repeat(weights, lengths))
    return np.asarray(np.bincount(gallery.indices[places], weights=smaller, minlength=candidates), np.float64)
