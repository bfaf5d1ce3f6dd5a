"""k-reciprocal encodings (Zhong et al. 2017, section 3): each image as weights on its mutual neighbours."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.dependencies import require

from .features import product_bound, product_margin
from .kernels import Encoding

# Cosine similarities of pairs of images, in float64.
PairCosines = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]

# Distances of about 1 are rounded to float32 on the way.
_ROUNDING = 2.0**-22

# With such a margin, as where a model gives nearly the same for every image, float32 products are not distances.
ROUGH = 1e-3


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


def reranked_margin(share: NDArray[np.float64], squared: bool, elements: int) -> NDArray[np.float64]:
    """Twice the rounding error to expect of re-ranked distances of which the original distance has such a share."""
    # The square of 1 - cosine, which is at most 2, changes four times as fast as the cosine.
    steepness = 4 if squared else 1
    bound = product_bound(elements)
    # With so large a share, all images are very near to the query; see `eval.ranking.margins`.
    product = np.where(share > 1 / (8 * bound), bound, product_margin(elements))
    return np.asarray(steepness * share * product + _ROUNDING)


def encode(
    cosines_of: PairCosines,
    nearest: NDArray[np.int32],
    farthest: NDArray[np.int32],
    k1: int,
    k2: int,
    squared: bool,
) -> tuple[Any, NDArray[np.float64]]:
    """Encode every image.

    Args:
        cosines_of: gives the cosines of pairs.
        nearest: (N, K - 1) each image's nearest others.
        farthest: (N,) each image's farthest.
        k1: neighbours that must be mutual.
        k2: images whose encodings are averaged.
        squared: whether the original distance is squared.

    Returns:
        A sparse (N, N) float64 matrix whose rows sum to 1; and (N,) each image's largest original distance, 1 where it
        is zero.
    """
    images = np.arange(len(nearest))
    largest = original_distance(cosines_of(images, farthest.astype(np.int64)), squared)
    largest = np.where(largest > 0, largest, 1)
    lists = np.column_stack([images.astype(np.int32), nearest])
    mutual = _mutual(lists[:, : k1 + 1])
    members = _expand(mutual, _mutual(lists[:, : round(k1 / 2) + 1]))
    row = np.repeat(images, np.diff(members.indptr))
    cosines = cosines_of(row, members.indices.astype(np.int64))
    weights = np.exp(-original_distance(cosines, squared) / largest[row])
    members.data = weights / np.bincount(row, weights=weights, minlength=len(lists))[row]
    near = lists[:, :k2]
    return (_indicator(near) / near.shape[1]) @ members, largest


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
