"""A synthetic world and a model, small enough for tests."""

from pathlib import Path

import pytest

from lgeu.cli import main
from lgeu.synthetic.world import World, WorldSize, make_world
from train.checkpoint import untrained_checkpoint

SIZE = WorldSize(
    train_people=3,
    test_people=3,
    distractors=2,
    cameras=2,
    images_per_camera=2,
    junk=2,
    video_people=3,
    video_frames=12,
)


@pytest.fixture(scope="session")
def world() -> World:
    return make_world(SIZE, seed=5)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "checkpoint.pt"
    return untrained_checkpoint(path, backbone="mobilenetv3_small_050", height=64, width=32, strips=2)


@pytest.fixture(scope="session")
def onnx_folder(checkpoint: Path) -> Path:
    out = checkpoint.parent / "onnx"
    assert main(["export", str(checkpoint), "--out", str(out)]) == 0
    return out
