"""What re-ranking says it needs, what it takes, and that a limit is kept."""

import logging
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from eval.features import LabelledFeatures
from eval.memory import MemoryPlan, plan_memory
from eval.reranking import Reranking, evaluate_reranked, rerank
from runtime.errors import InputError


@pytest.fixture(scope="module")
def sides(make_labelled: Callable[..., LabelledFeatures]) -> tuple[LabelledFeatures, LabelledFeatures]:
    """Images of 300 persons."""
    random = np.random.default_rng(0)

    def side(rows: int) -> LabelledFeatures:
        persons = random.integers(1, 301, rows)
        centres = np.random.default_rng(1).normal(size=(301, 256))
        features = (centres[persons] + random.normal(size=(rows, 256))).astype(np.float32)
        return LabelledFeatures(features, persons, random.integers(1, 4, rows))

    return side(500), side(3000)


def peak_of(work: Callable[[], Any]) -> int:
    """Bytes beyond those at the start; NumPy reports its own. Run before, so that kernels are compiled."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("keeps_result", [False, True])
@pytest.mark.parametrize("limited", [False, True])
def test_the_peak_is_below_what_was_said(
    sides: tuple[LabelledFeatures, LabelledFeatures], keeps_result: bool, limited: bool
) -> None:
    query, gallery = sides
    settings = Reranking()
    unlimited = plan(sides, settings, None, keeps_result).needed
    limit = least(sides, settings, keeps_result) if limited else None
    said = plan(sides, settings, limit, keeps_result).needed

    def work() -> None:
        if keeps_result:
            rerank(query.features, gallery.features, memory_limit=limit)
        else:
            evaluate_reranked(query, gallery, settings, limit)

    work()
    peak = peak_of(work)
    assert said / 2 < peak < said <= unlimited
    assert limit is None or said <= limit < unlimited


def plan(sides: tuple[LabelledFeatures, ...], settings: Reranking, limit: int | None, keeps_result: bool) -> MemoryPlan:
    return plan_memory(500, 3000, 256, settings.k1, settings.k2, limit, keeps_result)


def least(sides: tuple[LabelledFeatures, ...], settings: Reranking, keeps_result: bool) -> int:
    """The lowest limit, to a megabyte."""
    for limit in range(10**6, 10**9, 10**6):
        try:
            plan(sides, settings, limit, keeps_result)
        except InputError:
            continue
        return limit
    raise AssertionError


def test_a_limit_that_is_too_small_is_refused_and_says_both_amounts(
    sides: tuple[LabelledFeatures, LabelledFeatures],
) -> None:
    query, gallery = sides
    message = (
        r"re-ranking 500 queries and 3,000 gallery images of 256 elements needs about \d+ MB beside the features, and "
        "the limit is 1,000 bytes; allow more, or take fewer images"
    )
    with pytest.raises(InputError, match=message):
        evaluate_reranked(query, gallery, Reranking(), 1000)
    with pytest.raises(InputError, match=message):
        rerank(query.features, gallery.features, memory_limit=1000)


def test_a_limit_changes_nothing_but_memory(sides: tuple[LabelledFeatures, LabelledFeatures]) -> None:
    query, gallery = sides
    settings = Reranking(k1=6, k2=3)
    limit = least(sides, settings, keeps_result=False)
    whole, limited = (evaluate_reranked(query, gallery, settings, each) for each in (None, limit))
    np.testing.assert_array_equal(whole.per_query.average_precision, limited.per_query.average_precision)


def test_what_is_worth_knowing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "eval"):
        plan_memory(50, 300, 128, 20, 6, None, False)
        assert not caplog.messages
        plan_memory(11_659, 82_161, 2048, 20, 6, None, False)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("re-ranking 11,659 queries and 82,161 gallery images: about 1.")


def test_no_more_neighbours_are_counted_than_there_are_images() -> None:
    assert plan_memory(5, 20, 8, 10**6, 10**6, None, False) == plan_memory(5, 20, 8, 25, 25, None, False)
