from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from runtime.errors import DeviceError, InputError
from runtime.manifest import Precision
from runtime.preprocess import preprocess
from train.checkpoint import load_checkpoint, untrained_checkpoint
from train.embedder import TorchBackend, open_checkpoint


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


def before_forward(checkpoint: Path, action: Callable[[], object]) -> TorchBackend:
    """A backend whose model does `action` before it computes."""
    loaded = load_checkpoint(checkpoint)

    def hook(_module: nn.Module, _inputs: tuple[torch.Tensor, ...]) -> None:
        action()

    loaded.model.register_forward_pre_hook(hook)
    return TorchBackend(loaded.model, loaded.manifest, torch.device("cpu"))


def precisions() -> tuple[bool, str]:
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.mark.parametrize("around", [(True, "medium"), (True, "highest"), (False, "high")])
def test_the_reference_multiplies_in_full_float32(
    checkpoint: Path, around: tuple[bool, str], request: pytest.FixtureRequest
) -> None:
    def set_precisions(convolutions: bool, products: str) -> None:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)

    request.addfinalizer(partial(set_precisions, *precisions()))
    set_precisions(*around)
    seen: list[tuple[bool, str]] = []
    backend = before_forward(checkpoint, lambda: seen.append(precisions()))
    backend.run(np.zeros((1, 64, 32, 3), np.uint8))
    assert seen == [(False, "highest")]
    assert precisions() == around


def test_memory_that_is_not_there_is_a_device_error(checkpoint: Path) -> None:
    backend = before_forward(checkpoint, lambda: torch.empty(1 << 55))
    before = precisions()
    with pytest.raises(DeviceError, match=r"torch \(CPU\) failed on a batch of 3: .*; try a smaller batch size"):
        backend.run(np.zeros((3, 64, 32, 3), np.uint8))
    assert precisions() == before


def test_half_precision_is_close_and_its_norm_is_not_half(checkpoint: Path) -> None:
    """On the CPU, which users are refused: the same autocast as on a GPU."""
    images = np.random.default_rng(3).integers(0, 256, (4, 64, 32, 3), np.uint8)
    with open_checkpoint(checkpoint, "cpu") as embedder:
        backend = embedder.backend
        assert isinstance(backend, TorchBackend)
        reference = backend.run(images)
        backend._precision = "fp16"
        half = backend.run(images)
    assert half.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, rtol=0, atol=1e-6)
    assert (half * reference).sum(axis=1).min() > 0.999
    assert np.abs(half - reference).max() > 1e-6


def test_half_precision_is_refused_on_the_cpu(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="'fp16' was asked for on the CPU, where it is slower"):
        open_checkpoint(checkpoint, "cpu", precision="fp16")


def test_what_is_compiled_is_the_same_network(checkpoint: Path) -> None:
    """The compiler itself, which takes minutes, is left out: what it was given runs as it is."""
    images = np.random.default_rng(4).integers(0, 256, (5, 64, 32, 3), np.uint8)
    with open_checkpoint(checkpoint, "cpu") as eager, open_checkpoint(checkpoint, "cpu", compiled=True) as compiled:
        assert compiled.backend.name == "torch (CPU, compiled)"
        expected = eager.backend.run(images)
        with torch.compiler.set_stance("force_eager"):
            np.testing.assert_array_equal(compiled.backend.run(images), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_on_a_gpu(checkpoint: Path, precision: Precision) -> None:
    images = np.random.default_rng(5).integers(0, 256, (7, 64, 32, 3), np.uint8)
    with (
        open_checkpoint(checkpoint, "cpu") as reference,
        open_checkpoint(checkpoint, "cuda", precision=precision) as gpu,
    ):
        backend = gpu.backend
        assert isinstance(backend, TorchBackend)
        for count in (7, 3, 7):
            features, stages = backend.run_timed(images[:count])
            assert stages is not None
            assert min(stages.upload, stages.compute, stages.download) > 0
            cosines = (features * reference.backend.run(images[:count])).sum(axis=1)
            assert cosines.min() > (0.999999 if precision == "fp32" else 0.999)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error(checkpoint: Path) -> None:
    with pytest.raises(DeviceError, match="finds no GPU; use 'cpu'"):
        open_checkpoint(checkpoint, "cuda")
