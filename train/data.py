"""Training images: decoded once, brought to the input size by `runtime.preprocess`, augmented as uint8."""

import numpy as np
import torch
from torch.utils.data import Dataset

from eval.datasets import ReidDataset
from runtime.embeddings import DISTRACTOR
from runtime.errors import InputError
from runtime.preprocess import preprocess
from runtime.progress import progress

from .augmentation import Augmentation, augment
from .batches import Key


class TrainingImages(Dataset[tuple[torch.Tensor, int]]):
    """The training half of a data set, in memory: N x height x width x 3 bytes (Market-1501 at 128 x 64: 318 MB).

    An item's key is (epoch, index), so that what it looks like is a function of the key alone, whichever worker makes
    it and wherever a resumed run begins.

    Attributes:
        images: (N, height, width, 3) uint8, RGB.
        labels: (N,) int64 class of each image in 0..P-1.
        person_ids: the P identities in ascending order; class c is `person_ids[c]`.
    """

    def __init__(self, dataset: ReidDataset, height: int, width: int, augmentation: Augmentation, seed: int) -> None:
        """Decode the training images.

        Args:
            dataset: its `train` half is used.
            height: rows of the network's input.
            width: columns of the network's input.
            augmentation: how an image varies from epoch to epoch.
            seed: of that.

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
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int]:
        epoch, index = key
        generator = np.random.default_rng((self._seed, epoch, index))
        image = augment(self.images[index], self._augmentation, generator)
        return torch.from_numpy(image), int(self.labels[index])
