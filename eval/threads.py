"""Work on all cores: a thread for each, and matrix products inside of them on one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from runtime.errors import InputError

# For fewer pairs of images than this, starting threads takes longer than the work.
_LEAST_PAIRS = 500_000


# An evaluation takes all threads; another one in the same process waits for it.
_ONE_AT_A_TIME = RLock()


class Threads:
    """Runs work over ranges of rows, one range a thread; a context manager.

    There are as many threads as NumPy's matrix products would have (`OMP_NUM_THREADS` or `OPENBLAS_NUM_THREADS` limits
    both). Where there are several, products stay in the thread that asks for them: the library's own threads wait for
    more work by spinning, and would take the cores from everything that comes after a product.

    Args:
        pairs: how many pairs of images are to be compared; a single thread does few of them.
    """

    def __init__(self, pairs: int) -> None:
        self._pairs = pairs
        self._count = 1
        self._resources = ExitStack()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> "Threads":
        with ExitStack() as resources:
            resources.enter_context(_ONE_AT_A_TIME)
            self._count = _cores() if self._pairs >= _LEAST_PAIRS else 1
            if self._count > 1:
                resources.enter_context(_matrix_libraries().limit(limits=1))
                self._pool = ThreadPoolExecutor(self._count)
                resources.callback(self._pool.shutdown, cancel_futures=True)
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def run(self, work: Callable[..., None], rows: int, *arguments: Any) -> None:
        """Call `work(*arguments, start, stop)` so that the ranges cover `rows`.

        Raises:
            InputError: what was compiled could not be kept.
        """
        try:
            self._run(work, rows, arguments)
        except OSError as error:  # the only files there are here
            raise InputError(
                f"compiled code could not be kept ({error}); free space there, or name another folder with "
                "NUMBA_CACHE_DIR"
            ) from error

    def _run(self, work: Callable[..., None], rows: int, arguments: tuple[Any, ...]) -> None:
        if self._pool is None:
            work(*arguments, 0, rows)
            return
        edges = [rows * part // self._count for part in range(self._count + 1)]
        futures = [self._pool.submit(work, *arguments, start, stop) for start, stop in pairwise(edges)]
        for future in futures:
            future.result()


def _cores() -> int:
    return max((library.num_threads for library in _matrix_libraries().lib_controllers), default=1)


@cache
def _matrix_libraries() -> ThreadpoolController:
    # Looking for them takes as long as a small evaluation; NumPy's is loaded with NumPy, and does not change.
    libraries = ThreadpoolController().select(user_api="blas")
    # A wheel of NumPy brings one of its own. Those of other packages (FAISS) make none of our products, and one built
    # with OpenMP would not keep to a limit in another thread than the one that set it.
    folder = Path(np.__file__).parents[1] / "numpy.libs"
    own = [each.filepath for each in libraries.lib_controllers if Path(each.filepath).parent == folder]
    return libraries.select(filepath=own) if own else libraries
