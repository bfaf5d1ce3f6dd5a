"""Person re-identification data sets: which images there are, of whom, and how they are split."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.images import decode_image

from .layouts import Halves, Image, recognise
from .storage import Storage, open_storage

__all__ = ["Image", "ReidDataset", "open_dataset"]

# Images and identities of the published data set; the gallery count includes junk and distractors.
_MARKET_TRAIN = (12_936, 751)
_MARKET_QUERY = (3_368, 750)
_MARKET_GALLERY = (19_732, 750)


@dataclass(frozen=True)
class ReidDataset:
    """The images of a data set by their role. Can be sent to another process and read from several threads.

    Attributes:
        name: what results on it may be called; "Market-1501" only where its images are the published ones.
        source: the folder or zip it was opened from.
        train: images to train on.
        query: images to search with; empty where there is neither a test half nor a split.
        gallery: images to search in, junk and distractors included; empty likewise.
        storage: how the files are read.
        synthetic: whether its people were drawn, which a marker file in it says.
    """

    name: str
    source: Path
    train: tuple[Image, ...]
    query: tuple[Image, ...]
    gallery: tuple[Image, ...]
    storage: Storage
    synthetic: bool = False

    def read(self, image: Image) -> NDArray[np.uint8]:
        """Decode an image: H x W x 3 uint8, BGR.

        Raises:
            InputError: the file is missing, damaged or not an image.
        """
        return decode_image(self.storage.read(image.name), f"{image.name} in {self.source}")

    def require_test_half(self) -> None:
        """Refuse a data set that has nothing to evaluate on.

        Raises:
            InputError: it has no query or no gallery images.
        """
        for part, images in (("query", self.query), ("gallery", self.gallery)):
            if not images:
                raise InputError(
                    f"data set {self.source} has no {part} images, which evaluation needs; give one with a test half "
                    "(query/ and bounding_box_test/), or make a validation split with --split-by person%5"
                )


def open_dataset(path: Path, split_by: str | None = None) -> ReidDataset:
    """Open a folder or zip in the Market-1501 layout, or a plain one with a folder for each person.

    Args:
        path: the folder or .zip; a top folder inside it does not matter, and parts of the layout may be missing.
            In the plain layout `person/camera_anything.jpg` sorted names become ids from 1.
        split_by: "person%N" where there is no test half: identities whose id is a multiple of N become validation (the
            first file name of each identity and camera is a query, the rest is the gallery), the others train.

    Raises:
        InputError: nothing there, damaged, no image, no known layout, a name that does not fit it, or a split that is
            malformed, leaves one side empty, or is asked for where there is a test half.
    """
    path = Path(path)
    storage = open_storage(path)
    halves = recognise(storage.names, str(path))
    split = halves if split_by is None else _split(halves, split_by, path)
    name = _name(path, halves, split_by)
    return ReidDataset(name, path, split.train, split.query, split.gallery, storage, storage.synthetic)


def _split(halves: Halves, split_by: str, path: Path) -> Halves:
    match = re.fullmatch(r"person%(\d+)", split_by)
    divisor = int(match[1]) if match else 0
    if divisor < 2:
        raise InputError(f"split {split_by!r} is not known; expected person%N with N of at least 2, e.g. person%5")
    if halves.query or halves.gallery:
        raise InputError(
            f"data set {path} has a test half of its own ({len(halves.query)} query, {len(halves.gallery)} gallery "
            f"images), so that it cannot be split by {split_by!r}; leave the split out"
        )
    validation = [image for image in halves.train if image.person_id % divisor == 0]
    query = _first_of_each(validation)
    chosen = set(query)
    split = replace(
        halves,
        train=tuple(image for image in halves.train if image.person_id % divisor),
        query=query,
        gallery=tuple(image for image in validation if image not in chosen),
    )
    for part in ("train", "query", "gallery"):
        if not getattr(split, part):
            raise InputError(
                f"data set {path} split by {split_by!r} leaves no {part} images ({_identities(halves.train)} persons, "
                f"{len(halves.train)} images); give more data or another N"
            )
    return split


def _first_of_each(images: Sequence[Image]) -> tuple[Image, ...]:
    """The first file name of each (person, camera), in the order of the names."""
    first: dict[tuple[int, int], Image] = {}
    for image in sorted(images, key=lambda image: image.name):
        first.setdefault((image.person_id, image.camera_id), image)
    return tuple(sorted(first.values(), key=lambda image: image.name))


def _name(path: Path, halves: Halves, split_by: str | None) -> str:
    official_train = _count(halves.train) == _MARKET_TRAIN
    if official_train and _count(halves.query) == _MARKET_QUERY and _count(halves.gallery) == _MARKET_GALLERY:
        return "Market-1501"
    if official_train and not halves.query and not halves.gallery:
        return f"Market-1501 train-split ({split_by})" if split_by else "Market-1501 train half"
    name = path.resolve().stem if path.is_file() else path.resolve().name
    return f"{name} ({split_by})" if split_by else name


def _count(images: Sequence[Image]) -> tuple[int, int]:
    return len(images), _identities(images)


def _identities(images: Sequence[Image]) -> int:
    return len({image.person_id for image in images if image.person_id > 0})
