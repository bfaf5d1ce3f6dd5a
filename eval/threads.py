"""Work on all cores: a thread for each, and matrix products inside of them on one."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController

# For fewer pairs of images than this, starting threads takes longer than the work.
_LEAST_PAIRS = 500_000


class Threads:
    """Runs work over ranges of rows, one range a core; a context manager.

    Args:
        pairs: how many pairs of images are to be compared; a single thread does few of them.

    NumPy's matrix products stay in the thread that asks for them meanwhile: the library's own threads wait for more
    work by spinning, and would take the cores from everything that comes after a product.
    """

    def __init__(self, pairs: int) -> None:
        self._count = _cores() if pairs >= _LEAST_PAIRS else 1
        self._pool = ThreadPoolExecutor(self._count) if self._count > 1 else None
        self._limit = _matrix_libraries().limit(limits=1, user_api="blas")

    def __enter__(self) -> "Threads":
        self._limit.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._limit.__exit__(kind, error, traceback)

    def run(self, work: Callable[..., None], rows: int, *arguments: Any) -> None:
        """Call `work(*arguments, start, stop)` so that the ranges cover `rows`."""
        if self._pool is None:
            work(*arguments, 0, rows)
            return
        edges = [rows * part // self._count for part in range(self._count + 1)]
        futures = [self._pool.submit(work, *arguments, start, stop) for start, stop in pairwise(edges)]
        for future in futures:
            future.result()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _matrix_libraries() -> ThreadpoolController:
    # Looking for them takes as long as a small evaluation; NumPy's is loaded with NumPy, and does not change.
    return ThreadpoolController()
