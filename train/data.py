"""Training images: decoded once, brought to the input size by `runtime.preprocess`, augmented as uint8."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from eval.datasets import Image, ReidDataset
from runtime.embeddings import DISTRACTOR
from runtime.errors import InputError

from .augmentation import Augmentation, augment
from .batches import Key
from .decoding import decode_into
from .image_cache import cached_images, map_images


class TrainingImages(Dataset[tuple[torch.Tensor, int]]):
    """The training half of a data set: N x height x width x 3 bytes (Market-1501 at 128 x 64: 318 MB).

    They lie in memory or, with a cache, in a memory-mapped file (`train.image_cache`) of which all processes and
    loader workers share what is in memory.

    An item's key is (epoch, index, occurrence in the epoch), so that what it looks like is a function of the key alone,
    whichever worker makes it and wherever a resumed run begins.

    Attributes:
        images: (N, height, width, 3) uint8, RGB; read-only in a cache.
        labels: (N,) int64 class of each image in 0..P-1.
        person_ids: the P identities in ascending order; class c is `person_ids[c]`.
        sha256: of which images they are, in their order: file names with the folder they lie in, and identities. The
            same where the data set moves, or a zip takes a folder's place.
    """

    def __init__(
        self,
        dataset: ReidDataset,
        height: int,
        width: int,
        augmentation: Augmentation,
        seed: int,
        cache: Path | None = None,
    ) -> None:
        """Decode the training images, or find them decoded.

        Args:
            dataset: its `train` half is used.
            height: rows of the network's input.
            width: columns of the network's input.
            augmentation: how an image varies from epoch to epoch.
            seed: of that.
            cache: folder to keep the decoded images in, for this run and others; None keeps them in memory.

        Raises:
            InputError: fewer than two identities, an image that cannot be read (which is named), or a cache that
                cannot be written or does not fit on its disk.
        """
        train = [image for image in dataset.train if image.person_id > DISTRACTOR]  # junk and distractors are nobody
        ids = sorted({image.person_id for image in train})
        if len(ids) < 2:
            raise InputError(
                f"{dataset.source} has {len(train)} training images of {len(ids)} identities; at least 2 "
                "identities are needed to learn to tell them apart"
            )
        self.person_ids = ids
        self.sha256 = _sha256(train)
        self.labels = np.searchsorted(ids, [image.person_id for image in train]).astype(np.int64)
        if cache is None:
            self.images = np.empty((len(train), height, width, 3), np.uint8)
            decode_into(self.images, dataset, train)
        else:
            self.images = cached_images(cache, dataset, train, height, width)
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int]:
        _, index, _ = key
        # Of occurrence 0 NumPy makes the same numbers as without it, which is how earlier versions drew.
        generator = np.random.default_rng((self._seed, *key))
        image = augment(self.images[index], self._augmentation, generator)
        return torch.from_numpy(image), int(self.labels[index])

    def __getstate__(self) -> dict[str, Any]:
        """What a worker that is not forked is sent: of a cache the file's name, not its content."""
        state = self.__dict__.copy()
        if isinstance(self.images, np.memmap):
            state["images"] = str(self.images.filename)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["images"], str):
            state["images"] = map_images(Path(state["images"]))
        self.__dict__.update(state)


def _sha256(images: Sequence[Image]) -> str:
    # The folder, because in a plain data set that alone says who it is.
    which = [[*PurePosixPath(image.name).parts[-2:], image.person_id] for image in images]
    return hashlib.sha256(json.dumps(which).encode()).hexdigest()
