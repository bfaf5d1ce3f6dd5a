"""What one batch needs on its way through a GPU."""

import math
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .device import CudaDevice
from .engine_manifest import BatchProfile
from .errors import DeviceError
from .freeing import free_later


@dataclass(frozen=True)
class BatchLayout:
    """What an engine takes and gives for each of the N items of a batch, e.g. for each image.

    Attributes:
        input_shape: of an item.
        input_type: of its numbers.
        output_shape: of what comes of it, float32.
        profiles: batch sizes the engine takes.
    """

    input_shape: tuple[int, ...]
    input_type: np.dtype[Any]
    output_shape: tuple[int, ...]
    profiles: tuple[BatchProfile, ...]

    @property
    def max_batch(self) -> int:
        """The largest batch."""
        return max(profile.max for profile in self.profiles)


class PendingBatch:
    """A batch on its way; see `runtime.backend.PendingEmbeddings`."""

    def __init__(self, slot: "Slot", count: int) -> None:
        """A batch in a slot, of which the output of the first `count` items is wanted."""
        self.count = count
        self.output: NDArray[np.float32] | None = None
        self.error: DeviceError | None = None
        self._slot = slot

    def result(self) -> NDArray[np.float32]:
        """Wait for the output: of `count` items, float32, the caller's.

        Raises:
            DeviceError: the GPU failed.
        """
        with self._slot.lock:
            if self._slot.pending is self:
                self._slot.finish()
        if self.error is not None:
            raise self.error
        return cast("NDArray[np.float32]", self.output)


class Slot:
    """Page-locked and device memory for a batch of the largest size, and the marks of its way.

    Attributes:
        lock: held by who queues, finishes or waits for what is in the slot.
        input: page-locked bytes.
        output: page-locked, float32, of the largest batch.
        device_input: address of the input on the device.
        device_output: address of the output on the device.
        uploaded: event behind the upload.
        done: event behind the download.
        contexts: the engine's, one for each profile, that compute what is in the slot.
        pending: the batch that is in the slot; None when nothing is.
    """

    def __init__(self, layout: BatchLayout, contexts: list[int], device: CudaDevice, resources: ExitStack) -> None:
        """Allocate; the device is current.

        Raises:
            DeviceError: too little memory; what was allocated is given back by `resources`.
        """
        output_shape = (layout.max_batch, *layout.output_shape)
        input_size = layout.max_batch * math.prod(layout.input_shape) * layout.input_type.itemsize
        output_size = math.prod(output_shape) * np.dtype(np.float32).itemsize
        self.lock = Lock()
        self.input = free_later(resources, device.free_pinned, device.allocate_pinned(input_size))
        pinned = free_later(resources, device.free_pinned, device.allocate_pinned(output_size))
        self.output = pinned.view(np.float32).reshape(output_shape)
        self.device_input = free_later(resources, device.free, device.allocate(input_size))
        self.device_output = free_later(resources, device.free, device.allocate(output_size))
        self.uploaded = free_later(resources, device.destroy_event, device.create_event())
        self.done = free_later(resources, device.destroy_event, device.create_event())
        self.contexts = contexts
        self.pending: PendingBatch | None = None
        self._device = device

    def finish(self) -> None:
        """Wait for the batch that is in the slot, if any, and keep its output or error with it; called with `lock`.

        Afterwards all of the slot's memory may be used again.
        """
        pending = self.pending
        if pending is None:
            return
        try:
            with self._device.current():
                self._device.synchronise_event(self.done)
            pending.output = self.output[: pending.count].copy()
        except DeviceError as error:
            pending.error = error
        # Last: who is interrupted while waiting leaves the slot in use.
        self.pending = None
