"""What `evaluation.py` makes of its measurements: medians, ratios, agreement and growth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from evaluation_contenders import CONTENDERS, Contender

Run = dict[str, Any]


def summarise(runs: Mapping[str, Sequence[Run]], kept: Path) -> dict[str, Any]:
    """Everything that is said of one size.

    Args:
        runs: of each contender, one per round, as `evaluation_process.measure` gives them.
        kept: folder with the first rows of the re-ranked matrices, NAME.npz.
    """
    return {
        "contenders": {name: contender_summary(its) for name, its in runs.items()},
        "ratios": {f"{ours} / {other}": ratio(runs[ours], runs[other]) for ours, other in _ratios(runs)},
        "agreement": {f"{ours} - {other}": _agreement(ours, other, runs, kept) for ours, other in _comparable(runs)},
    }


def contender_summary(runs: Sequence[Run]) -> dict[str, Any]:
    """All wall times in seconds, their median, the largest memory in 10^6 bytes, and the figures of the first run."""
    seconds = [run["seconds"] for run in runs]
    summary: dict[str, Any] = {"median_seconds": median(seconds), "seconds": seconds, "calls": runs[0]["calls"]}
    for name in ("peak_mb", "features_mb", "ready_mb"):
        summary[name] = max(run[name] for run in runs)
    if "figures" in runs[0]:
        summary["figures"] = runs[0]["figures"]
    return summary


def ratio(ours: Sequence[Run], other: Sequence[Run]) -> dict[str, Any]:
    """Of the medians, and of the rounds in which both ran."""
    rounds = [one["seconds"] / two["seconds"] for one, two in zip(ours, other, strict=False)]
    of_medians = median(run["seconds"] for run in ours) / median(run["seconds"] for run in other)
    by_round = {"min": min(rounds), "median": median(rounds), "max": max(rounds), "count": len(rounds)}
    return {"of_medians": of_medians, "rounds": by_round}


def growth(runs: Mapping[int, Mapping[str, Sequence[Run]]], queries: int) -> dict[str, Any]:
    """Time and memory of each contender at gallery sizes, and, of two and more, the power of the size that they follow.

    Args:
        runs: by gallery size, then by contender.
        queries: how many there were, the same at every size; all pairs are of queries and gallery together.
    """
    sizes = sorted(runs)
    images = [size + queries for size in sizes]
    result: dict[str, Any] = {}
    for name in runs[sizes[0]]:
        each = [contender_summary(runs[size][name]) for size in sizes]
        seconds = [one["median_seconds"] for one in each]
        result[name] = {"gallery": dict(zip(map(str, sizes), each, strict=True))}
        # One size has no power.
        if len(sizes) > 1:
            result[name] |= {
                "seconds_power_of_gallery": exponent(sizes, seconds),
                "seconds_power_of_images": exponent(images, seconds),
                "memory_power_of_gallery": exponent(sizes, [max(one["peak_mb"], 1.0) for one in each]),
            }
    return result


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of a straight line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _ours(contender: Contender) -> str:
    return "rerank" if contender.reranks else "metrics"


def _ratios(runs: Mapping[str, Sequence[Run]]) -> list[tuple[str, str]]:
    pairs = [("metrics", "product"), ("rerank", "pairs-product"), ("rerank-metrics", "pairs-product")]
    pairs += [(_ours(contender), contender.name) for contender in CONTENDERS if contender.peer]
    return [pair for pair in pairs if runs.keys() >= set(pair)]


def _comparable(runs: Mapping[str, Sequence[Run]]) -> list[tuple[str, str]]:
    pairs = [(_ours(one), one.name) for one in CONTENDERS if one.peer and one.flavour == "d2"]
    return [pair for pair in [*pairs, ("rerank", "rerank-metrics")] if runs.keys() >= set(pair)]


def _agreement(ours: str, other: str, runs: Mapping[str, Sequence[Run]], kept: Path) -> dict[str, float]:
    """Largest differences: of each figure that both give, and of an element in the first rows of two matrices."""
    mine, theirs = runs[ours][0]["figures"], runs[other][0]["figures"]
    differences = {name: abs(mine[name] - theirs[name]) for name in mine if name in theirs}
    files = [kept / f"{name}.npz" for name in (ours, other)]
    if all(file.exists() for file in files):
        left, right = (np.load(file)["rows"].astype(np.float64) for file in files)
        differences["matrix_rows"] = float(np.abs(left - right).max())
    return differences
