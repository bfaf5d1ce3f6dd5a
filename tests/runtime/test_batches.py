"""Preprocessing ahead of the network: the same embeddings in the same order, whoever asks and whatever fails."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import batches
from runtime.embedder import Embedder
from runtime.errors import DeviceError, InputError
from runtime.manifest import Manifest
from runtime.preprocess import preprocess, preprocess_batch

Crops = list[NDArray[np.uint8]]
# Where a thread waits for another one, it fails rather than hangs.
LONG = 60


class Sums:
    """A backend whose embedding is the sum of an image's pixels, and which notes how it was called."""

    name = "sums"
    device = "cpu"
    max_batch: int | None = None

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.addresses: list[int] = []
        self.sizes: list[int] = []
        self.fails_on = -1
        self._running = threading.Lock()

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self._running.acquire(blocking=False), "two threads at once"
        try:
            self.addresses.append(images.ctypes.data)
            self.sizes.append(len(images))
            if len(self.sizes) - 1 == self.fails_on:
                raise DeviceError("the device fell off")
            return images.sum(axis=(1, 2, 3), dtype=np.int64).astype(np.float32)[:, None]
        finally:
            self._running.release()

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def backend(manifest: Manifest) -> Sums:
    return Sums(manifest)


def sums(crops: Crops) -> NDArray[np.float32]:
    return np.array([[preprocess(crop, 16, 8, "BGR").sum()] for crop in crops], np.float32)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 11, 12])
def test_the_same_as_one_at_a_time(backend: Sums, crops: Crops, batch_size: int, threads: int) -> None:
    with Embedder(backend, batch_size, preprocessing_threads=threads) as embedder:
        for _ in range(3):
            np.testing.assert_array_equal(embedder.embed(crops, "BGR"), sums(crops))
    assert backend.sizes[: -(-11 // batch_size)] == [min(batch_size, 11 - i) for i in range(0, 11, batch_size)]


def test_two_buffers_are_used_again(backend: Sums, crops: Crops) -> None:
    with Embedder(backend, batch_size=2) as embedder:
        for _ in range(5):
            embedder.embed(crops, "BGR")
    assert len(backend.addresses) == 30
    assert len(set(backend.addresses)) == 2


def test_the_next_batch_is_preprocessed_while_one_runs(
    backend: Sums, crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [threading.Event() for _ in range(6)]
    preprocessed = iter(done)

    def preprocess_and_tell(*arguments: object) -> None:
        preprocess_batch(*arguments)  # type: ignore[arg-type]
        next(preprocessed).set()

    def run_when_the_next_is_ready(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        following = min(len(backend.sizes) + 1, 5)
        assert done[following].wait(LONG)
        return Sums.run(backend, images)

    monkeypatch.setattr(batches, "preprocess_batch", preprocess_and_tell)
    monkeypatch.setattr(backend, "run", run_when_the_next_is_ready)
    with Embedder(backend, batch_size=2) as embedder:
        np.testing.assert_array_equal(embedder.embed(crops, "BGR"), sums(crops))


def test_crops_are_read_in_the_callers_thread(backend: Sums, crops: Crops) -> None:
    readers: set[int] = set()

    def read() -> Iterator[NDArray[np.uint8]]:
        for crop in crops:
            readers.add(threading.get_ident())
            yield crop

    with Embedder(backend, batch_size=2, preprocessing_threads=3) as embedder:
        embedder.embed(read(), "BGR")
    assert readers == {threading.get_ident()}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("bad", [0, 1, 5, 10])
def test_a_bad_crop_ends_the_call_and_nothing_else(backend: Sums, crops: Crops, bad: int, threads: int) -> None:
    damaged = [*crops[:bad], np.zeros((4, 4), np.uint8), *crops[bad + 1 :]]
    with Embedder(backend, batch_size=2, preprocessing_threads=threads) as embedder:
        for _ in range(2):
            with pytest.raises(InputError, match=r"a crop has shape \(4, 4\)"):
                embedder.embed(damaged, "BGR")
        np.testing.assert_array_equal(embedder.embed(crops, "BGR"), sums(crops))


@pytest.mark.parametrize("fails_on", [0, 2, 5])
def test_a_failing_device_ends_the_call_and_nothing_else(backend: Sums, crops: Crops, fails_on: int) -> None:
    backend.fails_on = fails_on
    with Embedder(backend, batch_size=2) as embedder:
        with pytest.raises(DeviceError, match="fell off"):
            embedder.embed(crops, "BGR")
        assert len(backend.sizes) == fails_on + 1
        np.testing.assert_array_equal(embedder.embed(crops, "BGR"), sums(crops))


def test_an_error_of_the_source_goes_through(backend: Sums, crops: Crops) -> None:
    def broken() -> Iterator[NDArray[np.uint8]]:
        yield from crops
        raise OSError("the stream ended")

    with Embedder(backend, batch_size=2) as embedder:
        with pytest.raises(OSError, match="the stream ended"):
            embedder.embed(broken(), "BGR")
        np.testing.assert_array_equal(embedder.embed(crops, "BGR"), sums(crops))


def test_threads_that_share_an_embedder(backend: Sums, crops: Crops) -> None:
    results: dict[int, NDArray[np.float32]] = {}
    start = threading.Barrier(6)

    def embed(shift: int) -> None:
        start.wait(LONG)
        results[shift] = embedder.embed(crops[shift:] * 10, "BGR")

    with Embedder(backend, batch_size=3, preprocessing_threads=2) as embedder:
        threads = [threading.Thread(target=embed, args=(shift,)) for shift in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    for shift in range(6):
        np.testing.assert_array_equal(results[shift], sums(crops[shift:] * 10))


def test_a_source_that_embeds_itself(backend: Sums, crops: Crops) -> None:
    with Embedder(backend, batch_size=2) as embedder:

        def brightest_first() -> Iterator[NDArray[np.uint8]]:
            yield from (crops[i] for i in np.argsort(embedder.embed(crops, "BGR")[:, 0]))

        np.testing.assert_array_equal(embedder.embed(brightest_first(), "BGR"), np.sort(sums(crops), axis=0))


def test_an_embedder_closed_while_it_embeds(backend: Sums, crops: Crops) -> None:
    embedder = Embedder(backend, batch_size=2)

    def closing() -> Iterator[NDArray[np.uint8]]:
        yield from crops[:5]
        embedder.close()
        yield from crops[5:]

    with pytest.raises(InputError, match="was closed while it embedded"):
        embedder.embed(closing(), "BGR")
    with pytest.raises(InputError, match="this embedder is closed; open the model again"):
        embedder.embed(crops, "BGR")
    embedder.close()


def test_no_threads_at_all(backend: Sums) -> None:
    with pytest.raises(InputError, match="0 threads to preprocess with; expected at least 1"):
        Embedder(backend, preprocessing_threads=0)
