"""At which rank the matches of each query come, without ever sorting or keeping a row of distances."""

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.progress import progress

from .features import product_margin
from .kernels import Ranking, Search, Side, gather_unit, pair_cosines, rank_given, rank_tile
from .matches import Matches
from .threads import Threads

# A tile of so many queries by gallery images takes 16 MB.
_TILE_QUERIES = 4096
_TILE_IMAGES = 1024

_BLOCK_ELEMENTS = 4_000_000

# What is ranked by given distances has no features.
_NOBODY = Side(np.empty((0, 0), np.float32), np.empty(0), np.empty(0, np.int64))


def new_ranking(matches: Matches) -> Ranking:
    """For the ranking kernels to fill."""
    queries = len(matches.wanted.starts) - 1
    return Ranking(np.ones(len(matches.queries), np.int64), np.full(queries, -1, np.int64), np.full(queries, np.inf))


def cosines_of_matches(query: Side, gallery: Side, matches: Matches, threads: Threads) -> NDArray[np.float64]:
    """Cosine similarity of each wanted pair, (M,)."""
    cosines = np.empty(len(matches.queries))
    threads.run(pair_cosines, len(cosines), query, gallery, matches.queries, matches.wanted.positions, cosines)
    return cosines


def rank_features(query: Side, gallery: Side, matches: Matches, threads: Threads) -> Ranking:
    """Rank by cosine distance."""
    queries, images, elements = len(query.rows), len(gallery.rows), query.features.shape[1]
    distances = np.maximum(1 - cosines_of_matches(query, gallery, matches, threads), 0)
    margin = np.full(queries, product_margin(elements))
    search = Search(query, gallery, matches.wanted, matches.left_out, distances, False, np.ones(queries), margin)
    ranking = new_ranking(matches)
    left = np.empty((min(queries, _TILE_QUERIES), elements), np.float32)
    right = np.empty((min(images, _TILE_IMAGES), elements), np.float32)
    products = np.empty(len(left) * len(right), np.float32)
    tiles = [(q, g) for q in range(0, queries, _TILE_QUERIES) for g in range(0, images, _TILE_IMAGES)]
    # Making a progress bar takes as long as a small tile.
    for first_query, first in progress(tiles, "evaluating", unit="tile") if len(tiles) > 1 else tiles:
        if first == 0:
            unit_queries = left[: min(len(left), queries - first_query)]
            threads.run(gather_unit, len(unit_queries), query, first_query, unit_queries)
        unit_images = right[: min(len(right), images - first)]
        threads.run(gather_unit, len(unit_images), gallery, first, unit_images)
        cosines = products[: len(unit_queries) * len(unit_images)].reshape(len(unit_queries), len(unit_images))
        threads.run(_rank_rows, len(cosines), unit_queries, unit_images, cosines, first_query, first, search, ranking)
    return ranking


def _rank_rows(
    queries: NDArray[np.float32],
    images: NDArray[np.float32],
    cosines: NDArray[np.float32],
    first_query: int,
    first: int,
    search: Search,
    ranking: Ranking,
    start: int,
    stop: int,
) -> None:
    np.matmul(queries[start:stop], images.T, out=cosines[start:stop])
    rank_tile(cosines, first_query, first, search, ranking, start, stop)


def rank_distances(
    distances: NDArray[np.floating], kept: NDArray[np.int64], matches: Matches, threads: Threads
) -> Ranking:
    """Rank by given distances.

    Args:
        distances: (Q, G).
        kept: columns without junk.
        matches: positions along `kept`.
        threads: to rank with.

    Raises:
        InputError: a distance is NaN or infinite.
    """
    queries = len(distances)
    of_matches = distances[matches.queries, kept[matches.wanted.positions]].astype(np.float64)
    zeros = np.zeros(queries)
    search = Search(_NOBODY, _NOBODY, matches.wanted, matches.left_out, of_matches, False, zeros, zeros)
    ranking = new_ranking(matches)
    height = max(1, _BLOCK_ELEMENTS // len(kept))
    for start in progress(range(0, queries, height), "evaluating", unit="block"):
        block = distances[start : start + height][:, kept].astype(np.float64)
        _check_finite(block, start)
        threads.run(rank_given, len(block), block, start, search, ranking)
    return ranking


def _check_finite(block: NDArray[np.float64], start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
    if bad.size:
        raise InputError(
            f"distances: row {start + bad[0]} holds NaN or infinity; expected finite numbers: check what made them"
        )
