"""Re-ranking against the paper's definition written as loops in float64, and against independent results."""

import itertools
import sys
from collections.abc import Callable
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval.metrics import evaluate_distances
from eval.reranking import Flavour, rerank
from runtime.embeddings import Embeddings
from runtime.errors import InputError, MissingDependencyError

# Vectors of four halves have length 1 and inner products in quarters: exact in float32, and full of ties.
SIGNS = np.array(list(itertools.product([-0.5, 0.5], repeat=4)), np.float32)


def definition(
    query: NDArray[Any], gallery: NDArray[Any], k1: int, k2: int, lambda_: float, flavour: Flavour
) -> NDArray[np.float64]:
    """The definition, one image at a time."""
    features = np.concatenate([query, gallery]).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    images = range(len(features))
    distance = np.maximum(1 - features @ features.T, 0) ** {"d1": 1, "d2": 2}[flavour]
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


@settings(deadline=None, derandomize=True)
@given(
    query=st.lists(st.integers(0, 15), min_size=1, max_size=4),
    gallery=st.lists(st.integers(0, 15), min_size=1, max_size=12),
    **RERANKING,
)
def test_ties_and_duplicates_are_reranked_as_defined(
    query: list[int], gallery: list[int], k1: int, k2: int, lambda_: float, flavour: Flavour
) -> None:
    expected = definition(SIGNS[query], SIGNS[gallery], k1, k2, lambda_, flavour)
    np.testing.assert_allclose(rerank(SIGNS[query], SIGNS[gallery], k1, k2, lambda_, flavour), expected, atol=1e-6)


@pytest.mark.parametrize("flavour", ["d1", "d2"])
@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (5, 1), (3, 2), (500, 90)])
def test_clusters_are_reranked_as_defined(k1: int, k2: int, flavour: Flavour) -> None:
    random = np.random.default_rng(k1)
    centres = random.normal(size=(6, 12))
    features = 3 * (centres[random.integers(0, 6, 60)] + 0.6 * random.normal(size=(60, 12)))
    expected = definition(features[:15], features[15:], k1, k2, 0.3, flavour)
    result = rerank(features[:15].astype(np.float32), features[15:].astype(np.float32), k1, k2, 0.3, flavour)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    signs = SIGNS[random.integers(0, 16, 60)]
    whole = rerank(signs[:20], signs[20:])
    monkeypatch.setattr("eval.memory._TILE", (7, 11))
    np.testing.assert_array_equal(rerank(signs[:20], signs[20:]), whole)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k1": 0}, "k1 is 0"),
        ({"k2": 0}, "k2 0"),
        ({"lambda_": 1.5}, "lambda is 1.5"),
        ({"flavour": "d3"}, "flavour is 'd3'"),
        ({"gallery_features": np.empty((0, 3))}, "gallery: nothing"),
        ({"gallery_features": np.eye(2)}, "3 elements and gallery features 2"),
        ({"query_features": np.full((2, 3), np.nan)}, "query: 2 of 2 rows"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rerank(**{"query_features": FEATURES, "gallery_features": FEATURES, **arguments})
