"""How far two sets of embeddings of the same images agree."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Half decades of 1 - cosine; what is nearer or farther goes into the first or last bin.
GAP_EDGES = tuple(10.0 ** (exponent / 2) for exponent in range(-24, 1))


@dataclass(frozen=True)
class Agreement:
    """Of N embeddings with a reference. Embeddings with a NaN or infinity are counted and else left out.

    Attributes:
        min_cosine: the worst cosine similarity; None where no embedding is finite.
        mean_cosine: likewise.
        max_abs_difference: the largest difference of one element; likewise.
        non_finite: embeddings with a NaN or infinity.
        cosine_gaps: (24,) counts of 1 - cosine between consecutive `GAP_EDGES`.
    """

    min_cosine: float | None
    mean_cosine: float | None
    max_abs_difference: float | None
    non_finite: int
    cosine_gaps: tuple[int, ...]


def agreement(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> Agreement:
    """Compare row by row.

    Args:
        reference: (N, D), finite.
        candidate: (N, D).
    """
    finite = np.isfinite(candidate).all(axis=1)
    left, right = reference[finite].astype(np.float64), candidate[finite].astype(np.float64)
    non_finite = int((~finite).sum())
    if not len(left):
        return Agreement(None, None, None, non_finite, (0,) * (len(GAP_EDGES) - 1))
    cosines = _cosines(left, right)
    counts, _ = np.histogram(np.clip(1 - cosines, GAP_EDGES[0], GAP_EDGES[-1]), GAP_EDGES)
    return Agreement(
        float(cosines.min()),
        float(cosines.mean()),
        float(np.abs(left - right).max()),
        non_finite,
        tuple(int(count) for count in counts),
    )


def _cosines(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of rows; 0 where one has no direction."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = np.einsum("nd,nd->n", left, right)
    return np.asarray(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0), np.float64)
