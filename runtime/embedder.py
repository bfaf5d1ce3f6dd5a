"""From crops to embeddings, whatever runs the network."""

import os
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from .backend import Backend, BackendName, Device, PendingEmbeddings, QueueingBackend
from .backend_choice import open_backend
from .batch_checks import check_embeddings, check_images
from .batches import BatchMaker
from .cores import usable_cores
from .errors import InputError
from .manifest import Manifest
from .preprocess import ColourOrder

_DEFAULT_BATCH = 32
# Each thread holds Python's interpreter lock for part of its time, so that more of them bring ever less.
_MOST_THREADS = 4


class Embedder:
    """Turns crops into embeddings; a context manager that frees the backend at its end.

    While the network runs on one batch, the next one is preprocessed and, by a backend that queues, copied to the GPU.
    Threads may share an embedder: each preprocesses its own crops, and they take turns with the network. A process that
    is forked off has none of the threads, and opens its own.

    Attributes:
        backend: what runs the network.
        batch_size: crops per call of the backend.
        preprocessing_threads: that work at once for one call of `embed`.
        refuses_non_finite: whether NaN or infinity in embeddings is an error; False where they are to be counted.

    Example:
        with Embedder.open("model.onnx") as embedder:
            features = embedder.embed(crops, colour_order="BGR")
    """

    def __init__(
        self, backend: Backend, batch_size: int | None = None, *, preprocessing_threads: int | None = None
    ) -> None:
        """Wrap a backend.

        Args:
            backend: what runs the network; closed with the embedder.
            batch_size: crops per call of the backend; None takes the largest the model allows, 32 where it allows any.
            preprocessing_threads: None takes one where the network has the CPU, else up to four of its cores.

        Raises:
            InputError: `batch_size` is not positive or larger than the backend's largest batch, or there is no thread.
        """
        limit = backend.max_batch
        if batch_size is not None and (batch_size < 1 or (limit is not None and batch_size > limit)):
            raise InputError(f"batch size is {batch_size}; expected 1 to {limit or 'any size'} for {backend.name}")
        if preprocessing_threads is not None and preprocessing_threads < 1:
            raise InputError(f"{preprocessing_threads} threads to preprocess with; expected at least 1")
        self.backend = backend
        self.batch_size = batch_size or limit or _DEFAULT_BATCH
        self.preprocessing_threads = preprocessing_threads or _threads_beside(backend)
        self._batches = BatchMaker(
            backend.manifest.height, backend.manifest.width, self.batch_size, self.preprocessing_threads
        )
        self._queue = backend if isinstance(backend, QueueingBackend) else None
        self._turn = Lock()
        self._process = os.getpid()
        self.refuses_non_finite = True
        self._closed = False

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        backend: BackendName = "auto",
        device: Device = "auto",
        batch_size: int | None = None,
        plugin: Path | None = None,
        preprocessing_threads: int | None = None,
    ) -> "Embedder":
        """Open an `.engine` (TensorRT or TensorRT-RTX) or an `.onnx` (ONNX Runtime or OpenVINO).

        Args:
            path: the model file; an engine has its manifest beside it.
            backend: what runs it; "auto" chooses, and logs why: see `runtime.backend_choice.open_backend`.
            device: "cpu", "cuda" or "auto": the GPU where the installed runtime can use one, else the CPU, said.
            batch_size: see `__init__`.
            plugin: the StripGate library of an engine; None looks beside the engine, then where `make plugin` puts it.
            preprocessing_threads: see `__init__`.

        Raises:
            InputError: no such file, neither suffix, or a backend that does not run such a file.
            ManifestError: no manifest, or one that does not match the file or the machine.
            MissingDependencyError: the runtime that the file needs is not installed.
            DeviceError: the device asked for cannot be used.
        """
        opened = open_backend(Path(path), backend, device, batch_size=batch_size, plugin=plugin)
        try:
            return cls(opened, batch_size, preprocessing_threads=preprocessing_threads)
        except InputError:
            opened.close()
            raise

    @property
    def queues(self) -> bool:
        """Whether a batch may be computed after `submit` has come back."""
        return self._queue is not None

    @property
    def manifest(self) -> Manifest:
        """Of the model that runs."""
        return self.backend.manifest

    def embed(self, crops: Iterable[NDArray[np.uint8]], colour_order: ColourOrder) -> NDArray[np.float32]:
        """Embed N crops, in chunks of the batch size.

        Args:
            crops: N arrays h x w x 3 uint8, any sizes; a generator is read in the calling thread, one chunk ahead.
            colour_order: of all of them; OpenCV decodes to "BGR".

        Returns:
            N x D float32, L2-normalised; 0 x D for no crops.

        Raises:
            InputError: a crop is not such an array, an embedding is not finite, or the embedder is closed or of another
                process.
            DeviceError: the device failed.
        """
        self._check_open()
        with closing(self._batches.batches(crops, colour_order)) as batches:
            features = list(self._embed_batches(batches))
        if not features:
            return np.empty((0, self.manifest.embedding_size), np.float32)
        return np.concatenate(features)

    def submit(self, images: NDArray[np.uint8]) -> PendingEmbeddings:
        """Start embedding a batch; a backend that queues computes it while the caller goes on, others at once.

        Args:
            images: N x H x W x 3 uint8 RGB of the model's size, 1 <= N <= the backend's largest batch. They may be
                written over once the call is back.

        Raises:
            InputError: `images` is not such an array, or the embedder is closed or of another process; from the result
                where an embedding is not finite.
            DeviceError: the device failed.
        """
        self._check_open()
        check_images(images, (self.manifest.height, self.manifest.width, 3), self.backend.max_batch)
        with self._turn:
            pending = _Ready(self.backend.run(images)) if self._queue is None else self._queue.submit(images)
        return _Checked(pending, self._check_embeddings)

    def close(self) -> None:
        """Free the backend; what another thread is embedding ends with an `InputError`.

        In a forked process nothing is freed: it is the parent's, and a lock may be held for ever.
        """
        self._closed = True
        if self._process != os.getpid():
            return
        self._batches.close()
        with self._turn:
            self.backend.close()

    def __enter__(self) -> "Embedder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._process != os.getpid():
            raise InputError(
                f"this embedder was opened in process {self._process}, from which this one was forked without its "
                "threads; open the model here (where a server preloads its application: after the fork)"
            )
        if self._closed:
            raise InputError("this embedder is closed; open the model again")

    def _check_embeddings(self, embeddings: NDArray[np.float32]) -> None:
        if self.refuses_non_finite:
            check_embeddings(embeddings, self.manifest)

    def _embed_batches(self, batches: Iterable[NDArray[np.uint8]]) -> Generator[NDArray[np.float32]]:
        ahead: PendingEmbeddings | None = None
        for images in batches:
            following = self.submit(images)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()


@dataclass(frozen=True)
class _Ready:
    """Embeddings of a backend that does not queue."""

    embeddings: NDArray[np.float32]

    def result(self) -> NDArray[np.float32]:
        return self.embeddings


@dataclass(frozen=True)
class _Checked:
    """Embeddings that `check` has to let pass."""

    pending: PendingEmbeddings
    check: Callable[[NDArray[np.float32]], None]

    def result(self) -> NDArray[np.float32]:
        embeddings = self.pending.result()
        self.check(embeddings)
        return embeddings


def _threads_beside(backend: Backend) -> int:
    return 1 if backend.device == "cpu" else min(_MOST_THREADS, usable_cores())
