"""From a crop to the network's input: the one function that training, evaluation and deployment all use."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import InputError

ColourOrder = Literal["RGB", "BGR"]


def preprocess(crop: NDArray[np.uint8], height: int, width: int, colour_order: ColourOrder) -> NDArray[np.uint8]:
    """Resize a crop to the network's input size and bring it to RGB.

    The aspect ratio is not kept (as in the paper and in the field's toolboxes) and interpolation is bilinear without
    antialiasing. Normalisation is part of the network, not of this function.

    Args:
        crop: h x w x 3 uint8 in [0, 255], any h, w >= 1.
        height: rows of the result.
        width: columns of the result.
        colour_order: the order of `crop`'s channels; OpenCV decodes to "BGR".

    Returns:
        height x width x 3 uint8, RGB, C-contiguous.

    Raises:
        InputError: `crop` is not such an array, or `colour_order` is neither "RGB" nor "BGR".
    """
    check_crop(crop)
    if colour_order not in ("RGB", "BGR"):
        raise InputError(f"colour_order is {colour_order!r}; expected 'RGB' or 'BGR'")
    resized = cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR)
    if colour_order == "BGR":
        resized = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(resized, np.uint8)


def preprocess_batch(
    crops: Sequence[NDArray[np.uint8]], height: int, width: int, colour_order: ColourOrder
) -> NDArray[np.uint8]:
    """`preprocess` for N crops: N x height x width x 3 uint8, RGB."""
    batch = np.empty((len(crops), height, width, 3), np.uint8)
    for row, crop in zip(batch, crops, strict=True):
        row[...] = preprocess(crop, height, width, colour_order)
    return batch


def check_crop(crop: NDArray[np.uint8]) -> None:
    """Refuse anything but a non-empty h x w x 3 uint8 array."""
    if not isinstance(crop, np.ndarray):
        raise InputError(f"a crop is a {type(crop).__name__}; expected an h x w x 3 uint8 NumPy array")
    if crop.ndim != 3 or crop.shape[2] != 3 or crop.dtype != np.uint8 or crop.size == 0:
        raise InputError(f"a crop has shape {crop.shape} and type {crop.dtype}; expected non-empty h x w x 3 uint8")
