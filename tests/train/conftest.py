"""A data set of striped figures, small enough to learn in seconds."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from eval.datasets import ReidDataset, open_dataset
from train.recipe import Recipe

HEIGHT, WIDTH = 64, 32


def _figure(person: int, generator: np.random.Generator) -> np.ndarray:
    """Two bands of colour that belong to the person, with noise."""
    colours = np.random.default_rng(person).integers(0, 256, (2, 1, 3))
    image = np.kron(colours, np.ones((HEIGHT // 2, WIDTH, 1))) + generator.normal(0, 15, (HEIGHT, WIDTH, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four persons, two cameras, in the Market-1501 layout; the last two are the test half."""
    folder = tmp_path_factory.mktemp("toy")
    generator = np.random.default_rng(0)
    for person in (3, 7, 11, 12):
        for camera in (1, 2):
            for shot in range(3):
                part = "bounding_box_train" if person < 10 else ("bounding_box_test" if shot else "query")
                path = folder / part / f"{person:04d}_c{camera}s1_{shot:06d}_00.png"
                path.parent.mkdir(exist_ok=True)
                cv2.imwrite(str(path), _figure(person, generator))
    return folder


@pytest.fixture(scope="session")
def toy(toy_folder: Path) -> ReidDataset:
    """That folder, opened."""
    return open_dataset(toy_folder)


@pytest.fixture(scope="session")
def toy_recipe() -> Recipe:
    """A recipe that fits it."""
    return Recipe(
        backbone="resnet10t",
        strips=2,
        reduction=4,
        height=HEIGHT,
        width=WIDTH,
        epochs=3,
        batch_size=4,
        lr=0.02,
        milestones=[2],
        warmup_epochs=1,
        crop_padding=3,
    )
