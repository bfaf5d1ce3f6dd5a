"""Checkpoints with random weights, of three kinds of backbone at a small input size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from train.checkpoint import untrained_checkpoint

MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Writes an untrained checkpoint, 64 x 32 input and two strips unless told otherwise."""

    def make(backbone: str = "resnet10t", **arguments: object) -> Path:
        path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
        return untrained_checkpoint(path, **{"backbone": backbone, "height": 64, "width": 32, "strips": 2, **arguments})

    return make


@pytest.fixture(scope="session")
def crops() -> list[NDArray[np.uint8]]:
    """Ten BGR crops of several sizes, with structure instead of noise."""
    random = np.random.default_rng(0)
    result = []
    for _ in range(10):
        height, width = random.integers(20, 150), random.integers(10, 80)
        rows, columns = np.mgrid[:height, :width]
        colour = random.integers(0, 256, 3)
        waves = np.sin(rows * random.uniform(0.02, 0.3) + columns * random.uniform(0.02, 0.3))
        result.append(np.uint8(np.clip(colour + 60 * waves[..., None], 0, 255)))
    return result
