"""k-reciprocal re-ranking on the device that the features are on: products there, sets of neighbours on the CPU.

All images are kept at unit length on the device, a copy of the features. Beside that and the encodings (some 20 bytes
for each of their weights) it takes an estimated 700 MB for blocks.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runtime.progress import progress

from .encoding import ROUGH, encode, reranked_margin, split
from .kernels import Encoding, Ranking
from .matches import Matches
from .memory import plan_memory
from .ranking import new_ranking
from .tensor_neighbours import find_nearest_tensors
from .tensor_ranking import rank_block
from .tensors import (
    BLOCK_ELEMENTS,
    Tensor,
    TensorSide,
    chunks,
    library,
    list_entries,
    pair_cosines,
    to_device,
    unit_rows,
    unit_side,
)

if TYPE_CHECKING:
    from .reranking import Reranking

# Weights are added up as integers of this unit: exactly, in whichever order a GPU does it.
_UNIT = 2.0**-60


def rerank_tensors(query: TensorSide, gallery: TensorSide, settings: "Reranking", memory_limit: int | None) -> Tensor:
    """Re-ranked distances, (Q, G) float32 on the device; see `eval.reranking.rerank`."""
    encoded = _encode(query, gallery, settings, memory_limit)
    result = query.features.new_empty((len(query.rows), len(gallery.rows)))
    positions = library().arange(len(gallery.rows), device=result.device)
    height = _height(gallery)
    for start in progress(range(0, len(result), height), "comparing neighbours", unit="block"):
        block = result[start : start + height]
        jaccard, distances = _rerank_block(encoded, start, len(block))
        for line in (encoded.margin[start : start + height] > ROUGH).nonzero()[:, 0]:
            distances[line] = _exact_distances(encoded, jaccard, start, line.expand(len(positions)), positions).float()
        block.copy_(distances.clamp_(0, 1))
    return result


def rank_reranked_tensors(
    query: TensorSide, gallery: TensorSide, matches: Matches, settings: "Reranking", memory_limit: int | None
) -> Ranking:
    """Rank by re-ranked distances, which are made for a few queries at a time; see `eval.reranking`."""
    encoded = _encode(query, gallery, settings, memory_limit)
    ranking = new_ranking(matches)
    height = _height(gallery)
    for start in progress(range(0, len(query.rows), height), "comparing neighbours", unit="block"):
        jaccard, distances = _rerank_block(encoded, start, min(height, len(query.rows) - start))

        def exactly(lines: Tensor, positions: Tensor, start: int = start, jaccard: Tensor = jaccard) -> Tensor:
            return _exact_distances(encoded, jaccard, start, lines, positions)

        margin = encoded.margin[start : start + len(distances)]
        rank_block(distances, start, matches, margin, exactly, ranking)
    return ranking


@dataclass(frozen=True)
class _Encoded:
    """What re-ranked distances are made of, on the device but for `lists`.

    Attributes:
        images: at unit length, queries first.
        queries: how many are queries.
        lists: where the encodings of queries and columns begin and end, and the queries' columns.
        query_weights: int64, in units.
        column_starts: int64.
        column_rows: int64.
        column_weights: int64, in units.
        weight: of the Jaccard distance.
        squared: whether the original distance is squared.
        share: (Q,) float64, each query's share of the original distance.
        margin: (Q,) float64.
    """

    images: TensorSide
    queries: int
    lists: Encoding
    query_weights: Tensor
    column_starts: Tensor
    column_rows: Tensor
    column_weights: Tensor
    weight: float
    squared: bool
    share: Tensor
    margin: Tensor


def _encode(query: TensorSide, gallery: TensorSide, settings: "Reranking", memory_limit: int | None) -> _Encoded:
    queries, total = len(query.rows), len(query.rows) + len(gallery.rows)
    elements = query.features.shape[1]
    plan_memory(queries, len(gallery.rows), elements, settings.k1, settings.k2, memory_limit, False, on_gpu=True)
    unit = query.features.new_empty((total, elements))
    unit[:queries], unit[queries:] = unit_rows(query), unit_rows(gallery)
    images = unit_side(unit)

    def cosines_of(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        cosines: NDArray[np.float64] = (
            pair_cosines(images, images, to_device(left, unit), to_device(right, unit)).cpu().numpy()
        )
        return cosines

    count = settings.list_length(total)
    nearest, farthest = (found.int().cpu().numpy() for found in find_nearest_tensors(images, count - 1))
    encodings, largest = encode(cosines_of, nearest, farthest, settings.k1, settings.k2, settings.squared)
    share = settings.lambda_ / largest[:queries]
    margin = reranked_margin(share, settings.squared, elements)
    lists = split(encodings, queries)
    return _Encoded(
        images,
        queries,
        lists,
        to_device(_in_units(lists.query_weights), unit),
        to_device(lists.column_starts.astype(np.int64), unit),
        to_device(lists.column_rows.astype(np.int64), unit),
        to_device(_in_units(lists.column_weights), unit),
        1 - settings.lambda_,
        settings.squared,
        to_device(share, unit),
        to_device(margin, unit),
    )


def _in_units(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(weights / _UNIT).astype(np.int64)


def _height(gallery: TensorSide) -> int:
    """Queries in a block."""
    return max(1, BLOCK_ELEMENTS // len(gallery.rows))


def _rerank_block(encoded: _Encoded, start: int, queries: int) -> tuple[Tensor, Tensor]:
    """Jaccard distances, weighted, (B, G) float64, and re-ranked distances, float32, of some queries."""
    unit = encoded.images.features
    jaccard = _jaccard_block(encoded, start, queries)
    cosines = unit[start : start + queries] @ unit[encoded.queries :].T
    original = _original(cosines.double(), encoded.squared).mul_(encoded.share[start : start + queries, None])
    return jaccard, original.add_(jaccard).float()


def _jaccard_block(encoded: _Encoded, start: int, queries: int) -> Tensor:
    images = len(encoded.images.rows) - encoded.queries
    overlap = encoded.query_weights.new_zeros(queries * images)
    starts = encoded.lists.query_starts[start : start + queries + 1].astype(np.int64)
    columns = encoded.lists.query_columns[starts[0] : starts[-1]]
    counts = np.diff(encoded.lists.column_starts)[columns].astype(np.int64)
    lines = to_device(np.repeat(np.arange(queries), np.diff(starts)), overlap)
    first, sizes = encoded.column_starts[to_device(columns.astype(np.int64), overlap)], to_device(counts, overlap)
    own = encoded.query_weights[int(starts[0]) : int(starts[-1])]
    for chunk in chunks(counts):
        entries, places = list_entries(first[chunk], sizes[chunk])
        shared = library().minimum(own[chunk][entries], encoded.column_weights[places])
        overlap.scatter_add_(0, lines[chunk][entries] * images + encoded.column_rows[places], shared)
    fraction = overlap.view(queries, images).double().mul_(_UNIT)
    # Both encodings sum to 1.
    return fraction.div_(2 - fraction).neg_().add_(1).mul_(encoded.weight)


def _exact_distances(encoded: _Encoded, jaccard: Tensor, start: int, lines: Tensor, positions: Tensor) -> Tensor:
    """Re-ranked distances in float64."""
    rest = jaccard[lines, positions]
    if encoded.weight == 1:
        return rest
    images, queries = encoded.images, start + lines
    cosines = pair_cosines(images, images, queries, encoded.queries + positions)
    return rest + encoded.share[queries] * _original(cosines, encoded.squared)


def _original(cosines: Tensor, squared: bool) -> Tensor:
    """1 - cosine, or its square; the cosines are overwritten."""
    distances = cosines.neg_().add_(1).clamp_(min=0)
    return distances.square_() if squared else distances
