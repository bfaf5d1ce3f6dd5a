"""A data set for measuring speed where there is none of people: blurred noise, in the layout of Market-1501."""

from pathlib import Path

import cv2
import numpy as np

from eval.datasets import ReidDataset, open_dataset
from eval.storage import SYNTHETIC_MARKER


def write_blurred_people(folder: Path, identities: int, images_each: int) -> ReidDataset:
    """Write training images of 128 x 64 as JPEG files, and open them.

    Args:
        folder: written to.
        identities: how many persons.
        images_each: of each.
    """
    part = folder / "bounding_box_train"
    part.mkdir(parents=True)
    (folder / SYNTHETIC_MARKER).write_text("Blurred noise; results on it say nothing about people.\n")
    generator = np.random.default_rng(0)
    for person in range(1, identities + 1):
        for number in range(images_each):
            noise = generator.integers(0, 256, (16, 8, 3), np.uint8)
            image = cv2.resize(noise, (64, 128), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(part / f"{person:04d}_c{number % 6 + 1}s1_{number:06d}_00.jpg"), image)
    return open_dataset(folder)
