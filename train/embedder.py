"""PyTorch as an embedder: the reference for every exported file and engine, and faster forms of it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runtime.backend import Device, Processor, StageTimes
from runtime.embedder import Embedder
from runtime.errors import DeviceError, InputError
from runtime.files import sha256
from runtime.manifest import Manifest, Precision

from .arithmetic import full_float32
from .checkpoint import load_checkpoint
from .model import LgeuNet
from .transfer import Transfer


class TorchBackend:
    """Runs a model with torch; see `runtime.backend.Backend`. In float32 it is the reference."""

    def __init__(
        self,
        model: LgeuNet,
        manifest: Manifest,
        device: torch.device,
        *,
        precision: Precision = "fp32",
        compiled: bool = False,
    ) -> None:
        """Wrap a model, which is put into evaluation mode and onto `device`.

        Args:
            model: the network.
            manifest: its own.
            device: where it runs.
            precision: "fp32"; or "fp16" for convolutions and products in half (autocast), on a GPU.
            compiled: run it through `torch.compile`, which takes a while at the first batch, and again at the first
                one of another size.

        Raises:
            InputError: "fp16" on a CPU, which computes it slower than float32.
            DeviceError: the device has no room for it, or failed.
        """
        if precision == "fp16" and device.type == "cpu":
            raise InputError("precision 'fp16' was asked for on the CPU, where it is slower than 'fp32'; use a GPU")
        self._device = device
        self.device: Processor = "cpu" if device.type == "cpu" else "cuda"
        place = "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
        details = [place, *(["fp16"] if precision == "fp16" else []), *(["compiled"] if compiled else [])]
        self.name = f"torch ({', '.join(details)})"
        with _device_errors(f"{self.name} could not take the model"):
            # The images arrive channels-last, so the weights had better be, too.
            model = model.eval().to(device).to(memory_format=torch.channels_last)
            self._model: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model
        self._precision = precision
        self._transfer = Transfer(device)
        self.manifest = manifest
        self.max_batch: int | None = None

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x H x W x 3 uint8 RGB to N x D float32, L2-normalised.

        Raises:
            InputError: another shape or type.
            DeviceError: the device failed, e.g. for want of memory.
        """
        return self._run(images, lambda: None)

    def run_timed(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], StageTimes | None]:
        """`run`, and where its time went by the GPU's own clock; None on a CPU, where nothing is copied."""
        if self._device.type == "cpu":
            return self.run(images), None
        events: list[Any] = []

        def mark() -> None:
            event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            events.append(event)

        embeddings = self._run(images, mark)
        with _device_errors(f"{self.name} could not read its clock"):
            torch.cuda.synchronize(self._device)
            upload, compute, download = (start.elapsed_time(end) / 1000 for start, end in pairwise(events))
        return embeddings, StageTimes(upload, compute, download)

    def close(self) -> None:
        """Nothing is held beyond the model's memory."""

    def _run(self, images: NDArray[np.uint8], mark: Callable[[], None]) -> NDArray[np.float32]:
        expected = (self.manifest.height, self.manifest.width, 3)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
            raise InputError(f"images are {images.shape} {images.dtype}; expected N x {expected} uint8")
        failure = f"{self.name} failed on a batch of {len(images)}"
        with _device_errors(failure), full_float32(), torch.inference_mode():
            mark()
            uploaded = self._transfer.upload(images)
            mark()
            with self._arithmetic():
                descriptors = self._model(uploaded)
            # The norm is in float32 in every form of the model.
            normalised = torch.nn.functional.normalize(descriptors.float())
            mark()
            embeddings = self._transfer.download(normalised)
            mark()
            return embeddings

    def _arithmetic(self) -> AbstractContextManager[None]:
        return torch.autocast(self._device.type, torch.float16) if self._precision == "fp16" else nullcontext()


@contextmanager
def _device_errors(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # out of memory is one, and so is everything that CUDA reports
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DeviceError(f"{what}: {reason}; try a smaller batch size, or device 'cpu'") from error


def open_checkpoint(
    path: Path,
    device: Device = "auto",
    batch_size: int | None = None,
    *,
    precision: Precision = "fp32",
    compiled: bool = False,
) -> Embedder:
    """Open a checkpoint as an embedder.

    Args:
        path: a `checkpoint.pt`.
        device: "cpu", "cuda", or "auto": the GPU where torch can use one, else the CPU.
        batch_size: crops per pass; None takes 32.
        precision: as in `TorchBackend`; only "fp32" is the reference.
        compiled: likewise.

    Raises:
        InputError: the file is missing or no checkpoint, the batch size is not positive, or "fp16" on a CPU.
        DeviceError: "cuda" was asked for and torch cannot use a GPU, or the model does not fit on it.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise DeviceError(f"device 'cuda' was asked for, but torch {torch.__version__} finds no GPU; use 'cpu'")
    chosen = torch.device("cuda" if device != "cpu" and has_gpu else "cpu")
    checkpoint = load_checkpoint(Path(path))
    # A checkpoint cannot hold its own hash; the files exported from it do, and are told apart by it.
    manifest = replace(checkpoint.manifest, checkpoint_sha256=sha256(Path(path)))
    backend = TorchBackend(checkpoint.model, manifest, chosen, precision=precision, compiled=compiled)
    return Embedder(backend, batch_size)
