"""At which rank the matches of each query come, without ever sorting or keeping a row of distances."""

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.progress import progress

from .features import product_bound, product_margin
from .kernels import MOST_IMAGES, Ranking, Search, Side, pair_cosines, rank_given, rank_tile
from .matches import Matches
from .threads import Threads
from .tiles import compare_tiles

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


def margins(distances: NDArray[np.float64], matches: Matches, elements: int) -> NDArray[np.float64]:
    """What distances of each query from gallery images may differ by and have to be decided in float64, (Q,).

    Where a match is very near, the images may be those of a model that gives nearly the same for every image. A few of
    its elements may outweigh the others so far that rounding takes all of these away: then errors do not cancel each
    other, and only their bound is safe. A query without a match may be such a one, too: nothing tells.

    Args:
        distances: (M,) of the matches.
        matches: these.
        elements: of a feature.
    """
    bound = product_bound(elements)
    margin = np.full(len(matches.wanted.starts) - 1, bound)
    margin[matches.queries] = product_margin(elements)
    very_near = distances < 8 * bound
    if very_near.any():
        margin[matches.queries[very_near]] = bound
    return margin


def rank_features(query: Side, gallery: Side, matches: Matches, threads: Threads) -> Ranking:
    """Rank by cosine distance."""
    distances = np.maximum(1 - cosines_of_matches(query, gallery, matches, threads), 0)
    margin = margins(distances, matches, query.features.shape[1])
    ones = np.ones(len(query.rows))
    search = Search(query, gallery, matches.wanted, matches.left_out, distances, False, ones, margin)
    ranking = new_ranking(matches)

    def rank(cosines: NDArray[np.float32], first_query: int, first: int, start: int, stop: int) -> None:
        rank_tile(cosines, first_query, first, search, ranking, start, stop)

    compare_tiles(query, gallery, threads, "evaluating", rank)
    return ranking


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
        InputError: a distance is NaN or infinite, or there are too many.
    """
    queries = len(distances)
    if len(kept) > MOST_IMAGES:
        raise InputError(f"distances from {len(kept):,} gallery images; expected at most {MOST_IMAGES:,}")
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
