"""From crops to embeddings, whatever runs the network."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .files import require_file
from .manifest import Manifest
from .preprocess import ColourOrder, preprocess_batch

Device = Literal["auto", "cpu", "cuda"]
T = TypeVar("T")

_DEFAULT_BATCH = 32


class Backend(Protocol):
    """Something that runs the network. Images in and embeddings out, as `run` says.

    Attributes:
        name: what runs it and where, e.g. "onnxruntime (CPU)".
        manifest: of the model it runs.
        max_batch: the largest batch it accepts; None where there is no limit.
    """

    name: str
    manifest: Manifest
    max_batch: int | None

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x H x W x 3 uint8 RGB, 1 <= N <= max_batch, to N x D float32, L2-normalised."""
        ...

    def close(self) -> None:
        """Free what is held; a second call does nothing."""
        ...


class Embedder:
    """Turns crops into embeddings; a context manager that frees the backend at its end.

    Example:
        with Embedder.open("model.onnx") as embedder:
            features = embedder.embed(crops, colour_order="BGR")
    """

    def __init__(self, backend: Backend, batch_size: int | None = None) -> None:
        """Wrap a backend.

        Args:
            backend: what runs the network; closed with the embedder.
            batch_size: crops per call of the backend; None takes the largest the model allows, 32 where it allows any.

        Raises:
            InputError: `batch_size` is not positive or larger than the backend's largest batch.
        """
        limit = backend.max_batch
        if batch_size is not None and (batch_size < 1 or (limit is not None and batch_size > limit)):
            raise InputError(f"batch size is {batch_size}; expected 1 to {limit or 'any size'} for {backend.name}")
        self.backend = backend
        self.batch_size = batch_size or limit or _DEFAULT_BATCH

    @classmethod
    def open(
        cls, path: str | Path, *, device: Device = "auto", batch_size: int | None = None, plugin: Path | None = None
    ) -> "Embedder":
        """Open an `.engine` (TensorRT or TensorRT-RTX) or an `.onnx` (ONNX Runtime).

        Args:
            path: the model file; an engine has its manifest beside it.
            device: "cpu", "cuda" or "auto": the GPU where the installed runtime can use one, else the CPU, said.
            batch_size: see `__init__`.
            plugin: the StripGate library of an engine; None looks beside the engine, then where `make plugin` puts it.

        Raises:
            InputError: no such file, or neither suffix.
            ManifestError: no manifest, or one that does not match the file or the machine.
            MissingDependencyError: the runtime that the file needs is not installed.
            DeviceError: the device asked for cannot be used.
        """
        path = Path(path)
        if path.suffix not in (".onnx", ".engine"):
            raise InputError(f"{path} is not a model that runs here; expected an .onnx or .engine file")
        require_file(path, "model")
        backend = _open_backend(path, device, plugin)
        try:
            return cls(backend, batch_size)
        except InputError:
            backend.close()
            raise

    @property
    def manifest(self) -> Manifest:
        """Of the model that runs."""
        return self.backend.manifest

    def embed(self, crops: Iterable[NDArray[np.uint8]], colour_order: ColourOrder) -> NDArray[np.float32]:
        """Embed N crops, in chunks of the batch size.

        Args:
            crops: N arrays h x w x 3 uint8, any sizes; a generator is read one chunk at a time.
            colour_order: of all of them; OpenCV decodes to "BGR".

        Returns:
            N x D float32, L2-normalised; 0 x D for no crops.

        Raises:
            InputError: a crop is not such an array.
            DeviceError: the device failed.
        """
        size = self.manifest.height, self.manifest.width
        chunks = [
            self.backend.run(preprocess_batch(chunk, *size, colour_order)) for chunk in _chunks(crops, self.batch_size)
        ]
        if not chunks:
            return np.empty((0, self.manifest.embedding_size), np.float32)
        return np.concatenate(chunks)

    def close(self) -> None:
        """Free the backend."""
        self.backend.close()

    def __enter__(self) -> "Embedder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _open_backend(path: Path, device: Device, plugin: Path | None) -> Backend:
    if path.suffix == ".onnx":
        from .onnxruntime_backend import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, device)
    from .tensorrt_backend import TensorRTBackend

    if device == "cpu":
        raise InputError(f"{path} is an engine, which runs on a GPU only; use the .onnx file for device 'cpu'")
    return TensorRTBackend(path, plugin)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
