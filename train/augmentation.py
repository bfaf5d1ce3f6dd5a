"""What chance does to a training image, on its uint8 pixels: mirror, padded crop, random erasing."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError

# Zhong et al., "Random Erasing Data Augmentation", 2017: share of the area, and height over width.
_ERASED_AREA = (0.02, 0.4)
_ERASED_ASPECT = (0.3, 1 / 0.3)
# A rectangle that does not fit is drawn again; an image of few pixels may have none that fits.
_ATTEMPTS = 100

# ImageNet's mean colour, RGB: next to zero once the network has normalised it, as in Bag of Tricks and fast-reid.
ERASED_COLOUR = (124, 116, 104)


@dataclass(frozen=True)
class Augmentation:
    """How training images vary.

    Attributes:
        flip: mirror half of the images.
        crop_padding: black pixels on every side before a window of the image's size is cut out; 0 for no cut.
        random_erasing: probability, in 0..1, that a rectangle is overwritten with `ERASED_COLOUR`: 2 to 40 % of the
            image, 0.3 to 3.3 times as high as wide.

    Raises:
        InputError: a negative padding, or a probability outside 0..1.
    """

    flip: bool
    crop_padding: int
    random_erasing: float

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise InputError(f"crop_padding is {self.crop_padding}; expected 0 or more pixels")
        if not 0 <= self.random_erasing <= 1:
            raise InputError(f"random_erasing is {self.random_erasing}; expected a probability in 0..1")


def augment(image: NDArray[np.uint8], augmentation: Augmentation, generator: np.random.Generator) -> NDArray[np.uint8]:
    """An image as training sees it once.

    Args:
        image: (H, W, 3) uint8, RGB.
        augmentation: how it may vary.
        generator: the source of chance. What is not asked for draws nothing from it.

    Returns:
        (H, W, 3) uint8, C-contiguous, never a view of `image`.
    """
    if augmentation.flip and generator.random() < 0.5:
        image = np.asarray(cv2.flip(image, 1), np.uint8)  # 25 times as fast as a copy of NumPy's reversed view
    image = _crop(image, augmentation.crop_padding, generator)
    if augmentation.random_erasing and generator.random() < augmentation.random_erasing:
        _erase(image, generator)
    return image


def _crop(image: NDArray[np.uint8], padding: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    height, width, _ = image.shape
    padded = np.zeros((height + 2 * padding, width + 2 * padding, 3), np.uint8)
    padded[padding : padding + height, padding : padding + width] = image
    top, left = generator.integers(0, 2 * padding, size=2, endpoint=True)
    return padded[top : top + height, left : left + width].copy()


def _erase(image: NDArray[np.uint8], generator: np.random.Generator) -> None:
    """Overwrite a rectangle of `image`."""
    height, width, _ = image.shape
    for _ in range(_ATTEMPTS):
        area = height * width * generator.uniform(*_ERASED_AREA)
        aspect = generator.uniform(*_ERASED_ASPECT)
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < rows < height and 0 < columns < width:
            top = generator.integers(0, height - rows, endpoint=True)
            left = generator.integers(0, width - columns, endpoint=True)
            # A row of pixels: broadcasting the one colour is ten times as slow.
            image[top : top + rows, left : left + columns] = np.full((columns, 3), ERASED_COLOUR, np.uint8)
            return
