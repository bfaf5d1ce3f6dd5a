"""CMC, AP and INP against the definitions written as loops, and against independent results."""

import importlib.util
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval.features import LabelledFeatures, Labels, PlainLabels
from eval.matches import find_matches
from eval.metrics import Metrics, evaluate, evaluate_distances
from eval.reranking import rerank
from runtime.embeddings import Embeddings
from runtime.errors import InputError

# Vectors of four halves have length 1 and inner products in quarters: exact in float32, and full of ties.
SIGNS = np.array(np.meshgrid(*[[-0.5, 0.5]] * 4)).reshape(4, 16).T.astype(np.float32)


def labels(person_ids: list[int], camera_ids: list[int]) -> PlainLabels:
    return PlainLabels(np.array(person_ids, np.int64), np.array(camera_ids, np.int64))


class Search(NamedTuple):
    distances: NDArray[np.float64]
    query: PlainLabels
    gallery: PlainLabels


def draw_labels(draw: st.DrawFn, queries: int, images: int) -> tuple[PlainLabels, PlainLabels]:
    """Few persons and cameras, so that junk, distractors and queries without a match are the rule."""
    cameras = st.integers(1, draw(st.integers(1, 3)))

    def side(rows: int, persons: st.SearchStrategy[int]) -> PlainLabels:
        lists = st.lists(persons, min_size=rows, max_size=rows), st.lists(cameras, min_size=rows, max_size=rows)
        return labels(draw(lists[0]), draw(lists[1]))

    return side(queries, st.sampled_from([1, 2, 3, 0, -1])), side(images, st.sampled_from([-1, 0, 1, 2]))


@st.composite
def searches(draw: st.DrawFn) -> Search:
    """Few distances, so that most are tied."""
    queries, images = draw(st.integers(1, 5)), draw(st.integers(1, 14))
    few = st.sampled_from([0.0, 0.25, 1.0])
    values = draw(st.lists(few, min_size=queries * images, max_size=queries * images))
    return Search(np.array(values).reshape(queries, images), *draw_labels(draw, queries, images))


@st.composite
def signed(draw: st.DrawFn) -> tuple[LabelledFeatures, LabelledFeatures]:
    """Few features, some of them zero, and lengths that are powers of two: cosines are exact, and most are tied."""
    queries, images = draw(st.integers(1, 5)), draw(st.integers(1, 14))
    directions = np.concatenate([SIGNS[: draw(st.integers(1, 16))], np.zeros((1, 4), np.float32)])

    def features(rows: int) -> NDArray[np.float32]:
        chosen = draw(st.lists(st.integers(0, len(directions) - 1), min_size=rows, max_size=rows))
        lengths = draw(st.lists(st.sampled_from([0.5, 1.0, 4.0]), min_size=rows, max_size=rows))
        return directions[chosen] * np.array(lengths, np.float32)[:, None]

    left, right = draw_labels(draw, queries, images)
    return (
        LabelledFeatures(features(queries), left.person_ids, left.camera_ids),
        LabelledFeatures(features(images), right.person_ids, right.camera_ids),
    )


def check_every_way(
    call: Callable[[], Metrics],
    distances: NDArray[np.float64],
    query: Labels,
    gallery: Labels,
    definition: Any,
    ways: list[Any],
) -> None:
    expected = definition.results(distances, query, gallery)
    for way in ways:
        with way():
            if not any(result.first for result in expected):
                with pytest.raises(InputError, match=r"queries has a match|empty"):
                    call()
                continue
            metrics = call()
        definition.check(metrics, expected)
        junk = int((gallery.person_ids == -1).sum())
        assert (metrics.junk, metrics.gallery) == (junk, len(gallery.person_ids) - junk)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(search=searches(), kind=st.sampled_from([np.float16, np.float32, np.float64]))
def test_given_distances_are_evaluated_as_defined(search: Search, kind: Any, definition: Any, ways: list[Any]) -> None:
    given_distances = search.distances.astype(kind)
    check_every_way(
        lambda: evaluate_distances(given_distances, search.query, search.gallery), *search, definition, ways
    )


@settings(deadline=None, derandomize=True, max_examples=60)
@given(sides=signed())
def test_ties_duplicates_and_zeros_are_evaluated_as_defined(
    sides: tuple[LabelledFeatures, LabelledFeatures], definition: Any, ways: list[Any]
) -> None:
    query, gallery = sides
    check_every_way(lambda: evaluate(query, gallery), distances_between(*sides), *sides, definition, ways)


def distances_between(query: LabelledFeatures, gallery: LabelledFeatures) -> NDArray[np.float64]:
    """A row of zeros has distance 1 from everything."""
    left, right = (np.asarray(side.features, np.float64) for side in (query, gallery))
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    return 1 - left @ right.T / np.where(lengths > 0, lengths, 1)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 60, 8), (50, 1, 16), (30, 70, 16), (40, 300, 130)])
def test_features_of_any_length_are_evaluated_as_defined(
    make_labelled: Callable[..., LabelledFeatures], definition: Any, ways: list[Any], shape: tuple[int, int, int]
) -> None:
    queries, images, elements = shape
    random = np.random.default_rng(queries)
    query = make_labelled(random, random.normal(size=(queries, elements)).astype(np.float32), (1, 3), 1)
    gallery = make_labelled(random, (5 * random.normal(size=(images, elements))).astype(np.float32), (-1, 3), 2)
    gallery.person_ids[0], gallery.camera_ids[0] = query.person_ids[0], 2
    distances = distances_between(query, gallery)
    check_every_way(lambda: evaluate(query, gallery), distances, query, gallery, definition, ways)


def test_one_camera_and_all_junk_leave_nothing_to_evaluate() -> None:
    features = SIGNS[:3]
    query = LabelledFeatures(features, [1, 2, 3], [1, 1, 1])
    with pytest.raises(InputError, match="none of the 3 queries has a match among 3 gallery images"):
        evaluate(query, LabelledFeatures(features, [1, 2, 3], [1, 1, 1]))
    with pytest.raises(InputError, match=r"gallery is empty, junk left out"):
        evaluate(query, LabelledFeatures(features, [-1, -1, -1], [2, 2, 2]))


def test_a_query_for_which_all_is_left_out_has_no_nearest_image() -> None:
    metrics = evaluate_distances(np.zeros((2, 2)), labels([1, 1], [1, 2]), labels([1, 1], [1, 1]))
    assert metrics.per_query.nearest.tolist() == [-1, 0]
    assert metrics.per_query.valid.tolist() == [False, True]


def test_distractors_among_queries_are_not_paired_with_those_of_the_gallery() -> None:
    """Of 1,000 and 20,000 the pairs are 20 million, and would take 800 MB."""
    query, gallery = labels([0] * 1000, [1] * 1000), labels([0] * 20_000, [1] * 20_000)
    tracemalloc.start()
    matches = find_matches(query, gallery)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6
    assert [len(each.positions) for each in (matches.wanted, matches.left_out)] == [0, 0]


def test_a_gallery_smaller_than_the_largest_rank_keeps_the_curve_flat() -> None:
    metrics = evaluate_distances(np.array([[0.2, 0.1]]), labels([1], [1]), labels([1, 2], [2, 2]))
    assert metrics.cmc.tolist() == [0.0] + [1.0] * 49


def test_distances_of_another_shape_or_with_nan_are_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(1, 3\); expected \(1, 2\)"):
        evaluate_distances(np.zeros((1, 3)), labels([1], [1]), labels([1, 2], [2, 2]))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="row 1 holds NaN or infinity"):
            evaluate_distances(np.array([[0.0, 1], [0.0, bad]]), labels([1, 1], [1, 1]), labels([1, 2], [2, 2]))


def test_independent_implementations_agree(evaluation_facts: Path, make_embeddings: Callable[..., Embeddings]) -> None:
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


def test_independent_implementations_agree_at_full_size(evaluation_facts: Path) -> None:
    """As many images as Market-1501 has; the features are made up."""
    spec = importlib.util.spec_from_file_location("reid_features", evaluation_facts / "reid_features.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    made = maker.make(*maker.SIZES["market"])
    query = LabelledFeatures(made["qf"], made["q_pids"], made["q_cams"])
    gallery = LabelledFeatures(made["gf"], made["g_pids"], made["g_cams"])
    metrics = evaluate(query, gallery)
    assert (metrics.queries, metrics.gallery, metrics.junk) == (3368, 15913, 3819)
    figures = [metrics.rank1, metrics.rank5, metrics.rank10, metrics.mAP, metrics.mINP]
    np.testing.assert_allclose(figures, [0.935714, 0.980060, 0.987500, 0.7922693, 0.3400918], atol=1e-6)
    keep = made["g_pids"] != -1
    distances = rerank(made["qf"], made["gf"][keep])
    assert distances.mean(dtype=np.float64) == pytest.approx(0.8207825, abs=1e-6)
    metrics = evaluate_distances(distances, query, PlainLabels(made["g_pids"][keep], made["g_cams"][keep]))
    assert [metrics.rank1, metrics.mAP, metrics.mINP] == pytest.approx([0.965774, 0.9588472, 0.8248499], abs=1e-6)
