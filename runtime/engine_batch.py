"""Batches as an engine takes them."""

import numpy as np
from numpy.typing import NDArray

from .engine_manifest import BatchProfile
from .errors import InputError


def fit_batch(images: NDArray[np.uint8], profile: BatchProfile, image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Check a batch and pad it with black images to the smallest batch that the engine takes.

    Args:
        images: N x H x W x 3 uint8.
        profile: batch sizes the engine takes.
        image_shape: H, W, 3.

    Returns:
        max(N, profile.min) x H x W x 3 uint8, C-contiguous.

    Raises:
        InputError: another shape or type, or N is 0 or larger than profile.max.
    """
    count = len(images)
    if images.shape[1:] != image_shape or images.dtype != np.uint8 or not 1 <= count <= profile.max:
        raise InputError(
            f"a batch has shape {images.shape} and type {images.dtype}; expected 1 to {profile.max} images of shape "
            f"{image_shape} and type uint8"
        )
    if count >= profile.min:
        return np.ascontiguousarray(images)
    batch = np.zeros((profile.min, *image_shape), np.uint8)
    batch[:count] = images
    return batch
