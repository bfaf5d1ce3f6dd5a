"""From crops to batches of images, each prepared while the one before it is in use."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import cycle, islice, pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .preprocess import ColourOrder, preprocess_batch

Crop = NDArray[np.uint8]
Images = NDArray[np.uint8]
T = TypeVar("T")


class BatchMaker:
    """Preprocesses crops into batches, one ahead of the caller, in memory that is used again.

    Crops are taken from their iterable in the caller's own thread, which may belong to a decoder; only the
    preprocessing is done in others. Several threads may make batches at the same time.
    """

    def __init__(self, height: int, width: int, batch_size: int, threads: int) -> None:
        """Prepare for images of `height` x `width`.

        Args:
            height: rows of an image.
            width: columns of an image.
            batch_size: images in a batch; the last one of a call may have fewer.
            threads: that preprocess at once, at least 1.
        """
        self._shape = (batch_size, height, width, 3)
        self._threads = threads
        self._free: deque[Images] = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lgeu-preprocess")

    def batches(self, crops: Iterable[Crop], colour_order: ColourOrder) -> Generator[Images]:
        """Batches of N x height x width x 3 uint8 RGB, in the order of the crops.

        A batch is valid until the next one is asked for. Close the iterator if it is left before its end.

        Raises:
            InputError: see `preprocess`; batches before the one that fails have been given by then.
        """
        buffers = [self._take(), self._take()]
        ahead: _Batch | None = None
        try:
            for chunk, buffer in zip(_chunks(crops, self._shape[0]), cycle(buffers), strict=False):
                # While the first chunk is prepared there is nothing else to do.
                following = self._start(chunk, buffer[: len(chunk)], colour_order, here=ahead is None)
                ready, ahead = ahead, following
                if ready is not None:
                    yield ready.images()
            if ahead is not None:
                yield ahead.images()
        finally:
            # Nothing may write into a buffer that the next call takes.
            if ahead is not None:
                ahead.wait()
            self._free.extend(buffers)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _take(self) -> Images:
        try:
            return self._free.pop()
        except IndexError:
            return np.empty(self._shape, np.uint8)

    def _start(self, chunk: list[Crop], out: Images, colour_order: ColourOrder, *, here: bool) -> "_Batch":
        _, height, width, _ = self._shape

        def fill(start: int, stop: int) -> None:
            preprocess_batch(chunk[start:stop], height, width, colour_order, out[start:stop])

        if here and self._threads == 1:
            fill(0, len(chunk))
            return _Batch(out, [])
        edges = [len(chunk) * part // self._threads for part in range(self._threads + 1)]
        try:
            return _Batch(out, [self._pool.submit(fill, *edge) for edge in pairwise(edges)])
        except RuntimeError as error:  # the pool's only one: it was shut down
            raise InputError("the embedder was closed while it embedded; close it when that has ended") from error


class _Batch:
    """Images that are being written."""

    def __init__(self, images: Images, parts: "list[Future[None]]") -> None:
        self._images = images
        self._parts = parts

    def images(self) -> Images:
        """Wait for all of them; raises what failed first, in the order of the crops."""
        self.wait()
        for part in self._parts:
            part.result()
        return self._images

    def wait(self) -> None:
        """Until nothing is written any more, whatever came of it."""
        wait(self._parts)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
