"""The open-set threshold against a loop."""

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.open_set import choose_threshold
from runtime.errors import InputError


def people(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    ids = random.integers(1, 20, count)
    centres = np.random.default_rng(0).normal(size=(20, 16))
    features = centres[ids] + 0.8 * random.normal(size=(count, 16))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), ids


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.013, 0.002])
def test_against_a_loop(rate: float) -> None:
    (queries, query_ids), (gallery, gallery_ids) = people(700, 1), people(90, 2)
    chosen = choose_threshold(queries, query_ids, gallery, gallery_ids, rate)
    scores = queries @ gallery.T
    strangers = [
        max(s for s, other in zip(row, gallery_ids, strict=True) if other != i)
        for row, i in zip(scores, query_ids, strict=True)
    ]
    accepted = sum(s >= chosen.threshold for s in strangers)
    assert accepted / 700 == chosen.false_accept_rate <= rate
    # One step lower would take too many.
    assert sum(s >= np.nextafter(np.float32(chosen.threshold), np.float32(-1)) for s in strangers) > rate * 700
    right = [
        row.max() >= chosen.threshold and gallery_ids[row.argmax()] == i
        for row, i in zip(scores, query_ids, strict=True)
        if i in gallery_ids
    ]
    assert (chosen.known, chosen.strangers) == (len(right), 700)
    assert chosen.identification_rate == pytest.approx(np.mean(right))


@pytest.mark.parametrize(("rate", "queries"), [(0.29, 100), (0.57, 100), (1 / 49, 49), (0.001, 3000)])
def test_a_rate_of_whole_strangers_is_reached(rate: float, queries: int) -> None:
    """In floats some of these products are a little less than the whole number that they stand for."""
    scores = np.linspace(0, 1, queries, dtype=np.float32)
    features = np.stack([scores, np.sqrt(1 - scores**2)], axis=1)
    stranger = np.array([[1, 0]], np.float32)
    chosen = choose_threshold(features, np.ones(queries, np.int64), stranger, np.array([2]), rate)
    assert chosen.false_accept_rate == rate


def test_entries_that_search_one_another_leave_themselves_out() -> None:
    features, ids = people(300, 3)
    chosen = choose_threshold(features, ids, features, ids, 0.1, same=True)
    scores = features @ features.T
    np.fill_diagonal(scores, -np.inf)
    right = [
        row.max() >= chosen.threshold and ids[row.argmax()] == i
        for row, i in zip(scores, ids, strict=True)
        if (ids == i).sum() > 1
    ]
    assert chosen.identification_rate == pytest.approx(np.mean(right))


def test_ties_at_the_threshold_are_all_refused() -> None:
    gallery = np.eye(2, dtype=np.float32)
    queries = np.tile(np.array([[0.6, 0.8]], np.float32), (10, 1))
    chosen = choose_threshold(queries, np.ones(10, np.int64), gallery, np.array([1, 2]), 0.5)
    assert chosen.false_accept_rate == 0
    assert chosen.threshold == np.nextafter(np.float32(0.8), np.float32(1))


def test_refusals() -> None:
    features, ids = people(30, 4)
    for rate in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="expected a number between 0 and 1"):
            choose_threshold(features, ids, features, ids, rate)
    with pytest.raises(InputError, match=r"30 queries cannot tell a false accept rate of 0\.01; give at least 100"):
        choose_threshold(features, ids, features, ids, 0.01)
    with pytest.raises(InputError, match="nobody but the person of a query"):
        choose_threshold(features, np.ones(30, np.int64), features, np.ones(30, np.int64), 0.1)
