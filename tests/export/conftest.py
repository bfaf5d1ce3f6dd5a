"""Checkpoints with random weights, of three kinds of backbone at a small input size."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.onnx_export import ExportReport, export_checkpoint
from train.checkpoint import untrained_checkpoint

MakeCheckpoint = Callable[..., Path]
Crops = list[NDArray[np.uint8]]
NETWORKS = [("resnet10t", "strip", 2), ("mobilenetv3_small_050", "none", 1), ("convnext_atto", "se", 1)]


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


@dataclass(frozen=True)
class Exported:
    checkpoint: Path
    out: Path
    report: ExportReport


@pytest.fixture(scope="session", params=NETWORKS, ids=lambda network: f"{network[0]}-{network[1]}")
def exported(
    request: pytest.FixtureRequest,
    make_checkpoint: MakeCheckpoint,
    crops: Crops,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    """Files of a ResNet, a MobileNet and a ConvNeXt, each with another gate."""
    backbone, gate, strips = request.param
    checkpoint = make_checkpoint(backbone, gate=gate, strips=strips)
    out = tmp_path_factory.mktemp("exported") / "new"
    return Exported(checkpoint, out, export_checkpoint(checkpoint, out, crops))
