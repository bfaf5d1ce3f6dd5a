"""Image files to arrays. Arrays are uint8, H x W x 3, and BGR, as OpenCV decodes them."""

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image's; hidden files are not images."""
    # Not pathlib, which takes seconds over the 126,441 names of a large data set.
    base = os.path.basename(name)  # noqa: PTH119
    return base.lower().endswith(IMAGE_SUFFIXES) and not base.startswith(".")


def decode_image(content: bytes, name: str) -> NDArray[np.uint8]:
    """Decode an encoded image.

    Args:
        content: the encoded file.
        name: what to call it in an error.

    Returns:
        H x W x 3 uint8, BGR.

    Raises:
        InputError: `content` is not an image that OpenCV can decode.
    """
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise InputError(f"{name} is not a readable image ({len(content)} bytes); remove it or replace it")
    return np.asarray(image, np.uint8)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file: H x W x 3 uint8, BGR.

    Raises:
        InputError: the file is missing or is not an image.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror}; check the path") from error
    return decode_image(content, str(path))


def list_images(folder: Path) -> list[Path]:
    """The image files directly in `folder`, sorted by name.

    Raises:
        InputError: `folder` is not a folder or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected a folder of images")
    images = sorted(path for path in folder.iterdir() if path.is_file() and is_image_name(path.name))
    if not images:
        raise InputError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)}); expected at least one")
    return images
