"""Confidence intervals of the difference of two runs: against plain loops, on data whose truth is known, refusals."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from eval import bootstrap
from eval.bootstrap import FIGURES, Interval, mean_paired_difference, paired_difference
from eval.metrics import PerQuery
from runtime.errors import InputError


def make_run(random: np.random.Generator, valid: NDArray[np.bool_]) -> PerQuery:
    queries = len(valid)
    return PerQuery(
        valid,
        np.where(valid, random.uniform(0.01, 1, queries), np.nan),
        np.where(valid, random.uniform(0.01, 1, queries), np.nan),
        np.where(valid, random.integers(1, 30, queries), 0),
        np.full(queries, 3),
    )


def figure(run: PerQuery, name: str, row: int) -> float:
    if name.startswith("rank"):
        return float(run.first_match[row] <= int(name[4:]))
    return float((run.average_precision if name == "mAP" else run.inverse_negative_penalty)[row])


def by_loops(
    first: PerQuery, second: PerQuery, person_ids: Sequence[int], resamples: int, seed: int
) -> dict[str, list[float]]:
    """Differences of the resamples, one step at a time."""
    queries_of: dict[int, list[int]] = {}
    for row, person in enumerate(person_ids):
        if first.valid[row]:
            queries_of.setdefault(person, []).append(row)
    persons = sorted(queries_of)
    drawn = np.random.default_rng(seed).integers(len(persons), size=(resamples, len(persons)))
    differences: dict[str, list[float]] = {name: [] for name in FIGURES}
    for resample in drawn.tolist():
        rows = [row for index in resample for row in queries_of[persons[index]]]
        for name in FIGURES:
            means = [sum(figure(run, name, row) for row in rows) / len(rows) for run in (first, second)]
            differences[name].append(means[0] - means[1])
    return differences


@pytest.mark.parametrize("block", [1, 100, 2_000_000])
def test_the_intervals_are_those_of_plain_loops(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_BLOCK_ELEMENTS", block)
    random = np.random.default_rng(1)
    person_ids = random.integers(5, 25, 70)
    person_ids[random.random(70) < 0.1] = 77
    valid = (random.random(70) < 0.8) & (person_ids != 77)
    first, second = make_run(random, valid), make_run(random, valid)
    result = paired_difference(first, second, person_ids, resamples=203, seed=4)
    expected = by_loops(first, second, person_ids.tolist(), 203, 4)
    assert (result.queries, result.persons) == (valid.sum(), len(set(person_ids[valid].tolist())))
    assert tuple(result.intervals) == FIGURES
    for name, interval in result.intervals.items():
        values = [figure(first, name, row) - figure(second, name, row) for row in np.flatnonzero(valid)]
        assert interval.difference == pytest.approx(sum(values) / len(values), abs=1e-12)
        assert interval.low == pytest.approx(np.percentile(expected[name], 2.5), abs=1e-12)
        assert interval.high == pytest.approx(np.percentile(expected[name], 97.5), abs=1e-12)
        assert interval.low <= interval.high


def test_the_interval_covers_the_truth_as_often_as_it_says_and_only_by_persons() -> None:
    """Queries of one person share a difference; drawn one by one, they would pretend to know more than they do."""
    random = np.random.default_rng(2)
    truth, repeats = 0.03, 400
    covered = {"persons": 0, "queries": 0}
    for _ in range(repeats):
        person_ids = np.repeat(np.arange(1, 61), random.integers(1, 9, 60))
        second = make_run(random, np.ones(len(person_ids), np.bool_))
        shared = random.normal(truth, 0.1, 61)[person_ids]
        difference = shared + random.normal(0, 0.03, len(person_ids))
        first = replace(second, average_precision=second.average_precision + difference)
        for drawn, ids in (("persons", person_ids), ("queries", np.arange(len(person_ids)))):
            interval = paired_difference(first, second, ids, resamples=500).intervals["mAP"]
            covered[drawn] += interval.low <= truth <= interval.high
    assert 0.91 <= covered["persons"] / repeats <= 0.97
    assert covered["queries"] / repeats < 0.75


def test_several_runs_are_averaged_query_by_query_before_persons_are_drawn() -> None:
    random = np.random.default_rng(6)
    person_ids = random.integers(0, 12, 50)
    valid = random.random(50) < 0.8
    first, second = ([make_run(random, valid) for _ in range(count)] for count in (3, 2))
    result = mean_paired_difference(first, second, person_ids, resamples=150, seed=9)
    # The mean of a resample is that of the runs' own, so that loops over single runs give it, too.
    single = [by_loops(one, other, person_ids.tolist(), 150, 9) for one in first for other in second]
    for name, interval in result.intervals.items():
        resampled = np.mean([loops[name] for loops in single], axis=0)
        assert (interval.low, interval.high) == pytest.approx(np.percentile(resampled, [2.5, 97.5]), abs=1e-12)
        values = [figure(run, name, row) for run in first for row in np.flatnonzero(valid)]
        others = [figure(run, name, row) for run in second for row in np.flatnonzero(valid)]
        assert interval.difference == pytest.approx(np.mean(values) - np.mean(others), abs=1e-12)


def test_no_runs_and_a_run_of_other_queries_among_several_are_refused() -> None:
    random = np.random.default_rng(7)
    run, other = make_run(random, np.ones(6, np.bool_)), make_run(random, np.arange(6) < 5)
    with pytest.raises(InputError, match="0 and 1 runs"):
        mean_paired_difference([], [run], np.arange(6))
    with pytest.raises(InputError, match="1 of 6 queries have a match in one run only"):
        mean_paired_difference([run, other], [run], np.arange(6))


def test_identical_runs_differ_by_exactly_nothing() -> None:
    run = make_run(np.random.default_rng(0), np.ones(40, np.bool_))
    result = paired_difference(run, run, np.arange(40) // 4, resamples=50)
    assert set(result.intervals.values()) == {Interval(0.0, 0.0, 0.0)}
    assert not any(interval.resolved for interval in result.intervals.values())


def test_thirds_that_cancel_leave_an_interval_of_zero() -> None:
    """Each person gains a third on one query and loses it on the other; in floats, 1 - 2/3 is more than 1/3 - 0."""
    template = make_run(np.random.default_rng(8), np.ones(40, np.bool_))

    def runs(hits: Sequence[tuple[bool, bool]]) -> list[PerQuery]:
        return [replace(template, first_match=np.where(np.tile(run, 20), 1, 30)) for run in hits]

    first, second = runs([(True, False)] * 3), runs([(True, True), (True, False), (False, False)])
    for ours, theirs in ((first, second), (second, first)):
        interval = mean_paired_difference(ours, theirs, np.arange(40) // 2, resamples=50).intervals["rank1"]
        assert str(interval.to_json()) == "{'difference': 0.0, 'low': 0.0, 'high': 0.0, 'resolved': False}"


def test_exchanging_the_runs_mirrors_the_intervals() -> None:
    random = np.random.default_rng(3)
    first, second = (make_run(random, np.ones(60, np.bool_)) for _ in range(2))
    person_ids = np.arange(60) // 3
    forward, backward = (paired_difference(*runs, person_ids) for runs in ((first, second), (second, first)))
    for name in FIGURES:
        one, other = forward.intervals[name], backward.intervals[name]
        assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))


def test_resolved_is_an_interval_without_zero() -> None:
    assert Interval(0.2, 0.1, 0.3).resolved
    assert Interval(-0.2, -0.3, -0.1).resolved
    assert not Interval(0.2, 0.0, 0.3).resolved
    assert not Interval(0.0, -0.1, 0.1).resolved


def test_a_plain_gain_is_resolved() -> None:
    second = make_run(np.random.default_rng(5), np.ones(100, np.bool_))
    first = replace(second, average_precision=second.average_precision + 0.01)
    interval = paired_difference(first, second, np.arange(100) // 5).intervals["mAP"]
    assert interval.resolved
    assert (interval.difference, interval.low, interval.high) == pytest.approx((0.01, 0.01, 0.01))


def test_what_cannot_be_compared_is_refused() -> None:
    valid = np.ones(6, np.bool_)
    run = make_run(np.random.default_rng(0), valid)
    person_ids = np.array([1, 1, 2, 2, 3, 3])
    valid_elsewhere = valid.copy()
    valid_elsewhere[[3, 5]] = False
    other = make_run(np.random.default_rng(0), valid_elsewhere)
    with pytest.raises(InputError, match=r"2 of 6 queries .* the first is row 3: a match in the first run, no match"):
        paired_difference(run, other, person_ids)
    with pytest.raises(InputError, match="runs of 6 and 6 queries with 5 person ids"):
        paired_difference(run, run, person_ids[1:])
    with pytest.raises(InputError, match=r"6 queries with a match show 1 person\(s\)"):
        paired_difference(run, run, np.full(6, 4))
    with pytest.raises(InputError, match="0 resamples"):
        paired_difference(run, run, person_ids, resamples=0)
