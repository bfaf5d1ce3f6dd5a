"""Decoding a data set's images to the network's input size, on all cores."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from eval.datasets import Image, ReidDataset
from runtime.cores import usable_cores
from runtime.preprocess import preprocess
from runtime.progress import progress


def decode_into(out: NDArray[np.uint8], dataset: ReidDataset, images: Sequence[Image]) -> None:
    """Read images and bring them to the input size, as `runtime.preprocess` does.

    Args:
        out: (N, H, W, 3) uint8, to write into: RGB.
        dataset: where the images are read from.
        images: N of them.

    Raises:
        InputError: an image cannot be read, which is named; the first one of them.
    """
    _, height, width, _ = out.shape

    def decode(row: int) -> None:
        out[row] = preprocess(dataset.read(images[row]), height, width, "BGR")

    pool = ThreadPoolExecutor(usable_cores())  # OpenCV lets other threads run while it decodes
    try:
        rows = pool.map(decode, range(len(images)))
        for _ in progress(rows, "reading training images", total=len(images), unit="image"):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
