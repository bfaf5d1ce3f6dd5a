"""What every way to a GPU has to do: bytes there and back on two streams, in order, and everything given back."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from runtime.device import CudaDevice


@contextmanager
def round_trip(device: CudaDevice, size: int) -> Iterator[float]:
    """Copy `size` bytes to the device on one stream and back on another, which waits for an event.

    The block gets the seconds that took; in it the device is current still, and everything was given back.
    """
    sent = np.random.default_rng(9).integers(0, 256, size, np.uint8)
    with device.current():
        upload, compute = device.create_stream(), device.create_stream()
        address = device.allocate(sent.nbytes)
        source, target = device.allocate_pinned(sent.nbytes), device.allocate_pinned(sent.nbytes)
        assert (source.shape, source.dtype) == (sent.shape, np.uint8)
        before, after = device.create_event(timed=True), device.create_event(timed=True)
        uploaded = device.create_event()
        source[:] = sent
        device.record_event(before, upload)
        device.upload(address, source, upload)
        device.record_event(uploaded, upload)
        device.wait_for_event(compute, uploaded)
        device.download(target, address, compute)
        device.record_event(after, compute)
        device.synchronise_event(after)
        np.testing.assert_array_equal(target, sent)
        seconds = device.seconds_between(before, after)
        for stream in (upload, compute):
            device.synchronise(stream)
        for event in (before, after, uploaded):
            device.destroy_event(event)
        for array in (source, target):
            device.free_pinned(array)
        device.free(address)
        for stream in (upload, compute):
            device.destroy_stream(stream)
        yield seconds
