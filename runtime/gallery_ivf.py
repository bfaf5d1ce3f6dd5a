"""Inverted lists for large galleries: how they are made, and how many of them a search looks into.

A query is compared with the entries of the nearest lists only, and there by codes of 2 bits for each of 256 principal
components; the best candidates are then compared in full, from half-precision copies. How many lists and candidates
those are is measured: the cheapest that find `TARGET_RECALL` of the exact neighbours of a sample of its own entries.
"""

import logging
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .gallery_manifest import Lists
from .gallery_vectors import BLOCK, MEASURED_RESULTS, FetchRows, VectorIndex, blocks, load_faiss
from .progress import progress

logger = logging.getLogger(__name__)

# Galleries of fewer entries are searched exactly.
EXACT_BELOW = 100_000

# Above what is promised of a search, .95, because the sample is a sample.
TARGET_RECALL = 0.97

_COMPONENTS = 256
_BITS_PER_PAIR = 4
_HALF_PRECISION = 2  # bytes
_LISTS_PER_ROOT = 4  # FAISS's advice is 4 to 16 times the square root of the number of entries
_TRAINED_PER_LIST = 64
_ROUNDS = 10
_QUERIES = 256
_DEPTHS = (2, 4, 8, 16, 32, 64, 128, 256)
_SEED = 0


def make_lists(fetch: FetchRows, count: int, size: int) -> VectorIndex:
    """An approximate index of `count` rows of `size` elements, with its settings chosen.

    Raises:
        MissingDependencyError: FAISS is not installed.
    """
    random = np.random.default_rng(_SEED)
    lists = round(_LISTS_PER_ROOT * math.sqrt(count))
    sample = np.sort(random.choice(count, min(count, _TRAINED_PER_LIST * lists), replace=False))
    untuned = Lists(lists, probes=1, depth=_DEPTHS[0], recall=0, trained_on=count)
    index = VectorIndex(_train(fetch, sample, size, lists), untuned)
    index.add(fetch, count)
    rows = np.sort(random.choice(count, min(count, _QUERIES), replace=False))
    index.lists = _tune(index, fetch(rows), rows, nearest_others(fetch, rows, count), untuned)
    if index.lists.recall < TARGET_RECALL:
        logger.warning(
            "searches of this gallery find %.1f %% of the 10 nearest entries, not the %.0f %% aimed at: its embeddings "
            "do not form lists",
            100 * index.lists.recall,
            100 * TARGET_RECALL,
        )
    return index


def nearest_others(fetch: FetchRows, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The exact nearest entries of some entries, themselves left out: (n, 10)."""
    queries = fetch(rows)
    best = np.full((len(rows), MEASURED_RESULTS), -np.inf, np.float32)
    found = np.full((len(rows), MEASURED_RESULTS), -1, np.int64)
    for block in progress(blocks(count), "measuring", total=math.ceil(count / BLOCK), unit="block"):
        scores = queries @ fetch(block).T
        scores[rows[:, None] == block] = -np.inf
        nearest = np.argpartition(-scores, min(MEASURED_RESULTS, len(block)) - 1)[:, :MEASURED_RESULTS]
        scores = np.concatenate([best, np.take_along_axis(scores, nearest, 1)], axis=1)
        found = np.concatenate([found, block[nearest]], axis=1)
        kept = np.argsort(-scores, axis=1, kind="stable")[:, :MEASURED_RESULTS]
        best, found = np.take_along_axis(scores, kept, 1), np.take_along_axis(found, kept, 1)
    return found


def _train(fetch: FetchRows, sample: NDArray[np.int64], size: int, lists: int) -> object:
    faiss = load_faiss()
    width = _components(size)
    # Turned at random, the components carry about as much each; the codes have as many bits for each.
    components = faiss.PCAMatrix(size, width, 0, True)
    components.train(fetch(sample[:: max(1, len(sample) // BLOCK)]))
    projected = np.concatenate([components.apply(fetch(sample[rows])) for rows in blocks(len(sample))])
    centres = faiss.IndexFlatL2(width)
    coarse = faiss.IndexIVFPQFastScan(centres, width, lists, width // 2, _BITS_PER_PAIR, faiss.METRIC_L2)
    coarse.cp.niter = _ROUNDS
    coarse.cp.max_points_per_centroid = _TRAINED_PER_LIST
    coarse.cp.min_points_per_centroid = 1  # FAISS would warn on standard error
    coarse.train(projected)
    full = faiss.IndexScalarQuantizer(size, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2)
    return faiss.IndexRefine(faiss.IndexPreTransform(components, coarse), full)


def _components(size: int) -> int:
    """How many principal components are coded; they are coded in pairs."""
    return min(size, _COMPONENTS) // 2 * 2


def _tune(
    index: VectorIndex,
    queries: NDArray[np.float32],
    rows: NDArray[np.int64],
    exact: NDArray[np.int64],
    untuned: Lists,
) -> Lists:
    """The cheapest settings that reach the target, or the ones that come nearest to it."""
    best = untuned
    for probes, depth in _settings(untuned, index.size):
        found, _ = index.search_lists(queries, MEASURED_RESULTS + 1, probes, depth)
        recall = _recall(found, rows, exact)
        if recall > best.recall:
            best = replace(untuned, probes=probes, depth=depth, recall=recall)
        if recall >= TARGET_RECALL:
            break
    return best


def _settings(lists: Lists, size: int) -> list[tuple[int, int]]:
    """Numbers of probes and depths, ordered by how many bytes are read for a query."""

    def cost(setting: tuple[int, int]) -> float:
        probes, depth = setting
        codes = probes * lists.trained_on / lists.count * _components(size) * _BITS_PER_PAIR / 16
        return codes + depth * MEASURED_RESULTS * size * _HALF_PRECISION

    probes = [1 << power for power in range(lists.count.bit_length()) if 1 << power < lists.count]
    return sorted(((count, depth) for count in (*probes, lists.count) for depth in _DEPTHS), key=cost)


def _recall(found: NDArray[np.int64], rows: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    others = [set(line[line != row][:MEASURED_RESULTS]) for line, row in zip(found, rows, strict=True)]
    hits = sum(len(line & set(right)) for line, right in zip(others, exact, strict=True))
    return hits / exact.size
