"""What goes into a network and what comes out of it: refused where it is not what it has to be."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .manifest import Manifest


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


def check_embeddings(embeddings: NDArray[np.float32], manifest: Manifest) -> None:
    """Refuse embeddings that nothing can be compared with.

    Args:
        embeddings: N x D.
        manifest: of the model they are from.

    Raises:
        InputError: one holds NaN or infinity.
    """
    finite = np.isfinite(embeddings)
    if finite.all():
        return
    if manifest.precision == "fp16":
        remedy = "half precision overflowed, use the fp32 file"
    else:
        remedy = "check the weights that it was made from, and that it runs in float32"
    raise InputError(
        f"{int((~finite.all(axis=1)).sum())} of {len(embeddings)} embeddings of a batch hold NaN or infinity; expected "
        f"finite numbers from this {manifest.precision} model: {remedy}"
    )
