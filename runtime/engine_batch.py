"""Batches as an engine takes them."""

import numpy as np
from numpy.typing import NDArray

from .batch_checks import check_images
from .engine_manifest import BatchProfile


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
    check_images(images, image_shape, profile.max)
    count = len(images)
    if count >= profile.min:
        return np.ascontiguousarray(images)
    batch = np.zeros((profile.min, *image_shape), np.uint8)
    batch[:count] = images
    return batch
