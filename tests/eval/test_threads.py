"""Threads share the rows, pass errors on, and leave the machine as it was."""

import errno
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from eval.threads import Threads, _matrix_libraries
from runtime.errors import InputError


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("rows", [0, 1, 2, 10])
def test_every_row_is_worked_on_once(monkeypatch: pytest.MonkeyPatch, cores: int, rows: int) -> None:
    monkeypatch.setattr("eval.threads._cores", lambda: cores)
    done = np.zeros(rows, int)

    def work(step: int, start: int, stop: int) -> None:
        done[start:stop] += step

    with Threads(10**9) as threads:
        threads.run(work, rows, 2)
    assert done.tolist() == [2] * rows


def matrix_threads() -> list[int]:
    """Of the libraries there were when they were first looked for; SciPy's may have come since, and is not used."""
    return [library["num_threads"] for library in _matrix_libraries().info()]


@pytest.mark.parametrize("cores", [1, 3])
def test_an_error_is_passed_on_and_matrix_libraries_get_their_threads_back(
    monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr("eval.threads._cores", lambda: cores)
    before = matrix_threads()

    def work(start: int, stop: int) -> None:
        assert matrix_threads() == ([1] * len(before) if cores > 1 else before)
        raise ValueError(stop)

    with pytest.raises(ValueError, match=r"\d"), Threads(10**9) as threads:
        threads.run(work, 9)
    assert matrix_threads() == before


def test_evaluations_in_two_threads_leave_the_matrix_libraries_their_threads() -> None:
    before = matrix_threads()
    with ThreadPoolExecutor(2) as pool:
        inside = list(pool.map(lambda _: _threads_inside(), range(8)))
    assert inside == [[1] * len(before)] * 8
    assert matrix_threads() == before


def _threads_inside() -> list[int]:
    with Threads(10**9) as threads:
        threads.run(lambda start, stop: None, 100)
        return matrix_threads()


def test_there_are_as_many_threads_as_matrix_products_may_have() -> None:
    ranges = []
    with threadpool_limits(1, user_api="blas"), Threads(10**9) as threads:
        threads.run(lambda start, stop: ranges.append((start, stop)), 100)
    assert ranges == [(0, 100)]


def test_code_that_cannot_be_kept_is_an_error_that_says_so() -> None:
    def full(start: int, stop: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"No space left on device.*NUMBA_CACHE_DIR"), Threads(1) as threads:
        threads.run(full, 1)


def test_kernels_are_compiled_where_no_cache_can_be_written(repository: Path, tmp_path: Path) -> None:
    """Files stand where folders for the cache would be made, which stops the administrator, too."""
    for room in ("eval", "runtime"):
        shutil.copytree(repository / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
        (tmp_path / room / "__pycache__").touch()
    no_folder = str(tmp_path / "eval" / "__init__.py" / "below")
    environment = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "IPYTHONDIR"), no_folder)
    code = (
        "import logging; logging.basicConfig(level=logging.DEBUG)\n"
        "import numpy as np, eval.kernels as kernels\n"
        "out = np.empty(2)\n"
        "kernels.squared_lengths(np.ones((2, 3), np.float32), out, 0, 2)\n"
        "print(out, kernels.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[3.", "3.]", str(tmp_path / "eval" / "kernels.py")]
    assert "compiling in every process" in done.stderr
