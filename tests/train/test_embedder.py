from pathlib import Path

import numpy as np
import pytest
import torch

from runtime.errors import DeviceError, InputError
from runtime.preprocess import preprocess
from train.checkpoint import load_checkpoint, untrained_checkpoint
from train.embedder import open_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_checkpoint(
        tmp_path_factory.mktemp("embedder") / "checkpoint.pt", backbone="resnet10t", height=64, width=32, strips=2
    )


def test_embeddings_are_the_normalised_descriptors_whatever_the_batch(checkpoint: Path) -> None:
    generator = np.random.default_rng(0)
    crops = [generator.integers(0, 256, (size, size // 2, 3), np.uint8) for size in range(40, 75, 5)]
    model = load_checkpoint(checkpoint).model
    with torch.no_grad():
        rows = [model(torch.from_numpy(preprocess(crop, 64, 32, "BGR"))[None])[0].double().numpy() for crop in crops]
    expected = np.stack([row / np.linalg.norm(row) for row in rows])
    for batch_size in (1, 3, None):
        with open_checkpoint(checkpoint, "cpu", batch_size) as embedder:
            features = embedder.embed(crops, "BGR")
            assert features.dtype == np.float32
            np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5)
            assert embedder.embed([], "BGR").shape == (0, 512)
            assert embedder.backend.name == "torch (CPU)"


def test_bad_arguments(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch size is 0"):
        open_checkpoint(checkpoint, "cpu", 0)
    with pytest.raises(InputError, match="does not exist"):
        open_checkpoint(tmp_path / "absent.pt")
    with open_checkpoint(checkpoint, "cpu") as embedder, pytest.raises(InputError, match="images are"):
        embedder.backend.run(np.zeros((1, 32, 64, 3), np.uint8))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error(checkpoint: Path) -> None:
    with pytest.raises(DeviceError, match="finds no GPU; use 'cpu'"):
        open_checkpoint(checkpoint, "cuda")
