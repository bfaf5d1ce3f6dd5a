"""Training images: decoded once, brought to the input size by `runtime.preprocess`, augmented as uint8."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from eval.datasets import ReidDataset
from runtime.embeddings import DISTRACTOR
from runtime.errors import InputError
from runtime.preprocess import preprocess
from runtime.progress import progress

Key = tuple[int, int]


class TrainingImages(Dataset[tuple[torch.Tensor, int]]):
    """The training half of a data set, in memory: N x height x width x 3 bytes (Market-1501 at 128 x 64: 318 MB).

    An item's key is (epoch, index), so that what it looks like is a function of the key alone, whichever worker makes
    it and wherever a resumed run begins.

    Attributes:
        images: (N, height, width, 3) uint8, RGB.
        labels: (N,) int64 class of each image in 0..P-1.
        person_ids: the P identities in ascending order; class c is `person_ids[c]`.
    """

    def __init__(
        self, dataset: ReidDataset, height: int, width: int, *, flip: bool, crop_padding: int, seed: int
    ) -> None:
        """Decode the training images.

        Args:
            dataset: its `train` half is used.
            height: rows of the network's input.
            width: columns of the network's input.
            flip: mirror half of the images.
            crop_padding: see `augment`.
            seed: of the augmentation.

        Raises:
            InputError: fewer than two identities, or an image that cannot be read (which is named).
        """
        train = [image for image in dataset.train if image.person_id > DISTRACTOR]  # junk and distractors are nobody
        ids = sorted({image.person_id for image in train})
        if len(ids) < 2:
            raise InputError(
                f"{dataset.source} has {len(train)} training images of {len(ids)} identities; at least 2 "
                "identities are needed to learn to tell them apart"
            )
        self.person_ids = ids
        self.labels = np.searchsorted(ids, [image.person_id for image in train]).astype(np.int64)
        self.images = np.empty((len(train), height, width, 3), np.uint8)
        for row, image in zip(self.images, progress(train, "reading training images", unit="image"), strict=True):
            row[...] = preprocess(dataset.read(image), height, width, "BGR")
        self._flip = flip
        self._crop_padding = crop_padding
        self._seed = seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int]:
        epoch, index = key
        generator = np.random.default_rng((self._seed, epoch, index))
        image = augment(self.images[index], generator, flip=self._flip, crop_padding=self._crop_padding)
        return torch.from_numpy(image), int(self.labels[index])


def augment(
    image: NDArray[np.uint8], generator: np.random.Generator, *, flip: bool, crop_padding: int
) -> NDArray[np.uint8]:
    """Mirror an image with probability 1/2 and cut a window of its size out of its padded self.

    Args:
        image: (H, W, 3) uint8.
        generator: the source of chance.
        flip: whether to mirror at all.
        crop_padding: black pixels on every side before the cut; 0 for no cut.

    Returns:
        (H, W, 3) uint8, C-contiguous, never a view of `image`.
    """
    height, width, _ = image.shape
    if flip and generator.random() < 0.5:
        image = image[:, ::-1]
    padded = np.zeros((height + 2 * crop_padding, width + 2 * crop_padding, 3), np.uint8)
    padded[crop_padding : crop_padding + height, crop_padding : crop_padding + width] = image
    top, left = generator.integers(0, 2 * crop_padding, size=2, endpoint=True)
    return padded[top : top + height, left : left + width].copy()


class EpochSampler(Sampler[Key]):
    """Every index once an epoch, in an order that depends on (seed, epoch) only."""

    def __init__(self, size: int, seed: int) -> None:
        """Sample from `size` items."""
        self.epoch = 0
        self._size = size
        self._seed = seed

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng((self._seed, self.epoch)).permutation(self._size)
        return ((self.epoch, int(index)) for index in order)
