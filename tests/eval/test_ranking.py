"""Near-ties: what float32 products cannot tell apart has the rank that float64 gives it."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.features import LabelledFeatures
from eval.metrics import evaluate

MakeLabelled = Callable[..., LabelledFeatures]


def distances_between(query: LabelledFeatures, gallery: LabelledFeatures) -> NDArray[np.longdouble]:
    """In more than float64 where the machine has that, so that the rounding of the reference is not what counts."""
    left, right = (side.features.astype(np.longdouble) for side in (query, gallery))
    return 1 - left @ right.T / np.sqrt((left**2).sum(axis=1))[:, None] / np.sqrt((right**2).sum(axis=1))


def check(query: LabelledFeatures, gallery: LabelledFeatures, definition: Any, ways: list[Any]) -> None:
    expected = definition.results(distances_between(query, gallery), query, gallery)
    for way in ways:
        with way():
            definition.check(evaluate(query, gallery), expected)


def nearly_equal(random: np.random.Generator, images: int, elements: int, step: float) -> NDArray[np.float32]:
    """Copies of one image; each has another element changed, which moves cosines by about `step`."""
    features = np.tile(random.normal(size=elements), (images, 1))
    features[np.arange(images), random.permutation(elements)[:images]] += step * random.uniform(-1, 1, images)
    return features.astype(np.float32)


@pytest.mark.parametrize("step", [1e-2, 1e-4, 1e-5])
def test_near_ties_have_the_order_of_float64(
    make_labelled: MakeLabelled, definition: Any, ways: list[Any], step: float
) -> None:
    random = np.random.default_rng(3)
    query = make_labelled(random, random.normal(size=(20, 256)).astype(np.float32), (1, 5))
    gallery = make_labelled(random, nearly_equal(random, 80, 256, step), (0, 5))
    exact = distances_between(query, gallery)
    unit = [side.features / np.linalg.norm(side.features, axis=1, keepdims=True) for side in (query, gallery)]
    by_products = np.argsort(1 - unit[0] @ unit[1].T, axis=1, kind="stable")
    assert (by_products != np.argsort(exact, axis=1, kind="stable")).any(), "float32 would have been enough"
    check(query, gallery, definition, ways)


def test_duplicates_far_apart_in_the_gallery_are_ordered_by_index(
    make_labelled: MakeLabelled, definition: Any, ways: list[Any]
) -> None:
    """Sums of whole numbers, so that the definition sees duplicates as equal, too; none has a length of one."""
    random = np.random.default_rng(4)
    different = random.integers(-9, 10, (6, 37)).astype(np.float32)
    query = make_labelled(random, different[random.integers(0, 6, 15)], (1, 4))
    gallery = make_labelled(random, different[random.integers(0, 6, 90)], (-1, 4))
    check(query, gallery, definition, ways)


@pytest.mark.parametrize("elements", [16, 256])
@pytest.mark.parametrize("spread", [1e-3, 1e-5])
def test_a_collapsed_model_is_evaluated_as_defined(
    make_labelled: MakeLabelled, definition: Any, ways: list[Any], elements: int, spread: float
) -> None:
    random = np.random.default_rng(5)
    centre = random.normal(size=elements)
    sides = (centre + spread * random.normal(size=(rows, elements)) for rows in (30, 150))
    query, gallery = (make_labelled(random, side.astype(np.float32), (0, 6)) for side in sides)
    assert distances_between(query, gallery).max() < 1e-5
    check(query, gallery, definition, ways)


@pytest.mark.parametrize("elements", [128, 512])
def test_small_elements_that_vanish_beside_a_large_one_are_no_perfect_result(
    make_labelled: MakeLabelled, definition: Any, ways: list[Any], elements: int
) -> None:
    """Their products are all below the last digit of the sum, and rounded away in float32, always downwards."""
    random = np.random.default_rng(6)
    sides = (1e-4 * random.uniform(1, 1.3, (rows, elements)) for rows in (30, 150))
    query, gallery = (make_labelled(random, side.astype(np.float32), (0, 6)) for side in sides)
    for side in (query, gallery):
        side.features[:, 0] = 1
    check(query, gallery, definition, ways)


def test_memory_does_not_grow_with_the_gallery(make_labelled: MakeLabelled) -> None:
    random = np.random.default_rng(7)
    query = make_labelled(random, random.normal(size=(4000, 64)).astype(np.float32), (1, 200))
    peaks = []
    for images in (5000, 20000):
        gallery = make_labelled(random, random.normal(size=(images, 64)).astype(np.float32), (1, 200))
        evaluate(query, gallery)
        tracemalloc.start()
        evaluate(query, gallery)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 100e6
