"""What one batch needs on its way through a GPU."""

import math
from contextlib import ExitStack
from threading import Lock
from typing import cast

import numpy as np
from numpy.typing import NDArray

from .device import CudaDevice
from .errors import DeviceError
from .freeing import free_later
from .manifest import Manifest


class PendingBatch:
    """A batch on its way; see `runtime.backend.PendingEmbeddings`."""

    def __init__(self, slot: "Slot", count: int) -> None:
        """A batch in a slot, of which the first `count` embeddings are wanted."""
        self.count = count
        self.embeddings: NDArray[np.float32] | None = None
        self.error: DeviceError | None = None
        self._slot = slot

    def result(self) -> NDArray[np.float32]:
        """Wait for the embeddings: count x D float32, the caller's.

        Raises:
            DeviceError: the GPU failed.
        """
        with self._slot.lock:
            if self._slot.pending is self:
                self._slot.finish()
        if self.error is not None:
            raise self.error
        return cast("NDArray[np.float32]", self.embeddings)


class Slot:
    """Page-locked and device memory for a batch of the largest size, and the marks of its way.

    Attributes:
        lock: held by who queues, finishes or waits for what is in the slot.
        input: page-locked bytes for the images.
        output: page-locked, largest batch x D float32.
        images: address of the images on the device.
        embeddings: address of the embeddings on the device.
        uploaded: event behind the upload.
        done: event behind the download.
        contexts: the engine's, one for each profile, that compute what is in the slot.
        pending: the batch that is in the slot; None when nothing is.
    """

    def __init__(
        self, manifest: Manifest, max_batch: int, contexts: list[int], device: CudaDevice, resources: ExitStack
    ) -> None:
        """Allocate; the device is current.

        Raises:
            DeviceError: too little memory; what was allocated is given back by `resources`.
        """
        input_size = max_batch * math.prod(manifest.input_shape) * np.dtype(manifest.input_type).itemsize
        output_size = max_batch * manifest.embedding_size * np.dtype(np.float32).itemsize
        self.lock = Lock()
        self.input = free_later(resources, device.free_pinned, device.allocate_pinned(input_size))
        pinned = free_later(resources, device.free_pinned, device.allocate_pinned(output_size))
        self.output = pinned.view(np.float32).reshape(max_batch, manifest.embedding_size)
        self.images = free_later(resources, device.free, device.allocate(input_size))
        self.embeddings = free_later(resources, device.free, device.allocate(output_size))
        self.uploaded = free_later(resources, device.destroy_event, device.create_event())
        self.done = free_later(resources, device.destroy_event, device.create_event())
        self.contexts = contexts
        self.pending: PendingBatch | None = None
        self._device = device

    def finish(self) -> None:
        """Wait for the batch that is in the slot, if any, and keep its embeddings or error with it; called with `lock`.

        Afterwards all of the slot's memory may be used again.
        """
        pending = self.pending
        if pending is None:
            return
        try:
            with self._device.current():
                self._device.synchronise_event(self.done)
            pending.embeddings = self.output[: pending.count].copy()
        except DeviceError as error:
            pending.error = error
        # Last: who is interrupted while waiting leaves the slot in use.
        self.pending = None
