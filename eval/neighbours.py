"""The nearest images, tile by tile: of every image, from half of all products; or of queries in a gallery."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from runtime.progress import progress

from .features import product_margin
from .kernels import Nearest, Side, offer_columns_to_rows, offer_rows_to_columns, settle
from .threads import Threads
from .tiles import compare_tiles

# Kept beyond those asked for, so that near-ties at the end of the list can be decided.
_SPARE = 8

# What is done with a tile besides: called with it, its first row and its first column.
OnTile = Callable[[NDArray[np.float32], int, int], None]


def find_nearest(
    images: Side, count: int, tile: tuple[int, int], threads: Threads, on_tile: OnTile | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The nearest other images of each image, by cosine, then by index.

    Args:
        images: N, all of them, of unit length but for rounding; see `eval.features.unit_side`.
        count: how many of each, at most N - 1.
        tile: rows and columns of the products that are made at a time.
        threads: to work with.
        on_tile: is given the tiles of the upper triangle, a few rows at a time: (rows, columns) of cosines, the first
            row and the first column. Called from several threads.

    Returns:
        (N, count) int32 the nearest of each, in order; and (N,) int32 the farthest.
    """
    features, total = images.features, len(images.features)
    kept = min(count + _SPARE, total - 1)
    nearest = _nothing_found(total, kept, total - 1)
    products = np.empty(min(tile[0], total) * min(max(tile), total), np.float32)
    for row, column in progress(_corners(total, tile), "finding neighbours", unit="tile"):
        rows = features[row : row + tile[0]]
        columns = rows if row == column else features[column : column + tile[1]]
        cosines = products[: len(rows) * len(columns)].reshape(len(rows), len(columns))
        threads.run(_offer_to_rows, len(rows), rows, columns, cosines, row, column, nearest, kept, on_tile)
        if row != column:
            threads.run(offer_rows_to_columns, len(columns), cosines, row, column, nearest, kept)
    lists = np.empty((total, count), np.int32)
    threads.run(settle, total, images, images, 0, nearest, count, product_margin(features.shape[1]), lists)
    return lists, nearest.farthest


def find_nearest_in_gallery(query: Side, gallery: Side, count: int, threads: Threads) -> NDArray[np.int32]:
    """The nearest gallery images of each query, by cosine, then by position.

    Args:
        query: Q positions.
        gallery: G positions.
        count: how many of each, 1 to G.
        threads: to work with.

    Returns:
        (Q, count) int32 positions in the gallery, the nearest first.
    """
    queries, images = len(query.rows), len(gallery.rows)
    kept = min(count + _SPARE, images)
    nearest = _nothing_found(queries, kept, images)

    # Numbered after the queries, no gallery image is taken for the query itself.
    def offer(cosines: NDArray[np.float32], first_query: int, first: int, start: int, stop: int) -> None:
        offer_columns_to_rows(cosines, first_query, queries + first, nearest, kept, start, stop)

    compare_tiles(query, gallery, threads, "finding neighbours", offer)
    lists = np.empty((queries, count), np.int32)
    margin = product_margin(query.features.shape[1])
    threads.run(settle, queries, query, gallery, queries, nearest, count, margin, lists)
    return lists


def _corners(images: int, tile: tuple[int, int]) -> list[tuple[int, int]]:
    """First row and column of each tile of the upper triangle."""
    height, width = tile
    starts = range(0, images, height)
    # The squares on the diagonal come first: once every image has seen some others, few of the rest are worth keeping.
    return [(row, row) for row in starts] + [
        (row, column) for row in starts for column in range(row + height, images, width)
    ]


def _nothing_found(images: int, kept: int, others: int) -> Nearest:
    # Room for as many again, so that the nearest are rarely sorted out; more than there are others never fill it.
    room = min(2 * kept + 8, others + 1)
    return Nearest(
        np.empty((images, room), np.float32),
        np.empty((images, room), np.int32),
        np.zeros(images, np.int32),
        np.full(images, -np.inf, np.float32),
        np.zeros(images, np.int32),
        np.full(images, np.inf, np.float32),
    )


def _offer_to_rows(
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    cosines: NDArray[np.float32],
    row: int,
    column: int,
    nearest: Nearest,
    kept: int,
    on_tile: OnTile | None,
    start: int,
    stop: int,
) -> None:
    np.matmul(rows[start:stop], columns.T, out=cosines[start:stop])
    if on_tile is not None:
        on_tile(cosines[start:stop], row + start, column)
    offer_columns_to_rows(cosines, row, column, nearest, kept, start, stop)
