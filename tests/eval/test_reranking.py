"""Re-ranking against the paper's definition written as loops in float64, and against independent results."""

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval.features import LabelledFeatures
from eval.metrics import evaluate_distances
from eval.reranking import Flavour, Reranking, evaluate_reranked, rerank
from runtime.embeddings import Embeddings
from runtime.errors import InputError, MissingDependencyError

# Vectors of four halves have length 1 and inner products in quarters: exact in float32, and full of ties.
SIGNS = np.array(list(itertools.product([-0.5, 0.5], repeat=4)), np.float32)


def reranked(
    query: NDArray[Any], gallery: NDArray[Any], k1: int, k2: int, lambda_: float, flavour: Flavour
) -> NDArray[np.float64]:
    """The definition, one image at a time; a row of zeros has distance 1 from everything, itself included."""
    features = np.concatenate([query, gallery]).astype(np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    features /= np.where(lengths > 0, lengths, 1)
    images = range(len(features))
    # A matrix product may give equal images distances that differ in the last digit.
    cosines = (features[:, None] * features).sum(axis=2)
    distance = np.maximum(1 - cosines, 0) ** {"d1": 1, "d2": 2}[flavour]
    largest = distance.max(axis=1, keepdims=True)
    distance = distance / np.where(largest > 0, largest, 1)
    lists = [[i, *sorted((j for j in images if j != i), key=lambda j: (distance[i, j], j))] for i in images]

    def mutual(image: int, size: int) -> set[int]:
        return {j for j in lists[image][:size] if image in lists[j][:size]}

    encodings = []
    for i in images:
        own = mutual(i, k1 + 1)
        expanded = set(own)
        for candidate in own:
            other = mutual(candidate, round(k1 / 2) + 1)
            if 3 * len(other & own) > 2 * len(other):
                expanded |= other
        weights = {j: exp(-distance[i, j]) for j in expanded}
        encodings.append({j: weight / sum(weights.values()) for j, weight in weights.items()})
    averaged = [
        {j: sum(encodings[n].get(j, 0.0) for n in near) / len(near) for j in images}
        for near in (lists[i][:k2] for i in images)
    ]
    result = np.empty((len(query), len(gallery)))
    for i, g in itertools.product(range(len(query)), range(len(gallery))):
        other = averaged[len(query) + g]
        smaller = sum(min(averaged[i][j], other[j]) for j in images)
        larger = sum(max(averaged[i][j], other[j]) for j in images)
        result[i, g] = (1 - lambda_) * (1 - smaller / larger) + lambda_ * distance[i, len(query) + g]
    return result


RERANKING = {
    "k1": st.integers(1, 30),
    "k2": st.integers(1, 20),
    "lambda_": st.sampled_from([0.0, 0.3, 1.0]),
    "flavour": st.sampled_from(["d1", "d2"]),
}


@st.composite
def crowds(draw: st.DrawFn) -> tuple[LabelledFeatures, LabelledFeatures]:
    """Images of few kinds, rows of zeros among them, of lengths that are powers of two; dozens may be equal."""
    queries, images = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 5, 12, 45]))
    kinds = np.concatenate([SIGNS[: draw(st.integers(1, 16))], np.zeros((draw(st.integers(0, 1)), 4), np.float32)])
    random = np.random.default_rng(draw(st.integers(0, 99)))

    def side(rows: int, persons: list[int]) -> LabelledFeatures:
        lengths = random.choice([0.5, 1, 4], (rows, 1)).astype(np.float32)
        features = kinds[random.integers(0, len(kinds), rows)] * lengths
        return LabelledFeatures(features, random.choice(persons, rows), random.integers(1, 4, rows))

    return side(queries, [-1, 0, 1, 2, 3]), side(images, [-1, 0, 1, 2])


@settings(deadline=None, derandomize=True, max_examples=60)
@given(crowd=crowds(), **RERANKING)
def test_ties_and_duplicates_are_reranked_as_defined(
    crowd: tuple[LabelledFeatures, LabelledFeatures],
    k1: int,
    k2: int,
    lambda_: float,
    flavour: Flavour,
    definition: Any,
    ways: list[Any],
) -> None:
    """All cosines are exact, so that the results have to be the same bit for bit in every way to work."""
    query, gallery = crowd
    kept = gallery.person_ids != -1
    if not kept.any():
        return
    expected = reranked(query.features, gallery.features[kept], k1, k2, lambda_, flavour)
    results = []
    for way in ways:
        with way():
            results.append(rerank(query.features, gallery.features[kept], k1, k2, lambda_, flavour))
    np.testing.assert_allclose(results[0], expected, atol=1e-6)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    # Sums of the same weights in another order differ in their last digits, and are equal by definition.
    distances = np.zeros((len(query.features), len(kept)))
    distances[:, kept] = expected.round(10)
    wanted = definition.results(distances, query, gallery)
    for way in ways if any(result.first for result in wanted) else []:
        with way():
            definition.check(evaluate_reranked(query, gallery, Reranking(k1, k2, lambda_, flavour)), wanted)


@pytest.mark.parametrize("flavour", ["d1", "d2"])
@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (5, 1), (3, 2), (500, 90)])
def test_clusters_are_reranked_as_defined(
    k1: int, k2: int, flavour: Flavour, definition: Any, ways: list[Any], make_labelled: Callable[..., LabelledFeatures]
) -> None:
    random = np.random.default_rng(k1)
    centres = random.normal(size=(6, 12))
    features = 3 * (centres[random.integers(0, 6, 60)] + 0.6 * random.normal(size=(60, 12))).astype(np.float32)
    query, gallery = make_labelled(random, features[:15], (1, 4)), make_labelled(random, features[15:], (0, 4))
    expected = reranked(query.features, gallery.features, k1, k2, 0.3, flavour)
    for way in ways:
        with way():
            result = rerank(query.features, gallery.features, k1, k2, 0.3, flavour)
            metrics = evaluate_reranked(query, gallery, Reranking(k1, k2, 0.3, flavour))
        np.testing.assert_allclose(result, expected, atol=1e-6)
        definition.check(metrics, definition.results(expected, query, gallery))
        definition.check(evaluate_distances(result, query, gallery), definition.results(expected, query, gallery))


def test_neighbours_that_are_nearly_tied_are_those_of_float64(
    definition: Any, ways: list[Any], make_labelled: Callable[..., LabelledFeatures]
) -> None:
    """Of the images of a person only one element differs, and that moves cosines by 1e-7: below float32's errors."""
    random = np.random.default_rng(8)
    features = random.normal(size=(4, 64))[np.arange(90) % 4]
    features[np.arange(90), np.arange(90) % 64] += 1e-4 * random.uniform(-1, 1, 90)
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    query, gallery = make_labelled(random, features[:12], (1, 4)), make_labelled(random, features[12:], (1, 4))
    expected = reranked(query.features, gallery.features, 6, 3, 0.3, "d1")
    for way in ways:
        with way():
            np.testing.assert_allclose(rerank(query.features, gallery.features, 6, 3, 0.3, "d1"), expected, atol=1e-6)
            metrics = evaluate_reranked(query, gallery, Reranking(6, 3, 0.3, "d1"))
        definition.check(metrics, definition.results(expected, query, gallery))


@pytest.mark.parametrize("flavour", ["d1", "d2"])
@pytest.mark.parametrize(("k1", "k2"), [(4, 4), (20, 6), (9, 1)])
def test_copies_of_images_are_ordered_by_index(
    k1: int, k2: int, flavour: Flavour, definition: Any, ways: list[Any], make_labelled: Callable[..., LabelledFeatures]
) -> None:
    """Their distances are sums of the same weights in another order, whose last digits must not decide."""
    random = np.random.default_rng(10)
    kinds = random.normal(size=(4, 32))[np.arange(12) % 4] + random.normal(size=(12, 32))
    features = kinds.astype(np.float32)[random.integers(0, 12, 75)]
    query, gallery = make_labelled(random, features[:15], (1, 4)), make_labelled(random, features[15:], (1, 4))
    expected = reranked(query.features, gallery.features, k1, k2, 0.3, flavour).round(10)
    for way in ways:
        with way():
            metrics = evaluate_reranked(query, gallery, Reranking(k1, k2, 0.3, flavour))
        definition.check(metrics, definition.results(expected, query, gallery))


@pytest.mark.parametrize("flavour", ["d1", "d2"])
@pytest.mark.parametrize("spread", [1e-2, 1e-3])
def test_a_collapsed_model_is_reranked_as_defined(
    spread: float, flavour: Flavour, definition: Any, ways: list[Any], make_labelled: Callable[..., LabelledFeatures]
) -> None:
    random = np.random.default_rng(9)
    features = random.normal(size=64) + spread * random.normal(size=(80, 64))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    query, gallery = make_labelled(random, features[:12], (1, 4)), make_labelled(random, features[12:], (1, 4))
    expected = definition.results(reranked(query.features, gallery.features, 6, 3, 0.3, flavour), query, gallery)
    for way in ways:
        with way():
            definition.check(evaluate_reranked(query, gallery, Reranking(6, 3, 0.3, flavour)), expected)


@pytest.mark.parametrize("flavour", ["d1", "d2"])
@pytest.mark.parametrize("spread", [0, 1e-4, 1e-2])
def test_distances_of_a_collapsed_model_are_those_of_float64(spread: float, flavour: Flavour, ways: list[Any]) -> None:
    random = np.random.default_rng(12)
    features = (random.normal(size=64) + spread * random.normal(size=(60, 64))).astype(np.float32)
    expected = reranked(features[:8], features[8:], 6, 3, 0.3, flavour)
    for way in ways:
        with way():
            result = rerank(features[:8], features[8:], 6, 3, 0.3, flavour)
        np.testing.assert_allclose(result, expected, atol=1e-4)
        assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize(("flavour", "key"), [("d2", "torchreid"), ("d1", "own_power1_float32")])
def test_independent_implementations_agree(
    evaluation_facts: Path, make_embeddings: Callable[..., Embeddings], flavour: Flavour, key: str
) -> None:
    with np.load(evaluation_facts / "small_eval.npz") as facts:
        keep = facts["g_pids"] != -1
        query = make_embeddings(facts["qf"], facts["q_pids"], facts["q_cams"])
        gallery = make_embeddings(facts["gf"][keep], facts["g_pids"][keep], facts["g_cams"][keep])
    with np.load(evaluation_facts / "small_rerank.npz") as facts:
        expected = facts[key]
    result = rerank(query.features, gallery.features, flavour=flavour)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    if flavour == "d2":
        metrics = evaluate_distances(result, query, gallery)
        assert metrics.mAP == pytest.approx(0.868768767886307, abs=1e-6)
        assert metrics.mINP == pytest.approx(0.7648777995933809, abs=1e-6)


FEATURES = np.eye(3, dtype=np.float32)


def test_without_scipy_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(MissingDependencyError, match=r"re-ranking needs .*'scipy\.sparse'.*lgeu-reid\[eval\]"):
        rerank(FEATURES, FEATURES)


def test_numpys_numbers_become_pythons() -> None:
    reranking = Reranking(np.int64(10), np.int32(3), np.float32(0.5))
    assert reranking == Reranking(10, 3, 0.5)
    assert json.loads(json.dumps(asdict(reranking))) == asdict(reranking)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k1": 0}, "k1 is 0"),
        ({"k2": 0}, "k2 0"),
        ({"k1": 20.0}, "k1 is 20.0; expected an integer"),
        ({"k2": "6"}, "k2 is '6'; expected an integer"),
        ({"lambda_": 1.5}, "lambda is 1.5"),
        ({"lambda_": None}, "lambda is None; expected a number"),
        ({"flavour": "d3"}, "flavour is 'd3'"),
        ({"gallery_features": np.empty((0, 3))}, "gallery: nothing"),
        ({"gallery_features": np.eye(2)}, "3 elements and gallery features 2"),
        ({"query_features": np.full((2, 3), np.nan)}, "query: 2 of 2 rows"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rerank(**{"query_features": FEATURES, "gallery_features": FEATURES, **arguments})
