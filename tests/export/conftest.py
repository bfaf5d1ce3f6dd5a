"""Checkpoints with random weights, of three kinds of backbone at a small input size."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.onnx_export import ExportReport, export_checkpoint
from train.checkpoint import load_checkpoint, save_checkpoint, untrained_checkpoint

MakeCheckpoint = Callable[..., Path]
Crops = list[NDArray[np.uint8]]
NETWORKS = [
    {"backbone": "resnet10t", "gate": "strip"},
    {"backbone": "mobilenetv3_small_050", "gate": "none", "neck": "centre"},
    {"backbone": "convnext_atto", "gate": "se"},
    {"backbone": "resnet10t", "gate": "strip", "last_stride": 1, "neck": "bn"},
]


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Writes an untrained checkpoint, 64 x 32 input and two strips unless told otherwise."""

    def make(backbone: str = "resnet10t", **arguments: object) -> Path:
        path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
        untrained_checkpoint(path, **{"backbone": backbone, "height": 64, "width": 32, "strips": 2, **arguments})
        return _with_a_trained_neck(path) if arguments.get("neck", "none") != "none" else path

    return make


def _with_a_trained_neck(path: Path) -> Path:
    """Give the neck statistics and weights of its own: fresh ones change nothing."""
    model = load_checkpoint(path).model
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value, low, high in (("weight", 0.5, 2.0), ("running_mean", 0.0, 0.5), ("running_var", 0.1, 2.0)):
            getattr(model.neck, value).uniform_(low, high, generator=generator)
    return save_checkpoint(path, model)


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


@pytest.fixture(scope="session", params=NETWORKS, ids=lambda network: "-".join(map(str, network.values())))
def exported(
    request: pytest.FixtureRequest,
    make_checkpoint: MakeCheckpoint,
    crops: Crops,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    """Files of ResNets, a MobileNet and a ConvNeXt, with several gates, and with a neck."""
    checkpoint = make_checkpoint(**request.param)
    out = tmp_path_factory.mktemp("exported") / "new"
    return Exported(checkpoint, out, export_checkpoint(checkpoint, out, crops))
