"""What the trainings of Table 1 say: figures of each gate over its seeds, and differences of gates with their errors.

Two things are left to chance. Which persons were to be found: paired bootstrap by person of the results averaged over
seeds. Which seeds were drawn: the standard error of the differences seed by seed, and Student's t on it. A difference
is resolved where both intervals exclude zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from eval.bootstrap import CONFIDENCE, PairedDifference, mean_paired_difference
from eval.evaluation import Evaluation
from eval.metrics import Metrics
from runtime.manifest import Gate

Distance = Literal["cosine", "reranked"]
Verdict = Literal["resolved", "not resolved", "not resolved beyond these seeds"]

GATES: tuple[Gate, ...] = ("none", "se", "strip")
DISTANCES: tuple[Distance, ...] = ("cosine", "reranked")
FIGURES = ("rank1", "mAP")
PAIRS: tuple[tuple[Gate, Gate], ...] = (("strip", "se"), ("strip", "none"), ("se", "none"))


@dataclass(frozen=True)
class Evaluated:
    """What came of a finished training, re-ranked, too."""

    gate: Gate
    seed: int
    evaluation: Evaluation

    def metrics(self, distance: Distance) -> Metrics:
        """By one of the two distances."""
        reranked = self.evaluation.reranked
        if distance == "cosine" or reranked is None:
            return self.evaluation.metrics
        return reranked


def by_gate(runs: Sequence[Evaluated]) -> dict[Gate, dict[int, Evaluated]]:
    """The runs of each gate by their seed."""
    return {gate: {run.seed: run for run in runs if run.gate == gate} for gate in GATES}


def gate_figures(runs: Sequence[Evaluated]) -> dict[str, Any]:
    """Mean and spread of each gate that has a run; fractions.

    `standard_deviation` is over seeds, None with a single one. `standard_error_persons` is that of the mean over seeds
    for other persons.
    """
    return {
        gate: {
            "seeds": sorted(seeds),
            **{
                distance: {figure: _spread(list(seeds.values()), distance, figure) for figure in FIGURES}
                for distance in DISTANCES
            },
        }
        for gate, seeds in by_gate(runs).items()
        if seeds
    }


def gate_differences(runs: Sequence[Evaluated]) -> dict[str, Any]:
    """Differences of each pair of gates that have seeds in common; fractions."""
    seeds = by_gate(runs)
    return {
        f"{first}-{second}": {
            "seeds": shared,
            **{
                distance: _difference([seeds[first][s] for s in shared], [seeds[second][s] for s in shared], distance)
                for distance in DISTANCES
            },
        }
        for first, second in PAIRS
        if (shared := sorted(seeds[first].keys() & seeds[second].keys()))
    }


def bootstrap_settings(runs: Sequence[Evaluated]) -> dict[str, Any]:
    """How the intervals over persons were made."""
    run = runs[0]
    return {
        **_over_persons([run], [run], "cosine").settings(),
        "seeds": "results are averaged over seeds, query by query, before persons are drawn",
        "gallery": "the same in every resample: the persons drawn bring their queries. Re-ranking is done once, with "
        "all queries and all of the gallery, so that nobody's neighbours change when persons are drawn",
    }


def _spread(runs: Sequence[Evaluated], distance: Distance, figure: str) -> dict[str, Any]:
    metrics = [run.metrics(distance) for run in runs]
    values = [getattr(each, figure) for each in metrics]
    return {
        "mean": mean(values),
        "standard_deviation": stdev(values) if len(values) > 1 else None,
        "standard_error_persons": standard_error_persons(metrics, runs[0].evaluation.run.query.person_ids, figure),
        "runs": values,
    }


def _difference(first: Sequence[Evaluated], second: Sequence[Evaluated], distance: Distance) -> dict[str, Any]:
    over_persons = _over_persons(first, second, distance)
    result: dict[str, Any] = {}
    for figure in FIGURES:
        by_seed = [
            getattr(one.metrics(distance), figure) - getattr(other.metrics(distance), figure)
            for one, other in zip(first, second, strict=True)
        ]
        persons, seeds = over_persons.intervals[figure].to_json(), _over_seeds(by_seed)
        result[figure] = {
            "difference": persons.pop("difference"),
            "persons": persons,
            "seeds": seeds,
            "verdict": verdict(persons, seeds),
        }
    return result


def verdict(persons: Mapping[str, Any], seeds: Mapping[str, Any]) -> Verdict:
    """From the two intervals' `resolved` to a word."""
    if not persons["resolved"]:
        return "not resolved"
    return "resolved" if seeds["resolved"] else "not resolved beyond these seeds"


def _over_persons(first: Sequence[Evaluated], second: Sequence[Evaluated], distance: Distance) -> PairedDifference:
    one, other = ([run.metrics(distance).per_query for run in runs] for runs in (first, second))
    return mean_paired_difference(one, other, first[0].evaluation.run.query.person_ids)


def _over_seeds(differences: Sequence[float]) -> dict[str, Any]:
    """Student's interval of a mean; of a single seed nothing is known."""
    if len(differences) < 2:
        return {"differences": list(differences), "standard_error": None, "low": None, "high": None, "resolved": False}
    error = stdev(differences) / sqrt(len(differences))
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1)) * error
    low, high = mean(differences) - margin, mean(differences) + margin
    return {
        "differences": list(differences),
        "standard_error": error,
        "low": low,
        "high": high,
        "resolved": bool(low > 0 or high < 0),
    }


def standard_error_persons(metrics: Sequence[Metrics], person_ids: NDArray[np.int64], figure: str) -> float:
    """Standard error of a figure, averaged over runs, for other persons, who bring all their queries.

    Args:
        metrics: of at least one run on the same Q queries.
        person_ids: (Q,), who is in each query.
        figure: "rank1" or "mAP".
    """
    valid = metrics[0].per_query.valid
    results = np.mean([_results(each, figure) for each in metrics], axis=0)[valid]
    persons, person = np.unique(person_ids[valid], return_inverse=True)
    deviations = np.bincount(person, weights=results - results.mean())
    return float(sqrt(len(persons) / (len(persons) - 1) * np.square(deviations).sum()) / len(results))


def _results(metrics: Metrics, figure: str) -> NDArray[np.float64]:
    per_query = metrics.per_query
    hits = per_query.first_match == 1 if figure == "rank1" else per_query.average_precision
    return np.asarray(hits, np.float64)
