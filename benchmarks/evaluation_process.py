"""Time and memory of one contender, in the process that runs this and does nothing else.

Peak memory is the kernel's own high-water mark of resident memory (Linux), reset just before the first measured call:
no sampling thread takes time from what is measured or misses a short peak. What came before stays out of it: Python,
the imports, the features, and a warm-up on a small problem that compiles kernels and starts threads.
"""

import ctypes
import gc
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from evaluation_contenders import contender_named, figures_of, problem_for
from evaluation_features import Problem, Size, generate, load
from evaluation_peers import Call, Outcome

# Calls are repeated until they took this long together, and the median is kept: one call at most sizes.
LEAST_SECONDS = 1.0
KEPT_ROWS = 200

_WARM_UP = {"persons": 40, "queries": 100, "gallery": 800, "cameras": 4, "distractors": 80, "junk": 40}
_MEGABYTE = 1e6


def measure(
    name: str,
    features: Path,
    folders: Mapping[str, Path],
    queries: int | None = None,
    gallery: int | None = None,
    rows: Path | None = None,
) -> dict[str, Any]:
    """Run a contender and say how long it took and what memory.

    Args:
        name: of the contender.
        features: the feature set's file.
        folders: of the peers.
        queries: take the first so many only.
        gallery: likewise, of those that are not junk.
        rows: where to write the first 200 rows and the mean of a re-ranked matrix; also asks for its figures.

    Returns:
        `seconds` (median call), `calls`, `features_mb` (resident with the features loaded, before the warm-up),
        `ready_mb` (after it), `peak_mb` (the most above `ready_mb`), all in 10^6 bytes; `figures` where it gives any.
    """
    contender = contender_named(name)
    problem = problem_for(contender, load(features).subset(queries, gallery))
    loaded = _resident("VmRSS")
    warm_up = generate(Size(elements=problem.query.features.shape[1], **_WARM_UP))
    contender.prepare(problem_for(contender, warm_up), folders)()
    del warm_up
    call = contender.prepare(problem, folders)
    _let_go()
    # The kernel takes a 5 as the order to lower the high-water mark to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    ready = _resident("VmRSS")
    seconds, outcome = _time(call)
    return {
        "seconds": median(seconds),
        "calls": len(seconds),
        "features_mb": loaded,
        "ready_mb": ready,
        "peak_mb": _resident("VmHWM") - ready,
        **_describe(outcome, problem, rows),
    }


def _time(call: Call) -> tuple[list[float], Outcome]:
    seconds: list[float] = []
    while sum(seconds) < LEAST_SECONDS:
        outcome: Outcome = None
        start = time.perf_counter()
        outcome = call()
        seconds.append(time.perf_counter() - start)
    return seconds, outcome


def _describe(outcome: Outcome, problem: Problem, rows: Path | None) -> dict[str, Any]:
    if isinstance(outcome, dict):
        return {"figures": outcome}
    if outcome is None or rows is None:
        return {}
    from eval.metrics import evaluate_distances

    mean = float(outcome.mean(dtype=np.float64))
    np.savez(rows, rows=outcome[:KEPT_ROWS], mean=mean)
    metrics = evaluate_distances(outcome, problem.query, problem.gallery)
    return {"figures": {**figures_of(metrics), "matrix_mean": mean}}


def _let_go() -> None:
    """Give freed memory back to the kernel, so that the call pays again for what the warm-up used."""
    gc.collect()
    if hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def _resident(field: str) -> float:
    """`VmRSS` or `VmHWM` in 10^6 bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / _MEGABYTE
    raise RuntimeError(f"/proc/self/status has no {field}")
