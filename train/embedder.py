"""The PyTorch reference as an embedder: what every exported file and engine is compared with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from runtime.backend import Device, Processor
from runtime.embedder import Embedder
from runtime.errors import DeviceError, InputError
from runtime.manifest import Manifest

from .checkpoint import load_checkpoint
from .model import LgeuNet


class TorchBackend:
    """Runs a model in float32 with torch; see `runtime.backend.Backend`."""

    def __init__(self, model: LgeuNet, manifest: Manifest, device: torch.device) -> None:
        """Wrap a model, which is put into evaluation mode and onto `device`.

        Raises:
            DeviceError: the device has no room for it, or failed.
        """
        self._device = device
        self.device: Processor = "cpu" if device.type == "cpu" else "cuda"
        self.name = f"torch ({'CPU' if device.type == 'cpu' else torch.cuda.get_device_name(device)})"
        with _device_errors(f"{self.name} could not take the model"):
            # The images arrive channels-last, so the weights had better be, too.
            self._model = model.eval().to(device).to(memory_format=torch.channels_last)
        self.manifest = manifest
        self.max_batch: int | None = None

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x H x W x 3 uint8 RGB to N x D float32, L2-normalised.

        Raises:
            InputError: another shape or type.
            DeviceError: the device failed, e.g. for want of memory.
        """
        expected = (self.manifest.height, self.manifest.width, 3)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
            raise InputError(f"images are {images.shape} {images.dtype}; expected N x {expected} uint8")
        failure = f"{self.name} failed on a batch of {len(images)}"
        with _device_errors(failure), _full_float32(), torch.inference_mode():
            descriptors = self._model(torch.from_numpy(images).to(self._device))
            normalised = torch.nn.functional.normalize(descriptors)
            return np.asarray(normalised.cpu().numpy(), np.float32)

    def close(self) -> None:
        """Nothing is held beyond the model's memory."""


@contextmanager
def _full_float32() -> Iterator[None]:
    """While the block runs, multiply float32 as float32: on recent GPUs torch convolves in TF32, with 10 bits of 23."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


@contextmanager
def _device_errors(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # out of memory is one, and so is everything that CUDA reports
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DeviceError(f"{what}: {reason}; try a smaller batch size, or device 'cpu'") from error


def open_checkpoint(path: Path, device: Device = "auto", batch_size: int | None = None) -> Embedder:
    """Open a checkpoint as an embedder.

    Args:
        path: a `checkpoint.pt`.
        device: "cpu", "cuda", or "auto": the GPU where torch can use one, else the CPU.
        batch_size: crops per pass; None takes 32.

    Raises:
        InputError: the file is missing or no checkpoint, or the batch size is not positive.
        DeviceError: "cuda" was asked for and torch cannot use a GPU, or the model does not fit on it.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise DeviceError(f"device 'cuda' was asked for, but torch {torch.__version__} finds no GPU; use 'cpu'")
    checkpoint = load_checkpoint(Path(path))
    chosen = torch.device("cuda" if device != "cpu" and has_gpu else "cpu")
    return Embedder(TorchBackend(checkpoint.model, checkpoint.manifest, chosen), batch_size)
