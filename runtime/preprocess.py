"""From a crop to the network's input: the one function that training, evaluation and deployment all use."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .manifest import InputFormat

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
    return preprocess_batch([crop], height, width, colour_order).reshape(height, width, 3)


def preprocess_batch(
    crops: Sequence[NDArray[np.uint8]],
    height: int,
    width: int,
    colour_order: ColourOrder,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """`preprocess` for N crops of any sizes.

    Args:
        crops: N of them.
        height: as in `preprocess`.
        width: likewise.
        colour_order: of all crops.
        out: N x height x width x 3 uint8, C-contiguous, to write into; None makes a new array.

    Returns:
        `out`: N x height x width x 3 uint8, RGB.

    Raises:
        InputError: see `preprocess`; or `out` is not such an array.
    """
    if colour_order not in ("RGB", "BGR"):
        raise InputError(f"colour_order is {colour_order!r}; expected 'RGB' or 'BGR'")
    shape = (len(crops), height, width, 3)
    if out is None:
        out = np.empty(shape, np.uint8)
    elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
        # OpenCV would answer another array by writing into one of its own.
        raise InputError(f"out has shape {out.shape} and type {out.dtype}; expected {shape} uint8, C-contiguous")
    for crop, image in zip(crops, out, strict=True):
        check_crop(crop)
        _write(crop, image, swap=colour_order == "BGR")
    return out


def _write(crop: NDArray[np.uint8], image: NDArray[np.uint8], *, swap: bool) -> None:
    size = image.shape[1], image.shape[0]
    if not swap:
        cv2.resize(crop, size, dst=image, interpolation=cv2.INTER_LINEAR)
    elif crop.size <= image.size:
        # Channels are interpolated alike, so they may be swapped where there are fewer pixels.
        cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), size, dst=image, interpolation=cv2.INTER_LINEAR)
    else:
        resized = cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR)
        cv2.cvtColor(resized, cv2.COLOR_BGR2RGB, dst=image)


def network_input(
    images: NDArray[np.uint8], input_format: InputFormat, out: NDArray[np.uint8] | NDArray[np.float32] | None = None
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """What the input `images` of a model takes.

    Args:
        images: N x H x W x 3 uint8, RGB.
        input_format: the model's, of its manifest.
        out: written and returned, where it is not None: an array of the shape and type below.

    Returns:
        For "uint8-nhwc" `images` itself; for "float-nchw" N x 3 x H x W float32 with the same values, in 0..255. Both
        C-contiguous where `images` is.
    """
    planar = input_format == "float-nchw"
    arranged = images.transpose(0, 3, 1, 2) if planar else images
    if out is not None:
        np.copyto(out, arranged)
        return out
    return np.ascontiguousarray(arranged, np.float32) if planar else images


def check_crop(crop: NDArray[np.uint8]) -> None:
    """Refuse anything but a non-empty h x w x 3 uint8 array."""
    if not isinstance(crop, np.ndarray):
        raise InputError(f"a crop is a {type(crop).__name__}; expected an h x w x 3 uint8 NumPy array")
    if crop.ndim != 3 or crop.shape[2] != 3 or crop.dtype != np.uint8 or crop.size == 0:
        raise InputError(f"a crop has shape {crop.shape} and type {crop.dtype}; expected non-empty h x w x 3 uint8")
