"""The loops that NumPy has no fast operation for, compiled on first use and kept in Numba's cache.

Each kernel works on the rows from `start` to `stop` and lets go of the interpreter, so that threads share the rows.
They stand in one file because Numba's cache notices changes in the kernel's own file only.

Where an order is decided, distances that are nearer to each other than the rounding error to expect of a float32
product are computed in float64 from the features themselves: equal images stay equal.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

# What lets sums run in vector registers. NaN and infinity keep their meaning: they are looked for, and mark images.
_VECTORISED = {"reassoc", "contract", "nsz"}

# Values looked at together before any is looked at alone.
_CHUNK = 64

_COLUMN_CHUNK = 16

# A row whose length differs from 1 by less has been normalised and rounded.
UNIT_ROUNDING = 2.0**-23

_ZERO, _ONE = np.float32(0), np.float32(1)

# In a row that is worked on as a whole.
MOST_IMAGES = 2**24


def _compiled(kernel: Kernel) -> Kernel:
    try:
        return cast("Kernel", numba.njit(nogil=True, cache=True, fastmath=_VECTORISED)(kernel))
    except RuntimeError as error:  # neither the package's folder nor the user's cache folder can be written to
        logger.debug("compiling in every process: %s", error)
        return cast("Kernel", numba.njit(nogil=True, fastmath=_VECTORISED)(kernel))


class Side(NamedTuple):
    """Features of the queries or of the gallery, and which of them take part.

    Attributes:
        features: (N, D) float32, of any length.
        scale: (N,) float64, what brings each row to unit length; 0 for a row of zeros.
        rows: (K,) int64, the rows that take part; a position counts along these.
    """

    features: NDArray[np.float32]
    scale: NDArray[np.float64]
    rows: NDArray[np.int64]


class Lists(NamedTuple):
    """A list of gallery positions for each of Q queries.

    Attributes:
        starts: (Q + 1,) int64; query q has the entries from `starts[q]` to `starts[q + 1]`.
        positions: int64, ascending within a query.
    """

    starts: NDArray[np.int64]
    positions: NDArray[np.int64]


class Search(NamedTuple):
    """What to look for. A distance is rest + share * (1 - cosine), or its square in place of it.

    Attributes:
        query: Q of them.
        gallery: without junk.
        matches: the M positions whose ranks are wanted.
        left_out: positions that are passed over.
        distances: (M,) float64, distances of the matches.
        squared: whether 1 - cosine is squared.
        share: (Q,) float64; 0 where the distance is all rest, and the features are not looked at.
        margin: (Q,) float64; distances that differ by less are decided in float64.
    """

    query: Side
    gallery: Side
    matches: Lists
    left_out: Lists
    distances: NDArray[np.float64]
    squared: bool
    share: NDArray[np.float64]
    margin: NDArray[np.float64]


class Ranking(NamedTuple):
    """What the ranking kernels fill, tile by tile.

    Attributes:
        ranks: (M,) int64; starts as ones.
        nearest: (Q,) int64, position of the nearest image that is not left out; starts as -1.
        nearest_distance: (Q,) float64; starts as infinity.
    """

    ranks: NDArray[np.int64]
    nearest: NDArray[np.int64]
    nearest_distance: NDArray[np.float64]


class Encoding(NamedTuple):
    """k-reciprocal encodings: the queries' by rows, the gallery's by columns, as SciPy's sparse matrices hold them."""

    query_starts: NDArray[np.int32]
    query_columns: NDArray[np.int32]
    query_weights: NDArray[np.float64]
    column_starts: NDArray[np.int32]
    column_rows: NDArray[np.int32]
    column_weights: NDArray[np.float64]


class Nearest(NamedTuple):
    """The nearest other images of each of N, in no order until settled. Filled by the neighbour kernels, tile by tile.

    Attributes:
        cosines: (N, S) float32, of which `found` are filled.
        indices: (N, S) int32, likewise.
        found: (N,) int32; starts as 0.
        least: (N,) float32, what is not above it is no longer kept; starts as minus infinity.
        farthest: (N,) int32, the image with the smallest cosine.
        lowest: (N,) float32, that cosine; starts as infinity.
    """

    cosines: NDArray[np.float32]
    indices: NDArray[np.int32]
    found: NDArray[np.int32]
    least: NDArray[np.float32]
    farthest: NDArray[np.int32]
    lowest: NDArray[np.float32]


@_compiled
def squared_lengths(features: NDArray[np.float32], out: NDArray[np.float64], start: int, stop: int) -> None:
    """Sum of squares of each row; not finite where the row is not."""
    for row in range(start, stop):
        out[row] = _dot(features[row], features[row])


@_compiled
def gather_unit(side: Side, first: int, out: NDArray[np.float32], start: int, stop: int) -> None:
    """Copy the rows at positions from `first + start` to `first + stop` into `out`, at unit length.

    Those of unit length but for rounding are copied bit for bit.
    """
    for line in range(start, stop):
        row = side.rows[first + line]
        scale = side.scale[row]
        if abs(scale - 1) <= UNIT_ROUNDING:
            scale = 1.0
        for element in range(out.shape[1]):
            out[line, element] = np.float32(side.features[row, element] * scale)


@_compiled
def pair_cosines(
    left: Side,
    right: Side,
    left_positions: NDArray[np.int64],
    right_positions: NDArray[np.int64],
    out: NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Cosine similarities of pairs of positions."""
    for pair in range(start, stop):
        out[pair] = _cosine(left, right, left_positions[pair], right_positions[pair])


@_compiled
def rank_tile(
    cosines: NDArray[np.float32],
    first_query: int,
    first: int,
    search: Search,
    ranking: Ranking,
    start: int,
    stop: int,
) -> None:
    """Count, for each match of the tile's queries, the tile's images that come before it.

    Args:
        cosines: (queries, positions) of the tile; overwritten.
        first_query: the query of the first row.
        first: the position of the first column.
        search: whose distances have no rest.
        ranking: is added to.
        start: first row to work on.
        stop: row to stop before.
    """
    rest = np.zeros(cosines.shape[1])
    known = np.empty(cosines.shape[1])
    for line in range(start, stop):
        query = first_query + line
        _to_distances(cosines[line], rest, search.share[query], search.squared)
        _rank_row(cosines[line], rest, known, query, first, search, ranking)


@_compiled
def rank_given(
    distances: NDArray[np.float64], first_query: int, search: Search, ranking: Ranking, start: int, stop: int
) -> None:
    """The same for given distances, (queries, all positions) float64; overwritten."""
    known = np.empty(distances.shape[1])
    for line in range(start, stop):
        rest = distances[line].copy()
        _rank_row(distances[line], rest, known, first_query + line, 0, search, ranking)


@_compiled
def rank_reranked(
    cosines: NDArray[np.float32],
    first_query: int,
    encoding: Encoding,
    lambda_: float,
    search: Search,
    ranking: Ranking,
    start: int,
    stop: int,
) -> None:
    """The same for re-ranked distances; `cosines` are of (queries, all positions), and become those distances."""
    rest = np.empty(cosines.shape[1])
    known = np.empty(cosines.shape[1])
    for line in range(start, stop):
        query = first_query + line
        _jaccard(encoding, query, 1 - lambda_, rest)
        _to_distances(cosines[line], rest, search.share[query], search.squared)
        _rank_row(cosines[line], rest, known, query, 0, search, ranking)


@_compiled
def rerank_rows(
    cosines: NDArray[np.float32],
    images: Side,
    encoding: Encoding,
    lambda_: float,
    share: NDArray[np.float64],
    rough: NDArray[np.bool_],
    squared: bool,
    start: int,
    stop: int,
) -> None:
    """Turn the cosines of (queries, all positions) into re-ranked distances, in float64 where they are too `rough`."""
    queries = cosines.shape[0]
    rest = np.empty(cosines.shape[1])
    for query in range(start, stop):
        _jaccard(encoding, query, 1 - lambda_, rest)
        if rough[query]:
            for place in range(rest.shape[0]):
                original = _original(_cosine(images, images, query, queries + place), squared)
                cosines[query, place] = np.float32(rest[place] + share[query] * original)
        else:
            _to_distances(cosines[query], rest, share[query], squared)
        for place in range(rest.shape[0]):
            cosines[query, place] = min(max(cosines[query, place], np.float32(0)), np.float32(1))


@_compiled
def jaccard_of_matches(
    encoding: Encoding, matches: Lists, weight: float, images: int, out: NDArray[np.float64], start: int, stop: int
) -> None:
    """`weight` times the Jaccard distance of each match of the queries from `start` to `stop`; `images` positions."""
    rest = np.empty(images)
    for query in range(start, stop):
        _jaccard(encoding, query, weight, rest)
        for match in range(matches.starts[query], matches.starts[query + 1]):
            out[match] = rest[matches.positions[match]]


@_compiled
def offer_columns_to_rows(
    cosines: NDArray[np.float32],
    first_row: int,
    first_column: int,
    nearest: Nearest,
    kept: int,
    start: int,
    stop: int,
) -> None:
    """Offer a tile's columns to its rows, each of which keeps at least its `kept` nearest."""
    for line in range(start, stop):
        image = first_row + line
        # What changes with every image kept is read from memory once a row.
        least, lowest, found = nearest.least[image], nearest.lowest[image], nearest.found[image]
        for chunk in range(0, cosines.shape[1], _CHUNK):
            end = min(chunk + _CHUNK, cosines.shape[1])
            outside = _ZERO
            for place in range(chunk, end):
                outside += _ONE if cosines[line, place] < lowest else _ZERO
                outside += _ONE if cosines[line, place] > least else _ZERO
            if outside == 0:
                continue
            for place in range(chunk, end):
                cosine = cosines[line, place]
                if cosine < lowest:
                    lowest = cosine
                    nearest.farthest[image] = first_column + place
                if cosine > least and first_column + place != image:
                    nearest.cosines[image, found] = cosine
                    nearest.indices[image, found] = first_column + place
                    found += 1
                    if found == nearest.cosines.shape[1]:
                        least = _drop(nearest.cosines[image], nearest.indices[image], kept)
                        found = kept
        nearest.least[image], nearest.lowest[image], nearest.found[image] = least, lowest, found


@_compiled
def offer_rows_to_columns(
    cosines: NDArray[np.float32],
    first_row: int,
    first_column: int,
    nearest: Nearest,
    kept: int,
    start: int,
    stop: int,
) -> None:
    """Offer a tile's rows to its columns from `start` to `stop`."""
    least, lowest = nearest.least[first_column:], nearest.lowest[first_column:]
    for line in range(cosines.shape[0]):
        for chunk in range(start, stop, _COLUMN_CHUNK):
            end = min(chunk + _COLUMN_CHUNK, stop)
            outside = _ZERO
            for place in range(chunk, end):
                outside += _ONE if cosines[line, place] < lowest[place] else _ZERO
                outside += _ONE if cosines[line, place] > least[place] else _ZERO
            if outside > 0:
                for place in range(chunk, end):
                    if cosines[line, place] < lowest[place] or cosines[line, place] > least[place]:
                        _offer(nearest, kept, first_column + place, first_row + line, cosines[line, place])


@_compiled
def settle(
    images: Side,
    others: Side,
    offset: int,
    nearest: Nearest,
    count: int,
    margin: float,
    out: NDArray[np.int32],
    start: int,
    stop: int,
) -> None:
    """Write the `count` nearest others of each image into `out` (N, count), near-ties in the order of float64.

    Args:
        images: N.
        others: among which its nearest are.
        offset: what an index in `nearest` is above a position along `others`: 0 where `others` are the images
            themselves, and at least N where none of them is.
        nearest: of all others.
        count: at most as many as each image has others.
        margin: cosines that differ by less are decided in float64.
        out: positions along `others`.
        start: first image to settle.
        stop: image to stop before.
    """
    exact = np.empty(nearest.cosines.shape[1])
    for image in range(start, stop):
        found = nearest.found[image]
        cosines, indices = nearest.cosines[image, :found], nearest.indices[image, :found]
        for place in range(found):
            exact[place] = cosines[place]
            indices[place] -= offset
        _sort(indices, exact, found)
        own = image - offset
        available = others.rows.shape[0] - (own >= 0)
        if found < available and exact[count - 1] - nearest.least[image] <= margin:
            nearest.farthest[image] = _search_exactly(images, others, image, own, count, indices, exact)
        else:
            _decide_near_ties(images, others, image, indices, exact, found, margin)
        out[image] = indices[:count]


@_compiled
def add_neighbours(
    images: Side,
    others: Side,
    neighbours: NDArray[np.int32],
    alpha: float,
    out: NDArray[np.float32],
    start: int,
    stop: int,
) -> None:
    """Add its neighbours to each image, weighted by the cosine to the power of `alpha`, and normalise the sum.

    Args:
        images: N.
        others: the neighbours are positions along these; one whose cosine is not above zero weighs nothing.
        neighbours: (N, K).
        alpha: at least 0.
        out: the rows of the images' features; those that do not take part are left alone.
        start: first image to work on.
        stop: image to stop before.
    """
    total = np.empty(images.features.shape[1])
    for image in range(start, stop):
        row = images.rows[image]
        total[:] = 0
        _add(images, row, 1.0, total)
        for neighbour in neighbours[image]:
            cosine = _cosine(images, others, image, neighbour)
            if cosine > 0:
                _add(others, others.rows[neighbour], cosine**alpha, total)
        # Nothing that was added points away from the image: the sum is zero only where the image is.
        length = np.sqrt(np.sum(total * total))
        for element in range(total.shape[0]):
            out[row, element] = np.float32(total[element] / length) if length > 0 else _ZERO


@_compiled
def _dot(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    total = 0.0
    for element in range(left.shape[0]):
        total += np.float64(left[element]) * np.float64(right[element])
    return total


@_compiled
def _cosine(left: Side, right: Side, left_position: int, right_position: int) -> float:
    i, j = left.rows[left_position], right.rows[right_position]
    return float(_dot(left.features[i], right.features[j]) * left.scale[i] * right.scale[j])


@_compiled
def _add(side: Side, row: int, weight: float, total: NDArray[np.float64]) -> None:
    """Add a row at unit length, times `weight`."""
    factor = weight * side.scale[row]
    for element in range(total.shape[0]):
        total[element] += factor * np.float64(side.features[row, element])


@_compiled
def _to_distances(row: NDArray[np.float32], rest: NDArray[np.float64], share: float, squared: bool) -> None:
    for place in range(row.shape[0]):
        row[place] = np.float32(rest[place] + share * _original(row[place], squared))


@_compiled
def _original(cosine: float, squared: bool) -> float:
    distance = max(1.0 - cosine, 0.0)
    return distance * distance if squared else distance


@_compiled
def _exact_distance(search: Search, query: int, position: int, rest: float) -> float:
    share = search.share[query]
    if share == 0:
        return rest
    return float(rest + share * _original(_cosine(search.query, search.gallery, query, position), search.squared))


@_compiled
def _rank_row(
    row: NDArray[np.float32],
    rest: NDArray[np.float64],
    known: NDArray[np.float64],
    query: int,
    first: int,
    search: Search,
    ranking: Ranking,
) -> None:
    """Count what comes before each match, and keep the nearest; `known` is scratch for distances in float64."""
    width = row.shape[0]
    left_out = search.left_out
    for entry in range(left_out.starts[query], left_out.starts[query + 1]):
        place = left_out.positions[entry] - first
        if 0 <= place < width:
            row[place] = np.inf
    # A match must never come before itself, however the product was rounded.
    for match in range(search.matches.starts[query], search.matches.starts[query + 1]):
        place = search.matches.positions[match] - first
        if 0 <= place < width:
            row[place] = search.distances[match]
    known[:] = np.inf
    margin = search.margin[query]
    for match in range(search.matches.starts[query], search.matches.starts[query + 1]):
        own = search.matches.positions[match] - first
        low, high = _around(row, search.distances[match], margin)
        before, near = _count(row, low, high)
        if near > (0 <= own < width):
            before += _count_exactly(row, rest, known, query, first, search, match, low, high)
        ranking.ranks[match] += before
    _keep_nearest(row, rest, query, first, search, ranking)


@_compiled
def _around(row: NDArray[Any], distance: float, margin: float) -> tuple[Any, Any]:
    """The ends of the margin, in the type of the row: comparing in another would halve the speed."""
    kind = row.dtype.type
    return kind(distance - margin), kind(distance + margin)


@_compiled
def _count(row: NDArray[np.float32], low: float, high: float) -> tuple[int, int]:
    """How many values are below `low`, and how many from there up to `high`."""
    # Sums of floats run in vector registers, sums of comparisons do not; up to `MOST_IMAGES` they are exact.
    below, reached = np.float32(0), np.float32(0)
    for place in range(row.shape[0]):
        below += _ONE if row[place] < low else _ZERO
        reached += _ONE if row[place] <= high else _ZERO
    return int(below), int(reached - below)


@_compiled
def _count_exactly(
    row: NDArray[np.float32],
    rest: NDArray[np.float64],
    known: NDArray[np.float64],
    query: int,
    first: int,
    search: Search,
    match: int,
    low: float,
    high: float,
) -> int:
    """How many of the values from `low` to `high` come before the match: nearer, or as near and of a lower position."""
    own = search.matches.positions[match] - first
    distance = np.inf
    before = 0
    for turn in range(-1, row.shape[0]):
        # The match goes through the same lines: compiled twice, they could make equal images differ in the last bit.
        place = own if turn < 0 else turn
        if turn >= 0 and (place == own or not low <= row[place] <= high):
            continue
        within = 0 <= place < row.shape[0]
        exact = known[place] if within else np.inf
        if exact == np.inf:
            exact = _exact_distance(search, query, first + place, rest[place] if within else 0.0)
            if within:
                known[place] = exact
        if turn < 0:
            distance = exact
        else:
            before += exact < distance or (exact == distance and place < own)
    return before


@_compiled
def _keep_nearest(
    row: NDArray[np.float32], rest: NDArray[np.float64], query: int, first: int, search: Search, ranking: Ranking
) -> None:
    margin = search.margin[query]
    # No match is nearer than the nearest: few images need a closer look.
    bound = ranking.nearest_distance[query]
    for match in range(search.matches.starts[query], search.matches.starts[query + 1]):
        bound = min(bound, search.distances[match])
    low, high = _around(row, bound, margin)
    nearer, near = _count(row, low, high)
    if nearer + near == 0:
        return
    if nearer > 0:
        _, high = _around(row, row[np.argmin(row)], margin)
    for place in range(row.shape[0]):
        if row[place] <= high and row[place] != np.inf:
            exact = _exact_distance(search, query, first + place, rest[place])
            if exact < ranking.nearest_distance[query]:
                ranking.nearest_distance[query] = exact
                ranking.nearest[query] = first + place


@_compiled
def _jaccard(encoding: Encoding, query: int, weight: float, out: NDArray[np.float64]) -> None:
    """`weight` times the Jaccard distance of the query's encoding from each gallery image's; both sum to 1."""
    out[:] = 0
    for entry in range(encoding.query_starts[query], encoding.query_starts[query + 1]):
        column, own = encoding.query_columns[entry], encoding.query_weights[entry]
        for other in range(encoding.column_starts[column], encoding.column_starts[column + 1]):
            out[encoding.column_rows[other]] += min(own, encoding.column_weights[other])
    for position in range(out.shape[0]):
        out[position] = weight * (1 - out[position] / (2 - out[position]))


@_compiled
def _offer(nearest: Nearest, kept: int, image: int, other: int, cosine: float) -> None:
    """Keep the other image where it is near enough, or the farthest so far."""
    if cosine < nearest.lowest[image]:
        nearest.lowest[image] = cosine
        nearest.farthest[image] = other
    if cosine > nearest.least[image] and other != image:
        found = nearest.found[image]
        nearest.cosines[image, found] = cosine
        nearest.indices[image, found] = other
        found += 1
        if found == nearest.cosines.shape[1]:
            nearest.least[image] = _drop(nearest.cosines[image], nearest.indices[image], kept)
            found = kept
        nearest.found[image] = found


@_compiled
def _drop(cosines: NDArray[np.float32], indices: NDArray[np.int32], kept: int) -> float:
    """Move the `kept` nearest to the front, of equal ones those that came first; what is least among them."""
    least = cosines[0]
    room = 0
    for place in range(cosines.shape[0]):
        least = cosines[place]
        below, equal = _count(cosines, least, least)
        room = kept - (cosines.shape[0] - below - equal)
        if 0 < room <= equal:
            break
    found = 0
    for place in range(cosines.shape[0]):
        if cosines[place] == least:
            room -= 1
        if cosines[place] > least or (cosines[place] == least and room >= 0):
            cosines[found], indices[found] = cosines[place], indices[place]
            found += 1
    return float(least)


@_compiled
def _decide_near_ties(
    images: Side,
    others: Side,
    image: int,
    indices: NDArray[np.int32],
    cosines: NDArray[np.float64],
    found: int,
    margin: float,
) -> None:
    """Put runs of sorted neighbours that are nearer to each other than `margin` into the order of float64."""
    begin = 0
    for place in range(1, found + 1):
        if place < found and cosines[place - 1] - cosines[place] <= margin:
            continue
        if place - begin > 1:
            run = indices[begin:place]
            exact = np.empty(run.shape[0])
            for member in range(run.shape[0]):
                exact[member] = _cosine(images, others, image, run[member])
            _sort(run, exact, run.shape[0])
        begin = place


@_compiled
def _search_exactly(
    images: Side,
    others: Side,
    image: int,
    own: int,
    count: int,
    indices: NDArray[np.int32],
    exact: NDArray[np.float64],
) -> int:
    """Find the nearest but `own` anew in float64: too many are as near as the last one that counts; gives the farthest.

    Where all images are near, rounding decided about that, too.
    """
    exact[:count] = -np.inf
    farthest, lowest = 0, np.inf
    for other in range(others.rows.shape[0]):
        if other != own:
            cosine = _cosine(images, others, image, other)
            if cosine > exact[count - 1]:
                indices[count - 1], exact[count - 1] = other, cosine
                _sink(indices, exact, count - 1)
            if cosine < lowest:
                farthest, lowest = other, cosine
    return farthest


@_compiled
def _sort(indices: NDArray[np.int32], cosines: NDArray[np.float64], found: int) -> None:
    """By cosine, largest first, then by index."""
    for place in range(1, found):
        _sink(indices, cosines, place)


@_compiled
def _sink(indices: NDArray[np.int32], cosines: NDArray[np.float64], place: int) -> None:
    """Move one entry forward to where it belongs among those before it."""
    index, cosine = indices[place], cosines[place]
    while place > 0 and (cosines[place - 1] < cosine or (cosines[place - 1] == cosine and indices[place - 1] > index)):
        cosines[place], indices[place] = cosines[place - 1], indices[place - 1]
        place -= 1
    cosines[place], indices[place] = cosine, index
