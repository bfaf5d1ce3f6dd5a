"""Batches through an engine, so that one is copied to the GPU while the one before it is computed."""

import math
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import StageTimes
from .cuda_graphs import CudaGraphs
from .device import CudaDevice
from .engine_manifest import choose_profile
from .engine_slot import BatchLayout, PendingBatch, Slot
from .errors import DeviceError, InputError
from .freeing import current_if_possible, free_later
from .tensorrt_engine import TensorRTEngine

_SLOTS = 2


@dataclass(frozen=True)
class Streams:
    """Two streams, so that an upload needs not wait for what is computed.

    Attributes:
        upload: of the input.
        compute: of the engine, and of the output's way back: on the other stream it would hold up the next upload.
    """

    upload: int
    compute: int


# Timed events: before the upload, behind it, behind the network, behind the download.
Marks = tuple[int, int, int, int]

# Writes a batch into the array that is given.
Fill = Callable[[NDArray[Any]], None]


class EngineQueue:
    """Runs batches in the order in which they are submitted, by any threads; mostly two of them are on their way.

    Whoever submits waits for a free slot, not for the batch. A slot is used again only behind its event `done`, which
    stands behind every copy from or to its memory.
    """

    def __init__(
        self,
        layout: BatchLayout,
        engine: TensorRTEngine,
        device: CudaDevice,
        streams: Streams,
        name: str,
        resources: ExitStack,
        *,
        slots: int = _SLOTS,
    ) -> None:
        """Allocate what batches of the largest size need; the device is current.

        Args:
            layout: of the engine's batches.
            engine: queues on `streams.compute`.
            device: the GPU.
            streams: of nobody else's.
            name: of the engine, for a warning.
            resources: gives back what is held, also when a later step of this fails.
            slots: how many batches may be on their way; one is enough where each is waited for.

        Raises:
            DeviceError: too little memory.
        """
        self._layout = layout
        self._engine = engine
        self._device = device
        self._streams = streams
        self._slots = [Slot(layout, engine.create_contexts(), device, resources) for _ in range(slots)]
        self._next = cycle(self._slots)
        self._graphs = None if engine.captures_itself else CudaGraphs(device, streams.compute, name)
        if self._graphs is not None:
            resources.callback(self._graphs.close)
        # Taken before a slot's lock, never after one.
        self._order = Lock()
        self._closed = False

    def submit(self, count: int, fill: Fill) -> PendingBatch:
        """Queue a batch; waits while all slots are in use.

        Args:
            count: of its items. Where the engine takes no batch so small, zeros are put behind them.
            fill: writes them into page-locked memory: count x input shape, of the layout's type.

        Raises:
            InputError: a batch cannot have so many items, or the queue is closed.
            DeviceError: the GPU refused.
        """
        with self._order:
            return self._submit(count, fill)

    def run_timed(self, count: int, fill: Fill) -> tuple[NDArray[np.float32], StageTimes]:
        """Run a batch by itself; the output, and where its time went by the GPU's own clock.

        Raises:
            InputError: see `submit`.
            DeviceError: the GPU failed.
        """
        with self._order:
            self._check_open()
            for slot in self._slots:
                with slot.lock:
                    slot.finish()
            with self._device.current(), ExitStack() as resources:
                begin, uploaded, computed, downloaded = marks = _create_marks(self._device, resources)
                output = self._submit(count, fill, marks).result()
                seconds = self._device.seconds_between
                return output, StageTimes(
                    upload=seconds(begin, uploaded),
                    compute=seconds(uploaded, computed),
                    download=seconds(computed, downloaded),
                )

    def close(self) -> None:
        """Wait for what is on its way, whose output stays to be had, and take no more; a second call does nothing."""
        with self._order:
            if self._closed:
                return
            self._closed = True
            for slot in self._slots:
                with slot.lock:
                    slot.finish()
            # Where waiting for a batch failed, its copies may still be under way.
            self._drain()

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("this engine is closed; open it again")

    def _submit(self, count: int, fill: Fill, marks: Marks | None = None) -> PendingBatch:
        self._check_open()
        profile = choose_profile(self._layout.profiles, count)
        slot = next(self._next)
        with slot.lock:
            slot.finish()
            batch = self._staging(slot, max(count, self._layout.profiles[profile].min))
            fill(batch[:count])
            batch[count:] = 0
            slot.pending = pending = PendingBatch(slot, count)
            try:
                with self._device.current():
                    self._queue(batch, profile, slot, marks)
            except BaseException:
                # The slot's memory may be in use, and no event says until when.
                self._drain()
                slot.pending = None
                raise
            return pending

    def _staging(self, slot: Slot, size: int) -> NDArray[Any]:
        """Page-locked memory for a batch as the engine takes it."""
        shape, kind = (size, *self._layout.input_shape), self._layout.input_type
        return slot.input[: math.prod(shape) * kind.itemsize].view(kind).reshape(shape)

    def _queue(self, batch: NDArray[Any], profile: int, slot: Slot, marks: Marks | None) -> None:
        device, upload, compute = self._device, self._streams.upload, self._streams.compute

        def mark(stage: int, stream: int) -> None:
            if marks is not None:
                device.record_event(marks[stage], stream)

        mark(0, upload)
        device.upload(slot.device_input, batch, upload)
        mark(1, upload)
        device.record_event(slot.uploaded, upload)
        device.wait_for_event(compute, slot.uploaded)
        self._compute(batch.shape, profile, slot)
        mark(2, compute)
        device.download(slot.output[: len(batch)], slot.device_output, compute)
        mark(3, compute)
        device.record_event(slot.done, compute)

    def _compute(self, shape: tuple[int, ...], profile: int, slot: Slot) -> None:
        def prepare(context: int) -> Callable[[], None]:
            return self._engine.prepare(context, shape, slot.device_input, slot.device_output)

        def work() -> None:
            prepare(slot.contexts[profile])()

        if self._graphs is None:
            work()
        else:
            key = profile, shape, slot.device_input
            self._graphs.run(key, work, lambda: prepare(self._engine.create_context(profile)))

    def _drain(self) -> None:
        # Where the GPU failed, nothing runs any more.
        with current_if_possible(self._device):
            for stream in (self._streams.upload, self._streams.compute):
                with suppress(DeviceError):
                    self._device.synchronise(stream)


def create_streams(device: CudaDevice, resources: ExitStack) -> Streams:
    """Two new streams; the device is current.

    Raises:
        DeviceError: the GPU refused.
    """
    upload, compute = (free_later(resources, device.destroy_stream, device.create_stream()) for _ in range(2))
    return Streams(upload, compute)


def _create_marks(device: CudaDevice, resources: ExitStack) -> Marks:
    begin, uploaded, computed, downloaded = (
        free_later(resources, device.destroy_event, device.create_event(timed=True)) for _ in range(4)
    )
    return begin, uploaded, computed, downloaded
