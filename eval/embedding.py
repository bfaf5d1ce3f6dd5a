"""Embedding the images of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from runtime.embedder import Embedder
from runtime.embeddings import Embeddings
from runtime.progress import progress

from .datasets import Image, ReidDataset


@dataclass(frozen=True)
class TimedEmbeddings:
    """Embeddings and how long they took.

    Attributes:
        embeddings: in the order of the images.
        milliseconds_per_image: median over whole batches, resizing included and decoding left out.
    """

    embeddings: Embeddings
    milliseconds_per_image: float


def embed_images(
    embedder: Embedder, dataset: ReidDataset, images: Sequence[Image], description: str = "embedding"
) -> Embeddings:
    """Embed images of a data set, one batch at a time.

    Args:
        embedder: what embeds them.
        dataset: where they are read from.
        images: N of them, at least one.
        description: of the progress bar.

    Returns:
        N embeddings in the order of `images`, named by `Image.name`.

    Raises:
        InputError: an image cannot be read.
        DeviceError: the device failed.
    """
    return embed_timed(embedder, dataset, images, description).embeddings


def embed_timed(
    embedder: Embedder, dataset: ReidDataset, images: Sequence[Image], description: str = "embedding"
) -> TimedEmbeddings:
    """`embed_images`, with the time it took; arguments and errors as there."""
    features, milliseconds = [], []
    with progress(images, description, total=len(images), unit="image") as bar:
        for start in range(0, len(images), embedder.batch_size):
            crops = [dataset.read(image) for image in images[start : start + embedder.batch_size]]
            begin = perf_counter()
            features.append(embedder.embed(crops, colour_order="BGR"))
            milliseconds.append(1000 * (perf_counter() - begin) / len(crops))
            bar.update(len(crops))
    # A smaller last batch costs more per image; it counts only where it is the only one.
    whole = milliseconds[: len(images) // embedder.batch_size] or milliseconds
    return TimedEmbeddings(label(np.concatenate(features), images), float(np.median(whole)))


def label(features: NDArray[np.float32], images: Sequence[Image]) -> Embeddings:
    """Put persons, cameras and names beside (N, D) float32 features."""
    return Embeddings(
        features,
        np.array([image.person_id for image in images], np.int64),
        np.array([image.camera_id for image in images], np.int64),
        np.array([image.name for image in images], np.str_),
    )
