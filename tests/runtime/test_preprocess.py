"""From a crop to the network's input, against bilinear interpolation written as plain loops."""

import math
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.preprocess import ColourOrder, network_input, preprocess, preprocess_batch


def bilinear(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear interpolation with pixel centres at half-integers and edges repeated, in float64."""
    rows, columns = image.shape[:2]
    result = np.zeros((height, width, 3))
    for i in range(height):
        for j in range(width):
            y = (i + 0.5) * rows / height - 0.5
            x = (j + 0.5) * columns / width - 0.5
            top, left = math.floor(y), math.floor(x)
            for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
                for column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
                    pixel = image[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)]
                    result[i, j] += row_weight * column_weight * pixel
    return result


@pytest.mark.parametrize("shape", [(128, 64), (16, 8), (5, 3), (1, 1), (37, 90), (1, 50)])
def test_against_the_definition(shape: tuple[int, int]) -> None:
    crop = np.random.default_rng(2).integers(0, 256, (*shape, 3), np.uint8)
    # OpenCV interpolates in fixed point: one level of difference.
    np.testing.assert_allclose(preprocess(crop, 16, 8, "RGB"), bilinear(crop, 16, 8), atol=1)
    np.testing.assert_allclose(preprocess(crop, 16, 8, "BGR"), bilinear(crop, 16, 8)[..., ::-1], atol=1)


def test_a_crop_of_the_right_size_is_not_changed() -> None:
    crop = np.random.default_rng(3).integers(0, 256, (16, 8, 3), np.uint8)
    np.testing.assert_array_equal(preprocess(crop, 16, 8, "RGB"), crop)


def test_colours() -> None:
    red = np.zeros((20, 10, 3), np.uint8)
    red[..., 2] = 255  # BGR
    assert (preprocess(red, 4, 4, "BGR") == [255, 0, 0]).all()
    assert (preprocess(red, 4, 4, "RGB") == [0, 0, 255]).all()


def test_a_view_into_a_larger_image() -> None:
    image = np.random.default_rng(4).integers(0, 256, (50, 60, 3), np.uint8)
    view = image[10:40:2, 50:20:-1]
    before = image.copy()
    result = preprocess(view, 16, 8, "BGR")
    np.testing.assert_array_equal(result, preprocess(view.copy(), 16, 8, "BGR"))
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(image, before)


def test_a_batch_is_its_crops(crops: list[NDArray[np.uint8]]) -> None:
    batch = preprocess_batch(crops, 16, 8, "BGR")
    assert batch.shape == (len(crops), 16, 8, 3)
    for row, crop in zip(batch, crops, strict=True):
        np.testing.assert_array_equal(row, preprocess(crop, 16, 8, "BGR"))


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("size", [(16, 8), (5, 3), (32, 16), (64, 32), (300, 200), (1, 400), (17, 8)])
def test_swapping_channels_first_or_last_is_the_same(size: tuple[int, int], order: ColourOrder) -> None:
    """Small crops are swapped before they are resized, large ones afterwards."""
    crop = np.random.default_rng(5).integers(0, 256, (*size, 3), np.uint8)
    expected = cv2.resize(crop, (8, 16), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(preprocess(crop, 16, 8, order), expected if order == "RGB" else expected[..., ::-1])


def test_a_batch_in_memory_that_is_there(crops: list[NDArray[np.uint8]]) -> None:
    memory = np.zeros((len(crops) + 2, 16, 8, 3), np.uint8)
    batch = preprocess_batch(crops, 16, 8, "BGR", out=memory[1:-1])
    assert np.shares_memory(batch, memory)
    np.testing.assert_array_equal(memory[1:-1], preprocess_batch(crops, 16, 8, "BGR"))
    assert not memory[[0, -1]].any()


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((2, 16, 8, 3), np.uint8),
        np.zeros((1, 8, 16, 3), np.uint8),
        np.zeros((1, 16, 8, 3), np.float32),
        np.zeros((1, 16, 16, 3), np.uint8)[:, :, ::2],
    ],
)
def test_memory_that_does_not_fit(out: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"expected \(1, 16, 8, 3\) uint8, C-contiguous"):
        preprocess_batch([np.zeros((4, 4, 3), np.uint8)], 16, 8, "RGB", out=out)


def test_what_a_network_takes(crops: list[NDArray[np.uint8]]) -> None:
    images = preprocess_batch(crops, 16, 8, "BGR")
    assert network_input(images, "uint8-nhwc") is images
    planes = network_input(images, "float-nchw")
    assert (planes.shape, planes.dtype, planes.flags.c_contiguous) == ((len(crops), 3, 16, 8), np.float32, True)
    for colour in range(3):
        np.testing.assert_array_equal(planes[:, colour], images[..., colour])


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ([[1, 2, 3]], "a crop is a list"),
        (None, "a crop is a NoneType"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "type float32"),
        (np.zeros((0, 4, 3), np.uint8), "non-empty"),
    ],
)
def test_refused_crops(crop: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        preprocess(crop, 16, 8, "RGB")


def test_refused_colour_order() -> None:
    order: Any = "rgb"
    with pytest.raises(InputError, match="colour_order is 'rgb'; expected 'RGB' or 'BGR'"):
        preprocess(np.zeros((4, 4, 3), np.uint8), 16, 8, order)
