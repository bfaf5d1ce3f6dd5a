"""Near ties: against the definitions, over many orders that a tie allows."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from eval import ties
from eval.metrics import evaluate
from eval.ties import average_precision_bounds, difference_beyond_ties
from runtime.embeddings import Embeddings

TIE = 0.1

ByDefinition: TypeAlias = Callable[[NDArray[np.float64] | float], NDArray[np.float64]]


def draw(random: np.random.Generator, rows: int, persons: list[int]) -> Embeddings:
    """Embeddings of any length, of few persons."""
    features = random.normal(size=(rows, 12)).astype(np.float32)
    ids = random.choice(persons, rows), random.integers(1, 4, rows)
    return Embeddings(features, *ids, np.array([f"{row}.jpg" for row in range(rows)]))


@pytest.fixture
def query() -> Embeddings:
    """One of four has no match in the gallery."""
    return draw(np.random.default_rng(1), 30, [1, 2, 3, 9])


@pytest.fixture
def gallery() -> Embeddings:
    return draw(np.random.default_rng(2), 90, [-1, 0, 1, 2, 3])


@pytest.fixture
def distances(query: Embeddings, gallery: Embeddings) -> NDArray[np.float64]:
    left, right = query.features.astype(np.float64), gallery.features.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    return np.asarray(1 - left @ right.T / lengths)


@pytest.fixture
def by_definition(
    query: Embeddings, gallery: Embeddings, distances: NDArray[np.float64], definition: Any
) -> ByDefinition:
    """Average precision of each query where the distances change by so much; NaN without a match."""

    def precision(changes: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.array([each.average_precision for each in definition.results(distances + changes, query, gallery)])

    return precision


@pytest.mark.parametrize("block", [2_000_000, 90, 1000])
def test_no_order_that_a_tie_allows_is_outside_of_the_bounds(
    query: Embeddings, gallery: Embeddings, by_definition: ByDefinition, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ties, "_BLOCK_ELEMENTS", block)
    rows = np.flatnonzero(query.person_ids != 9)[::4]
    lowest, highest = average_precision_bounds(query, gallery, rows, TIE)
    farther = np.where(query.person_ids[:, None] == gallery.person_ids, TIE / 2, -TIE / 2)
    assert lowest == pytest.approx(by_definition(farther)[rows], abs=1e-12)
    assert highest == pytest.approx(by_definition(-farther)[rows], abs=1e-12)
    assert (lowest < highest).all()
    random = np.random.default_rng(3)
    for _ in range(100):
        found = by_definition(random.uniform(-TIE / 2, TIE / 2, farther.shape))[rows]
        assert (lowest <= found + 1e-12).all()
        assert (found <= highest + 1e-12).all()


def test_what_goes_beyond_a_tie_stays_and_the_rest_does_not(
    query: Embeddings, gallery: Embeddings, by_definition: ByDefinition
) -> None:
    noise = np.random.default_rng(4).normal(scale=0.3, size=gallery.features.shape).astype(np.float32)
    other = Embeddings(gallery.features + noise, gallery.person_ids, gallery.camera_ids, gallery.names)
    before, after = evaluate(query, gallery).per_query, evaluate(query, other).per_query
    farther = np.where(query.person_ids[:, None] == gallery.person_ids, 0.5, -0.5)
    for tie, some_left in ((0, True), (0.02, True), (2, False)):
        beyond = after.average_precision - np.clip(
            after.average_precision, by_definition(tie * farther), by_definition(-tie * farther)
        )
        assert (np.nansum(np.abs(beyond)) > 0) == some_left
        expected = pytest.approx(np.nanmean(beyond), abs=1e-12)
        assert difference_beyond_ties(before, after, query, gallery, tie) == expected
    assert difference_beyond_ties(before, before, query, gallery, TIE) == 0
