"""Near ties, against the definition written as loops."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eval import ties
from eval.metrics import evaluate
from eval.ties import Searched, difference_without_ties, differences_without_ties
from runtime.embeddings import Embeddings


def draw(random: np.random.Generator, rows: int, persons: list[int]) -> Embeddings:
    """Embeddings of any length, of few persons."""
    features = random.normal(size=(rows, 12)).astype(np.float32)
    ids = random.choice(persons, rows), random.integers(1, 4, rows)
    return Embeddings(features, *ids, np.array([f"{row}.jpg" for row in range(rows)]))


def moved(embeddings: Embeddings, seed: int, by: float) -> Embeddings:
    noise = np.random.default_rng(seed).normal(scale=by, size=embeddings.features.shape).astype(np.float32)
    return Embeddings(embeddings.features + noise, embeddings.person_ids, embeddings.camera_ids, embeddings.names)


def searched(query: Embeddings, gallery: Embeddings) -> Searched:
    return Searched(query, gallery, evaluate(query, gallery).per_query)


@pytest.fixture
def reference() -> Searched:
    """One of four queries has no match in the gallery, and some images are in it twice."""
    gallery = draw(np.random.default_rng(2), 90, [-1, 0, 1, 2, 3])
    gallery.features[80:] = gallery.features[:10]
    return searched(draw(np.random.default_rng(1), 30, [1, 2, 3, 9]), gallery)


@pytest.fixture
def candidate(reference: Searched) -> Searched:
    return searched(moved(reference.query, 3, 0.05), moved(reference.gallery, 4, 0.05))


def distances(query: Embeddings, gallery: Embeddings) -> NDArray[np.float64]:
    left, right = query.features.astype(np.float64), gallery.features.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    return np.asarray(1 - left @ right.T / lengths)


def by_definition(reference: Searched, candidate: Searched, row: int, tie: float) -> float:
    """Average precision of a query; NaN without a match."""
    before, after = (distances(each.query, each.gallery)[row].tolist() for each in (reference, candidate))
    person, camera = int(reference.query.person_ids[row]), int(reference.query.camera_ids[row])
    labels = list(zip(reference.gallery.person_ids.tolist(), reference.gallery.camera_ids.tolist(), strict=True))
    matches = [g for g, (each, seen_by) in enumerate(labels) if each == person and seen_by != camera]
    others = [g for g, (each, _) in enumerate(labels) if each not in (person, -1)]
    ahead = []
    for match in matches:
        count = 0
        for other in others:
            was, now = ((near[other], other) < (near[match], match) for near in (before, after))
            change = (after[other] - after[match]) - (before[other] - before[match])
            count += was if abs(change) <= tie else now
        ahead.append(count)
    precisions = [found / (before_it + found) for found, before_it in enumerate(sorted(ahead), start=1)]
    return float(np.mean(precisions)) if precisions else float("nan")


@pytest.mark.parametrize("block", [2_000_000, 90, 1000])
@pytest.mark.parametrize("tie", [0, 0.003, 0.01, 2])
def test_swaps_are_undone_as_defined(
    reference: Searched, candidate: Searched, tie: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ties, "_BLOCK_ELEMENTS", block)
    rows = np.flatnonzero(reference.per_query.valid)
    before, after = (each.per_query.average_precision[rows] for each in (reference, candidate))
    found = before + differences_without_ties(reference, candidate, rows, tie)
    expected = [by_definition(reference, candidate, row, tie) for row in rows.tolist()]
    assert found == pytest.approx(expected, abs=1e-12)
    assert (np.abs(after - before) > 0).sum() > 5
    assert difference_without_ties(reference, candidate, tie) == pytest.approx((found - before).mean(), abs=1e-12)
    whole = {0: after, 2: before}
    if tie in whole:
        assert found == pytest.approx(whole[tie], abs=1e-12)


def test_the_same_results_differ_by_nothing(reference: Searched) -> None:
    assert difference_without_ties(reference, reference, 0) == 0


def test_images_that_were_equal_and_are_far_apart_now_are_no_tie() -> None:
    """A match turned by .0044 rad is as near to what it was as an fp32 file must be, but 200 ties from its twin."""

    def features(*angles: float) -> NDArray[np.float32]:
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    def one(query: Any, gallery: Any) -> Searched:
        return searched(
            Embeddings(query, np.array([5]), np.array([1]), np.array(["query"])),
            Embeddings(gallery, np.array([5, 6]), np.array([2, 2]), np.array(["match", "other"])),
        )

    before, after = one(features(0), features(0.5, 0.5)), one(features(0), features(0.5044, 0.5))
    assert difference_without_ties(before, after, 1e-5) == -0.5
    hardly = one(features(0), features(0.500004, 0.5))
    assert hardly.per_query.average_precision[0] == 0.5
    assert difference_without_ties(before, hardly, 1e-5) == 0
