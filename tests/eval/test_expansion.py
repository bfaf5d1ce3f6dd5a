"""Query expansion and database augmentation against their definitions, written as loops in float64."""

import itertools
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval.expansion import Expansion, expand
from eval.features import LabelledFeatures
from eval.metrics import evaluate
from runtime.errors import InputError

# Vectors of four halves have length 1 and inner products in quarters: exact in float32, and full of ties. The last is
# the row of zeros.
SIGNS = np.array([*itertools.product([-0.5, 0.5], repeat=4), (0, 0, 0, 0)], np.float32)


def definition(
    images: NDArray[Any], others: NDArray[Any], count: int, alpha: float, themselves: bool
) -> NDArray[np.float64]:
    """Each image plus its nearest others, one at a time."""
    images, others = unit(images), unit(others)
    expanded = []
    for number, image in enumerate(images):
        cosines = {i: float(image @ other) for i, other in enumerate(others) if not (themselves and i == number)}
        nearest = sorted(cosines, key=lambda i: (-cosines[i], i))[:count]
        expanded.append(image + sum(cosines[i] ** alpha * others[i] for i in nearest if cosines[i] > 0))
    return unit(np.array(expanded))


def unit(features: NDArray[Any]) -> NDArray[np.float64]:
    features = features.astype(np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def labelled(features: NDArray[Any], person_ids: Any = 1) -> LabelledFeatures:
    count = len(features)
    return LabelledFeatures(features, np.broadcast_to(person_ids, count), np.arange(count) % 3)


def signs(rows: list[int]) -> NDArray[np.float32]:
    """Of lengths 1, 2 and 4, which must not matter."""
    return SIGNS[rows] * np.exp2(np.arange(len(rows)) % 3).astype(np.float32)[:, None]


def clusters(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    persons = random.integers(0, 6, count)
    features = np.random.default_rng(0).normal(size=(6, 12))[persons] + 0.9 * random.normal(size=(count, 12))
    return features.astype(np.float32), persons + 1


COUNT, ALPHA = st.integers(1, 50), st.sampled_from([0.0, 0.5, 1.0, 3.0])
ROWS = st.integers(0, 16)


@settings(deadline=None, derandomize=True)
@given(
    query=st.lists(ROWS, min_size=1, max_size=4),
    gallery=st.lists(st.tuples(ROWS, st.booleans()), min_size=1, max_size=40),
    count=COUNT,
    alpha=ALPHA,
)
def test_queries_are_expanded_as_defined(
    query: list[int], gallery: list[tuple[int, bool]], count: int, alpha: float
) -> None:
    features = signs([row for row, _ in gallery] + [0])
    persons = np.array([-1 if junk else 0 for _, junk in gallery] + [5])
    expanded, untouched = expand(labelled(signs(query)), labelled(features, persons), Expansion(count, 0, alpha))
    assert untouched.features is features
    expected = definition(signs(query), features[persons != -1], count, alpha, themselves=False)
    assert expanded.features.dtype == np.float32
    np.testing.assert_allclose(expanded.features, expected, atol=1e-6)


@settings(deadline=None, derandomize=True)
@given(
    gallery=st.lists(st.tuples(ROWS, st.booleans()), min_size=1, max_size=40),
    count=COUNT,
    alpha=ALPHA,
)
def test_the_gallery_is_augmented_as_defined(gallery: list[tuple[int, bool]], count: int, alpha: float) -> None:
    features = signs([row for row, _ in gallery] + [0])
    persons = np.array([-1 if junk else 0 for _, junk in gallery] + [5])
    query = labelled(signs([3]))
    untouched, augmented = expand(query, labelled(features, persons), Expansion(0, count, alpha))
    assert untouched.features is query.features
    assert augmented.features.dtype == np.float32
    kept = persons != -1
    expected = unit(features)
    expected[kept] = definition(features[kept], features[kept], count, alpha, themselves=True)
    np.testing.assert_allclose(augmented.features, expected, atol=1e-6)
    np.testing.assert_array_equal(augmented.person_ids, persons)


@pytest.mark.parametrize("count", [1, 10, 500])
def test_clusters_are_expanded_as_defined(count: int) -> None:
    (query, _), (gallery, persons) = clusters(20, 1), clusters(200, 2)
    persons[::9] = -1
    kept = gallery[persons != -1]
    expanded, augmented = expand(labelled(query), labelled(gallery, persons), Expansion(count, count))
    expected = definition(kept, kept, count, 3, themselves=True)
    np.testing.assert_allclose(augmented.features[persons != -1], expected, atol=1e-6)
    np.testing.assert_allclose(expanded.features, definition(query, expected, count, 3, themselves=False), atol=1e-6)


def test_queries_are_expanded_by_the_augmented_gallery() -> None:
    random = np.random.default_rng(0)
    query = labelled(SIGNS[random.integers(0, 17, 30)])
    gallery = labelled(SIGNS[random.integers(0, 17, 90)], random.integers(-1, 5, 90))
    expanded, augmented = expand(query, gallery, Expansion(4, 7))
    np.testing.assert_array_equal(augmented.features, expand(query, gallery, Expansion(0, 7))[1].features)
    np.testing.assert_array_equal(expanded.features, expand(query, augmented, Expansion(4, 0))[0].features)


def test_tiles_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sign vector is there many times: more near-ties than are kept in spare."""
    random = np.random.default_rng(0)
    query = labelled(SIGNS[random.integers(0, 16, 60)])
    gallery = labelled(SIGNS[random.integers(0, 16, 400)], random.integers(-1, 5, 400))
    whole = expand(query, gallery, Expansion(3, 5))
    monkeypatch.setattr("eval.tiles._TILE_QUERIES", 7)
    monkeypatch.setattr("eval.tiles._TILE_IMAGES", 11)
    monkeypatch.setattr("eval.expansion._TILE", (13, 17))
    for one, other in zip(whole, expand(query, gallery, Expansion(3, 5)), strict=True):
        np.testing.assert_array_equal(one.features, other.features)


def test_equal_images_take_the_first_of_many_equal_neighbours() -> None:
    """A thousand neighbours as near as the last that counts, all different beside the query's direction."""
    random = np.random.default_rng(0)
    gallery = np.zeros((1000, 16), np.float32)
    gallery[:, 0] = 1
    gallery[np.arange(1000), 1 + random.integers(0, 15, 1000)] = 1
    query = np.eye(16, dtype=np.float32)[:1]
    expanded, _ = expand(labelled(query), labelled(gallery), Expansion(5))
    np.testing.assert_allclose(expanded.features, definition(query, gallery, 5, 3, themselves=False), atol=1e-6)


def test_persons_and_cameras_do_not_matter_and_junk_takes_no_part() -> None:
    (query, _), (gallery, persons) = clusters(20, 1), clusters(100, 2)
    junk = np.arange(100) % 7 == 0
    expected = expand(labelled(query), labelled(gallery, np.where(junk, -1, persons)), Expansion(5, 5))
    gallery = np.where(junk[:, None], 7, gallery)
    changed = expand(labelled(query), labelled(gallery, np.where(junk, -1, 0)), Expansion(5, 5))
    np.testing.assert_array_equal(changed[0].features, expected[0].features)
    np.testing.assert_array_equal(changed[1].features[~junk], expected[1].features[~junk])
    unit = gallery[junk] / np.linalg.norm(gallery[junk], axis=1, keepdims=True)
    np.testing.assert_allclose(changed[1].features[junk], unit, rtol=1e-6)


def test_expanded_clusters_are_found_better() -> None:
    (query, query_persons), (gallery, persons) = clusters(60, 1), clusters(300, 2)
    sides = labelled(query, query_persons), labelled(gallery, persons)
    figures = [evaluate(*sides).mAP]
    figures += [evaluate(*expand(*sides, each)).mAP for each in (Expansion(10), Expansion(10, 10))]
    assert figures == sorted(set(figures))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "0 neighbours for queries and 0 for the gallery; expected .* at least 1 for one"),
        ((-1, 2), "-1 neighbours for queries"),
        ((2, -1), "-1 for the gallery"),
        ((2.5, 0), "query_neighbours is 2.5; expected an integer"),
        ((2, None), "gallery_neighbours is None; expected an integer"),
        ((2, 2, "much"), "alpha is 'much'; expected a number"),
        ((2, 2, -0.5), "alpha is -0.5; expected"),
        ((2, 2, float("inf")), "alpha is inf; expected"),
        ((2, 2, float("nan")), "alpha is nan; expected"),
    ],
)
def test_bad_settings_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Expansion(*arguments)


def test_numpys_numbers_become_pythons() -> None:
    expansion = Expansion(np.int64(3), np.uint8(2), np.float32(1.5))
    assert expansion == Expansion(3, 2, 1.5)
    assert json.loads(json.dumps(asdict(expansion))) == asdict(expansion)


@pytest.mark.parametrize(
    ("query", "gallery", "persons", "message"),
    [
        (np.eye(3), np.eye(3), -1, "gallery is empty"),
        (np.eye(3), np.empty((0, 3)), 1, "gallery is empty"),
        (np.empty((0, 3)), np.eye(3), 1, "query is empty"),
        (np.eye(3), np.eye(3), -2, "gallery: 3 of 3 images have an unknown person"),
        (np.eye(3), np.eye(2), 1, "3 elements and gallery features 2"),
        (np.eye(3), np.full((2, 3), np.nan), 1, "gallery: 2 of 2 rows"),
    ],
)
def test_bad_features_are_refused(query: NDArray[Any], gallery: NDArray[Any], persons: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand(labelled(query), labelled(gallery, persons), Expansion(2, 2))


def test_settings_are_named() -> None:
    assert str(Expansion(10, 5)) == "queries by 10, gallery by 5, alpha 3"
    assert str(Expansion(gallery_neighbours=2, alpha=0.5)) == "gallery by 2, alpha 0.5"
