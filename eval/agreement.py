"""How far two sets of embeddings of the same images agree."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Half decades of 1 - cosine; what is nearer or farther goes into the first or last bin.
GAP_EDGES = tuple(10.0 ** (exponent / 2) for exponent in range(-24, 1))

_BLOCK_ELEMENTS = 500_000


@dataclass(frozen=True)
class Agreement:
    """Of N embeddings with a reference. Embeddings with a NaN or infinity are counted and else left out.

    Attributes:
        min_cosine: the worst cosine similarity; None where no embedding is finite.
        mean_cosine: likewise.
        max_abs_difference: the largest difference of one element; likewise.
        max_length_error: the largest |length / length of the reference - 1|, which no cosine shows; likewise.
        non_finite: embeddings with a NaN or infinity.
        cosine_gaps: (24,) counts of 1 - cosine between consecutive `GAP_EDGES`.
    """

    min_cosine: float | None
    mean_cosine: float | None
    max_abs_difference: float | None
    max_length_error: float | None
    non_finite: int
    cosine_gaps: tuple[int, ...]


def agreement(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> Agreement:
    """Compare row by row.

    Args:
        reference: (N, D), finite.
        candidate: (N, D).
    """
    height = max(1, _BLOCK_ELEMENTS // max(1, reference.shape[1]))
    blocks = [slice(start, start + height) for start in range(0, len(reference), height)]
    rows = np.concatenate([np.empty((0, 3)), *(_compare_rows(reference[block], candidate[block]) for block in blocks)])
    non_finite = len(reference) - len(rows)
    if not len(rows):
        return Agreement(None, None, None, None, non_finite, (0,) * (len(GAP_EDGES) - 1))
    cosines, differences, length_errors = rows.T
    counts, _ = np.histogram(np.clip(1 - cosines, GAP_EDGES[0], GAP_EDGES[-1]), GAP_EDGES)
    return Agreement(
        float(cosines.min()),
        float(cosines.mean()),
        float(differences.max()),
        float(length_errors.max()),
        non_finite,
        tuple(int(count) for count in counts),
    )


def _compare_rows(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine (0 without a direction), largest difference of an element and length error of each finite row: (M, 3)."""
    finite = np.isfinite(candidate).all(axis=1)
    left, right = reference[finite].astype(np.float64), candidate[finite].astype(np.float64)
    expected, lengths = np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1)
    products, scale = np.einsum("nd,nd->n", left, right), expected * lengths
    cosines = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    differences = np.abs(left - right).max(axis=1, initial=0)
    # A reference without a length is held to be of length 1.
    length_errors = np.abs(lengths - expected) / np.where(expected > 0, expected, 1)
    return np.stack([cosines, differences, length_errors], axis=1)
