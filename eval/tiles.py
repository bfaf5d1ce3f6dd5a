"""Products of queries and gallery images, tile by tile: each is worked on while it is in memory, and none is kept."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from runtime.progress import progress

from .kernels import Side, gather_unit
from .threads import Threads

# A tile of so many queries by gallery images takes 16 MB.
_TILE_QUERIES = 4096
_TILE_IMAGES = 1024

# Works on a tile: called with it, its first query, its first image, and the rows to work on (from, to).
OnRows = Callable[[NDArray[np.float32], int, int, int, int], None]


def compare_tiles(query: Side, gallery: Side, threads: Threads, title: str, on_rows: OnRows) -> None:
    """Make the cosines of all queries and gallery images, a tile at a time.

    Args:
        query: Q positions.
        gallery: G positions.
        threads: to work with.
        title: of the progress bar.
        on_rows: is given (queries, positions) float32 cosines, which it may overwrite. Called from several threads,
            each with rows of its own.
    """
    queries, images, elements = len(query.rows), len(gallery.rows), query.features.shape[1]
    left = np.empty((min(queries, _TILE_QUERIES), elements), np.float32)
    right = np.empty((min(images, _TILE_IMAGES), elements), np.float32)
    products = np.empty(len(left) * len(right), np.float32)
    tiles = [(q, g) for q in range(0, queries, _TILE_QUERIES) for g in range(0, images, _TILE_IMAGES)]
    # Making a progress bar takes as long as a small tile.
    for first_query, first in progress(tiles, title, unit="tile") if len(tiles) > 1 else tiles:
        if first == 0:
            unit_queries = left[: min(len(left), queries - first_query)]
            threads.run(gather_unit, len(unit_queries), query, first_query, unit_queries)
        unit_images = right[: min(len(right), images - first)]
        threads.run(gather_unit, len(unit_images), gallery, first, unit_images)
        cosines = products[: len(unit_queries) * len(unit_images)].reshape(len(unit_queries), len(unit_images))
        threads.run(_compare_rows, len(cosines), unit_queries, unit_images, cosines, first_query, first, on_rows)


def _compare_rows(
    queries: NDArray[np.float32],
    images: NDArray[np.float32],
    cosines: NDArray[np.float32],
    first_query: int,
    first: int,
    on_rows: OnRows,
    start: int,
    stop: int,
) -> None:
    np.matmul(queries[start:stop], images.T, out=cosines[start:stop])
    on_rows(cosines, first_query, first, start, stop)
