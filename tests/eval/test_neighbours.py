"""The nearest images against a float64 search that keeps everything."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.features import unit_side
from eval.neighbours import find_nearest
from eval.threads import Threads


def unit(features: NDArray[np.floating]) -> NDArray[np.float32]:
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def exact_cosines(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same for equal images, wherever they stand: products of matrices do not promise that."""
    values = features.astype(np.float64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return np.array([(values * row).sum(axis=1) for row in values])


def nearest_of(cosines: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """By cosine, then by index, without the image itself."""
    others = cosines.copy()
    np.fill_diagonal(others, -np.inf)
    return np.argsort(-others, axis=1, kind="stable")[:, :count]


def check(features: NDArray[np.float32], count: int, ways: list[Any], tile: tuple[int, int] = (8, 16)) -> None:
    cosines = exact_cosines(features)
    expected = nearest_of(cosines, count)
    rows = np.arange(len(features))
    for way in ways:
        for tiles in (tile, (4096, 4096)):
            with way(), Threads(1) as threads:
                nearest, farthest = find_nearest(unit_side(features, threads), count, tiles, threads)
            np.testing.assert_array_equal(nearest, expected)
            np.testing.assert_allclose(cosines[rows, farthest], cosines.min(axis=1), atol=1e-6)


@pytest.mark.parametrize("count", [1, 7, 99])
@pytest.mark.parametrize("tile", [(8, 16), (16, 8), (7, 23), (33, 1000)])
def test_images_without_ties(count: int, tile: tuple[int, int], ways: list[Any]) -> None:
    check(unit(np.random.default_rng(0).normal(size=(100, 12))), count, ways, tile)


@pytest.mark.parametrize("count", [1, 7, 30])
@pytest.mark.parametrize("kinds", [1, 3, 20])
def test_dozens_of_equal_images_are_in_the_order_of_their_index(count: int, kinds: int, ways: list[Any]) -> None:
    """More of them than are kept beyond those asked for, so that the search is made anew; last comes the nearest."""
    random = np.random.default_rng(kinds)
    features = unit(random.normal(size=(kinds, 16)))[random.integers(0, kinds, 150)]
    check(features, count, ways)


@pytest.mark.parametrize("step", [1e-2, 1e-4])
def test_images_nearer_to_each_other_than_float32_can_tell(step: float, ways: list[Any]) -> None:
    random = np.random.default_rng(2)
    features = random.normal(size=(3, 64))[np.arange(120) % 3]
    features[np.arange(120), random.integers(0, 64, 120)] += step * random.uniform(-1, 1, 120)
    check(unit(features), 10, ways)


def test_two_images_are_each_others_nearest(ways: list[Any]) -> None:
    check(unit(np.random.default_rng(3).normal(size=(2, 5))), 1, ways)
