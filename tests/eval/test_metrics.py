"""CMC, AP and INP against the definitions written as loops, against independent results, and on bad input."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval.metrics import Metrics, evaluate, evaluate_distances
from runtime.embeddings import Embeddings
from runtime.errors import InputError

MakeEmbeddings = Callable[..., Embeddings]


class Result(NamedTuple):
    """AP, INP and first match of a query, (nan, nan, 0) for none; its nearest image, junk not counted."""

    average_precision: float
    penalty: float
    first: int
    nearest: int


def labels(person_ids: list[int], camera_ids: list[int]) -> Embeddings:
    rows = len(person_ids)
    return Embeddings(
        np.ones((rows, 1), np.float32),
        np.array(person_ids, np.int64),
        np.array(camera_ids, np.int64),
        np.array(["x"] * rows, dtype=np.str_),
    )


def definition(distances: NDArray[np.float64], query: Embeddings, gallery: Embeddings) -> list[Result]:
    """One step at a time."""
    results = []
    for row, (person, camera) in enumerate(zip(query.person_ids, query.camera_ids, strict=True)):
        candidates = [g for g in range(len(gallery)) if gallery.person_ids[g] != -1]
        candidates.sort(key=lambda g: (distances[row, g], g))
        candidates = [
            g for g in candidates if not (gallery.person_ids[g] == person and gallery.camera_ids[g] == camera)
        ]
        ranks = [
            rank
            for rank, g in enumerate(candidates, start=1)
            if gallery.person_ids[g] == person and person not in (-1, 0)
        ]
        without_junk = [g for g in range(len(gallery)) if gallery.person_ids[g] != -1]
        nearest = without_junk.index(candidates[0]) if candidates else -1
        if not ranks:
            results.append(Result(float("nan"), float("nan"), 0, nearest))
            continue
        precisions = [found / rank for found, rank in enumerate(ranks, start=1)]
        results.append(Result(sum(precisions) / len(ranks), len(ranks) / ranks[-1], ranks[0], nearest))
    return results


def assert_as_defined(metrics: Metrics, expected: list[Result]) -> None:
    valid = [result for result in expected if result.first > 0]
    np.testing.assert_allclose(
        metrics.per_query.average_precision, [result.average_precision for result in expected], atol=1e-12
    )
    np.testing.assert_allclose(metrics.per_query.inverse_negative_penalty, [r.penalty for r in expected], atol=1e-12)
    assert metrics.per_query.first_match.tolist() == [result.first for result in expected]
    assert metrics.per_query.nearest.tolist() == [result.nearest for result in expected]
    assert (metrics.queries, metrics.valid_queries) == (len(expected), len(valid))
    assert metrics.mAP == pytest.approx(sum(result.average_precision for result in valid) / len(valid))
    assert metrics.mINP == pytest.approx(sum(result.penalty for result in valid) / len(valid))
    for rank, share in ((1, metrics.rank1), (5, metrics.rank5), (10, metrics.rank10)):
        assert share == pytest.approx(sum(result.first <= rank for result in valid) / len(valid))


@st.composite
def searches(draw: st.DrawFn) -> tuple[NDArray[np.float64], Embeddings, Embeddings]:
    """Few distances, persons and cameras, so that ties, junk and queries without a match are the rule."""
    queries, candidates = draw(st.integers(1, 5)), draw(st.integers(1, 14))
    cameras = st.integers(1, draw(st.integers(1, 3)))

    def side(rows: int, persons: st.SearchStrategy[int]) -> Embeddings:
        lists = st.lists(persons, min_size=rows, max_size=rows), st.lists(cameras, min_size=rows, max_size=rows)
        return labels(draw(lists[0]), draw(lists[1]))

    values = draw(
        st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=queries * candidates, max_size=queries * candidates)
    )
    query = side(queries, st.sampled_from([1, 2, 3, 0, -1]))
    gallery = side(candidates, st.sampled_from([-1, 0, 1, 2]))
    return np.array(values).reshape(queries, candidates), query, gallery


@settings(deadline=None, derandomize=True)
@given(search=searches())
def test_given_distances_are_evaluated_as_defined(search: tuple[NDArray[np.float64], Embeddings, Embeddings]) -> None:
    distances, query, gallery = search
    expected = definition(distances, query, gallery)
    if not any(result.first for result in expected):
        with pytest.raises(InputError):
            evaluate_distances(distances, query, gallery)
        return
    metrics = evaluate_distances(distances, query, gallery)
    assert_as_defined(metrics, expected)
    assert metrics.junk == (gallery.person_ids == -1).sum()
    assert metrics.gallery == (gallery.person_ids != -1).sum()
    assert np.all(np.diff(metrics.cmc) >= 0)


@pytest.mark.parametrize("seed", range(5))
def test_features_are_evaluated_as_defined(make_embeddings: MakeEmbeddings, seed: int) -> None:
    random = np.random.default_rng(seed)
    query = make_embeddings(random.normal(size=(30, 16)), random.integers(1, 8, 30), random.integers(1, 4, 30))
    gallery = make_embeddings(5 * random.normal(size=(70, 16)), random.integers(-1, 8, 70), random.integers(1, 4, 70))
    q, g = query.features.astype(np.float64), gallery.features.astype(np.float64)
    cosine = (q @ g.T) / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(g, axis=1)
    assert_as_defined(evaluate(query, gallery), definition(1 - cosine, query, gallery))


def test_blocks_do_not_change_the_result(make_embeddings: MakeEmbeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    query = make_embeddings(random.integers(-3, 4, (23, 8)), random.integers(1, 5, 23), random.integers(1, 3, 23))
    gallery = make_embeddings(random.integers(-3, 4, (40, 8)), random.integers(-1, 5, 40), random.integers(1, 3, 40))
    distances = random.integers(0, 5, (23, 40)).astype(np.float32)
    whole = evaluate_distances(distances, query, gallery)
    monkeypatch.setattr("eval.ranking._BLOCK_ELEMENTS", 100)
    blocked = evaluate_distances(distances, query, gallery)
    np.testing.assert_array_equal(blocked.per_query.average_precision, whole.per_query.average_precision)
    np.testing.assert_array_equal(blocked.cmc, whole.cmc)


def test_independent_implementations_agree(evaluation_facts: Path, make_embeddings: MakeEmbeddings) -> None:
    with np.load(evaluation_facts / "small_eval.npz") as facts:
        query = make_embeddings(facts["qf"], facts["q_pids"], facts["q_cams"])
        gallery = make_embeddings(facts["gf"], facts["g_pids"], facts["g_cams"])
        average_precision, penalty, first = facts["AP"], facts["INP"], facts["first_rank"]
    metrics = evaluate(query, gallery)
    valid = metrics.per_query.valid
    assert (metrics.valid_queries, metrics.gallery, metrics.junk) == (46, 300, 24)
    assert metrics.mAP == pytest.approx(0.6877665670902945, abs=1e-6)
    assert metrics.mINP == pytest.approx(0.3297116146334416, abs=1e-6)
    np.testing.assert_allclose(metrics.per_query.average_precision[valid], average_precision[valid], atol=1e-6)
    np.testing.assert_allclose(metrics.per_query.inverse_negative_penalty[valid], penalty[valid], atol=1e-6)
    np.testing.assert_array_equal(metrics.per_query.first_match[valid], first[valid])


def test_a_gallery_smaller_than_the_largest_rank_keeps_the_curve_flat() -> None:
    metrics = evaluate_distances(np.array([[0.2, 0.1]]), labels([1], [1]), labels([1, 2], [2, 2]))
    assert metrics.cmc.tolist() == [0.0] + [1.0] * 49


GOOD = ([[1.0, 0.0], [0.0, 1.0]], [1, 2], [1, 1])
GALLERY = ([[1.0, 0.0], [0.0, 1.0]], [1, 2], [2, 2])


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (([[1.0, np.nan], [np.inf, 0.0]], [1, 2], [1, 1]), GALLERY, "query: 2 of 2 rows, the first is row 0, hold NaN"),
        (GOOD, ([[1.0, 0.0], [np.nan, 0.0]], [1, 2], [2, 2]), "gallery: 1 of 2 rows, the first is row 1, hold NaN"),
        (GOOD, ([[1.0], [0.0]], [1, 2], [2, 2]), "2 elements and gallery features 1"),
        (GOOD, (np.empty((0, 2)), [], []), "gallery: nothing to evaluate"),
        ((np.empty((0, 2)), [], []), GALLERY, "query: nothing to evaluate"),
        (GOOD, (GALLERY[0], [-1, -1], [2, 2]), "gallery is empty .after junk"),
        (GOOD, (GALLERY[0], [1, -2], [2, 2]), r"gallery: 1 of 2 images have an unknown person, the first is row 1"),
        ((GOOD[0], [-2, 1], [1, 1]), GALLERY, "query: 1 of 2 images have an unknown person"),
        ((GOOD[0], [1, 2], [1, -1]), GALLERY, "query: 1 of 2 images have an unknown camera"),
        (GOOD, (GALLERY[0], [1, 2], [1, 1]), "none of the 2 queries has a match"),
    ],
)
def test_bad_input_is_refused(
    make_embeddings: MakeEmbeddings, query: tuple[object, ...], gallery: tuple[object, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(make_embeddings(*query), make_embeddings(*gallery))


def test_distances_of_another_shape_or_with_nan_are_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(1, 3\)"):
        evaluate_distances(np.zeros((1, 3)), labels([1], [1]), labels([1, 2], [2, 2]))
    with pytest.raises(InputError, match="row 0 holds NaN"):
        evaluate_distances(np.array([[0.0, np.nan]]), labels([1], [1]), labels([1, 2], [2, 2]))


def test_a_query_for_which_all_is_left_out_has_no_nearest_image() -> None:
    metrics = evaluate_distances(np.zeros((2, 2)), labels([1, 1], [1, 2]), labels([1, 1], [1, 1]))
    assert metrics.per_query.nearest.tolist() == [-1, 0]
    assert metrics.per_query.valid.tolist() == [False, True]
