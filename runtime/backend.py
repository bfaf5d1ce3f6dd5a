"""What runs a network: the interface behind the embedder."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .manifest import Manifest

Device = Literal["auto", "cpu", "cuda"]
Processor = Literal["cpu", "cuda"]
BackendName = Literal["auto", "tensorrt", "onnxruntime", "onnxruntime-tensorrt", "openvino"]


class Backend(Protocol):
    """Something that runs the network. Images in and embeddings out, as `run` says; one call at a time.

    Attributes:
        name: what runs it and where, e.g. "onnxruntime (CPU)".
        device: where the network is computed.
        manifest: of the model it runs.
        max_batch: the largest batch it accepts; None where there is no limit.
    """

    name: str
    device: Processor
    manifest: Manifest
    max_batch: int | None

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x H x W x 3 uint8 RGB, 1 <= N <= max_batch, to N x D float32, L2-normalised.

        The result is the caller's; `images` may be written over once the call is back.
        """
        ...

    def close(self) -> None:
        """Free what is held; a second call does nothing."""
        ...


class PendingEmbeddings(Protocol):
    """Of a batch that may still be computed."""

    def result(self) -> NDArray[np.float32]:
        """Wait for them: N x D float32, L2-normalised; any thread, and more than once.

        Raises:
            DeviceError: the device failed.
        """
        ...


@runtime_checkable
class QueueingBackend(Backend, Protocol):
    """A backend that takes a batch while it computes another; threads may share it."""

    def submit(self, images: NDArray[np.uint8]) -> PendingEmbeddings:
        """Start what `run` does. `images` may be written over once the call is back.

        Raises:
            InputError: see `run`.
            DeviceError: the device refused.
        """
        ...


@dataclass(frozen=True)
class StageTimes:
    """Where the time of one `run` on a GPU went, in seconds.

    Attributes:
        upload: copying the images to the GPU.
        compute: the network.
        download: copying the embeddings back.
    """

    upload: float
    compute: float
    download: float


@runtime_checkable
class TimedBackend(Backend, Protocol):
    """A backend whose copies can be told from its computing."""

    def run_timed(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], StageTimes | None]:
        """`run`, and where its time went; None where nothing is copied.

        The stages wait for one another, so that the whole may take longer than `run`.
        """
        ...
