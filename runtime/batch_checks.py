"""What goes into a network: refused where it is not what it has to be."""

from typing import Any

import numpy as np

from .errors import InputError


def check_images(images: Any, image_shape: tuple[int, int, int], most: int | None) -> None:
    """Refuse a batch of images that a model would misread.

    Args:
        images: what should be N x H x W x 3 uint8, 1 <= N <= `most`.
        image_shape: H, W, 3.
        most: images in a batch; None for any number.

    Raises:
        InputError: another type or shape, no image, or too many.
    """
    if not isinstance(images, np.ndarray):
        given = f"is a {type(images).__name__}"
    elif images.dtype != np.uint8 or images.shape[1:] != image_shape or not 1 <= len(images) <= (most or len(images)):
        given = f"has shape {images.shape} and type {images.dtype}"
    else:
        return
    number = "1 or more" if most is None else f"1 to {most}"
    raise InputError(
        f"a batch {given}; expected {number} RGB images of shape {image_shape} and type uint8, as `Embedder.embed` "
        "makes them from crops"
    )
