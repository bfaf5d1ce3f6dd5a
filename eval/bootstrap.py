"""Whether two runs on the same queries differ by more than the choice of persons explains.

The percentile bootstrap of Efron & Tibshirani (An Introduction to the Bootstrap, 1993, chapter 13) on the differences
query by query. Persons are drawn, with replacement, and bring all their queries: the queries of one person succeed and
fail together, so that drawing single queries would give intervals that are too narrow.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError

from .metrics import PerQuery

FIGURES = ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP")
CONFIDENCE = 0.95
RESAMPLES = 10_000

_BLOCK_ELEMENTS = 500_000
_DECIMALS = 12


@dataclass(frozen=True)
class Interval:
    """The difference of a figure between two runs, and where it lies with `CONFIDENCE`; fractions in -1..1.

    Attributes:
        difference: first run minus second.
        low: lower end of the interval.
        high: upper end.
    """

    difference: float
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, float | bool]:
        """The attributes, and `resolved`."""
        return {**asdict(self), "resolved": self.resolved}


@dataclass(frozen=True)
class PairedDifference:
    """How two runs on the same queries differ.

    Each interval is of its own figure: of six figures that do not differ, one is "resolved" by chance more often than
    one of a single figure is.

    Attributes:
        intervals: by `FIGURES`.
        queries: valid queries.
        persons: of those queries; what was drawn.
        resamples: how often.
        seed: of the drawing.
    """

    intervals: Mapping[str, Interval]
    queries: int
    persons: int
    resamples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Intervals by figure, as fractions."""
        return {name: interval.to_json() for name, interval in self.intervals.items()}

    def settings(self) -> dict[str, Any]:
        """How the intervals were made."""
        return {
            "method": "paired percentile bootstrap, resampled by person",
            "confidence": CONFIDENCE,
            "resamples": self.resamples,
            "seed": self.seed,
            "persons": self.persons,
        }


def paired_difference(
    first: PerQuery,
    second: PerQuery,
    person_ids: NDArray[np.int64],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Subtract one run's figures from another's, with confidence intervals.

    A figure of a resample is the mean over its valid queries, so that persons with many queries weigh more, as they do
    in the figure itself. Persons without a valid query are not drawn.

    Args:
        first: of Q queries.
        second: of the same queries, searched in a gallery with the same labels.
        person_ids: (Q,), who is in each query.
        resamples: how often as many persons are drawn as there are; at least 1.
        seed: of the drawing; the same seed draws the same persons, row by row from `numpy.random.default_rng`.

    Raises:
        InputError: the runs are of different queries, or there are fewer than two persons.
    """
    return mean_paired_difference([first], [second], person_ids, resamples=resamples, seed=seed)


def mean_paired_difference(
    first: Sequence[PerQuery],
    second: Sequence[PerQuery],
    person_ids: NDArray[np.int64],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Subtract the mean figures of some runs from those of others: of networks trained with several seeds, say.

    Results are averaged query by query before persons are drawn, so that the intervals say how far the choice of
    persons explains the difference of these very runs. What further seeds would have given they do not know.

    Args:
        first: at least one run of Q queries.
        second: likewise, of the same queries; not necessarily as many runs.
        person_ids: as for `paired_difference`, like the rest.
        resamples: likewise.
        seed: likewise.

    Raises:
        InputError: as `paired_difference`, or one of the two has no run.
    """
    if not first or not second:
        raise InputError(f"bootstrap: {len(first)} and {len(second)} runs; expected at least one of each")
    valid = first[0].valid
    for run in (*first[1:], *second):
        _check_valid(valid, run.valid, person_ids)
    if resamples < 1:
        raise InputError(f"bootstrap: {resamples} resamples; expected at least 1")
    persons, person = np.unique(person_ids[valid], return_inverse=True)
    if len(persons) < 2:
        raise InputError(
            f"the {len(person)} queries with a match show {len(persons)} person(s); a confidence interval resamples "
            "persons and needs at least two, better hundreds: evaluate both runs on more people"
        )
    differences = (_mean_by_query(first) - _mean_by_query(second))[valid]
    intervals = _intervals(differences, person, resamples, seed)
    return PairedDifference(intervals, len(person), len(persons), resamples, seed)


def _intervals(
    differences: NDArray[np.float64], person: NDArray[np.int64], resamples: int, seed: int
) -> dict[str, Interval]:
    """Of (Q, 6) differences; `person` (Q,) counts from 0."""
    queries = np.bincount(person).astype(np.float64)
    sums = np.stack([np.bincount(person, weights=column) for column in differences.T], axis=1)
    resampled = np.concatenate(
        [(counts @ sums) / (counts @ queries)[:, None] for counts in _draw(len(queries), resamples, seed)]
    )
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
    # The thirds of a mean over three runs do not cancel exactly: a bound of 1e-17 is zero, and does not exclude it.
    columns = np.round([differences.mean(axis=0), low, high], _DECIMALS).T + 0.0  # nor is it -0
    return {name: Interval(*column) for name, column in zip(FIGURES, columns.tolist(), strict=True)}


def _mean_by_query(runs: Sequence[PerQuery]) -> NDArray[np.float64]:
    return np.asarray(np.mean([_by_query(run) for run in runs], axis=0))


def _by_query(run: PerQuery) -> NDArray[np.float64]:
    """What each query adds to the figures: (Q, 6), columns as `FIGURES`."""
    hits = [run.first_match <= rank for rank in (1, 5, 10, 20)]
    return np.stack([*hits, run.average_precision, run.inverse_negative_penalty], axis=1, dtype=np.float64)


def _draw(persons: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each person was drawn: blocks of rows that sum to `persons`, (B, persons)."""
    generator = np.random.default_rng(seed)
    height = max(1, _BLOCK_ELEMENTS // persons)
    for start in range(0, resamples, height):
        rows = min(height, resamples - start)
        drawn = generator.integers(persons, size=(rows, persons))
        drawn += np.arange(rows)[:, None] * persons
        yield np.bincount(drawn.ravel(), minlength=rows * persons).reshape(rows, persons).astype(np.float64)


def _check_valid(first: NDArray[np.bool_], second: NDArray[np.bool_], person_ids: NDArray[np.int64]) -> None:
    if not len(first) == len(second) == len(person_ids):
        raise InputError(
            f"runs of {len(first)} and {len(second)} queries with {len(person_ids)} person ids; expected as many of "
            "each: the same queries in the same order"
        )
    different = np.flatnonzero(first != second)
    if different.size:
        row = different[0]
        one, other = ("a match" if run[row] else "no match" for run in (first, second))
        raise InputError(
            f"{different.size} of {len(first)} queries have a match in one run only, the first is row {row}: {one} in "
            f"the first run, {other} in the second; evaluate both on galleries with the same persons and cameras"
        )
