"""k-reciprocal encodings (Zhong et al. 2017, section 3): each image as weights on its mutual neighbours."""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.dependencies import require

from .kernels import Encoding, Side, pair_cosines
from .threads import Threads


def require_sparse() -> ModuleType:
    """`scipy.sparse`, which re-ranking needs; called first by what does long work before it re-ranks.

    Raises:
        MissingDependencyError: SciPy is not installed.
    """
    return require("scipy.sparse", purpose="re-ranking", install="pip install 'lgeu-reid[eval]'")


def original_distance(cosines: NDArray[Any], squared: bool) -> NDArray[np.float64]:
    """1 - cosine, or its square: what re-ranking calls the original distance, before it is scaled."""
    distances = np.maximum(1 - np.asarray(cosines, np.float64), 0)
    return np.square(distances) if squared else distances


def encode(
    features: NDArray[np.float32],
    lists: NDArray[np.int32],
    largest: NDArray[np.float64],
    k1: int,
    k2: int,
    squared: bool,
    threads: Threads,
) -> Any:
    """Encode every image.

    Args:
        features: (N, D) of unit length.
        lists: (N, K) each image's neighbours, itself first.
        largest: (N,) each image's largest original distance.
        k1: neighbours that must be mutual.
        k2: images whose encodings are averaged.
        squared: whether the original distance is squared.
        threads: to work with.

    Returns:
        A sparse (N, N) float64 matrix whose rows sum to 1.
    """
    mutual = _mutual(lists[:, : k1 + 1])
    members = _expand(mutual, _mutual(lists[:, : round(k1 / 2) + 1]))
    row = np.repeat(np.arange(len(lists)), np.diff(members.indptr))
    images = Side(features, np.ones(len(features)), np.arange(len(features)))
    cosines = np.empty(len(row))
    threads.run(pair_cosines, len(row), images, images, row, members.indices.astype(np.int64), cosines)
    weights = np.exp(-original_distance(cosines, squared) / largest[row])
    members.data = weights / np.bincount(row, weights=weights, minlength=len(lists))[row]
    nearest = lists[:, :k2]
    return (_indicator(nearest) / nearest.shape[1]) @ members


def split(encoded: Any, queries: int) -> Encoding:
    """The first `queries` rows by rows and the others by columns, for the kernels."""
    query, gallery = encoded[:queries].tocsr(), encoded[queries:].tocsc()
    return Encoding(query.indptr, query.indices, query.data, gallery.indptr, gallery.indices, gallery.data)


def _indicator(columns: NDArray[np.int32]) -> Any:
    """Sparse (N, N) matrix with a one where `columns` (N, K) says."""
    images, count = columns.shape
    ones = np.ones(images * count, np.int32)
    return require_sparse().csr_matrix((ones, columns.ravel(), np.arange(images + 1) * count), shape=(images, images))


def _mutual(columns: NDArray[np.int32]) -> Any:
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
