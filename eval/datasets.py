"""Person re-identification data sets: which images there are, of whom, and how they are split."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.images import decode_image

from .halves import Halves, Image, identities
from .layouts import recognise, refuse_classic_cuhk03
from .published import PARTS, Published, count, resembled
from .storage import Storage, open_storage

__all__ = ["Image", "ReidDataset", "open_dataset"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReidDataset:
    """The images of a data set by their role. Can be sent to another process and read from several threads.

    Attributes:
        name: what results on it may be called; "Market-1501" and the like only where it is the published one, by the
            number of images and identities in each part.
        source: the folder or zip it was opened from.
        train: images to train on.
        query: images to search with; empty where there is neither a test half nor a split.
        gallery: images to search in, junk and distractors included; empty likewise.
        storage: how the files are read.
        synthetic: whether its people were drawn, which a marker file in it says.
        differences: what it has too much or too little where it is like a published data set, a line each.
    """

    name: str
    source: Path
    train: tuple[Image, ...]
    query: tuple[Image, ...]
    gallery: tuple[Image, ...]
    storage: Storage
    synthetic: bool = False
    differences: tuple[str, ...] = ()

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
    """Open a folder or zip in the layout of Market-1501 or MSMT17, or a plain one with a folder for each person.

    DukeMTMC-reID and CUHK03-NP have the layout of Market-1501. What is like a published data set and has other numbers
    of images or identities is opened, with a warning and under its own name.

    Args:
        path: the folder or .zip; a top folder inside it does not matter, and parts of Market-1501's layout may be
            missing. In the plain layout `person/camera_anything.jpg` sorted names become ids from 1.
        split_by: "person%N" where there is no test half: identities whose id is a multiple of N become validation (the
            first file name of each identity and camera is a query, the rest is the gallery), the others train.

    Raises:
        InputError: nothing there, damaged, no image, no known layout, a name that does not fit it, an image that is
            missing from those of a list, or a split that is malformed, leaves one side empty, or is asked for where
            there is a test half.
    """
    path = Path(path)
    refuse_classic_cuhk03([path.name], str(path))
    storage = open_storage(path)
    halves = recognise(storage.names, str(path), storage.others, storage.read)
    split = halves if split_by is None else _split(halves, split_by, path)
    published = None if storage.synthetic else resembled(halves, path)
    name = _published_name(published, halves, split_by) if published else None
    # What a split makes query and gallery of is said by its name.
    differences = () if published is None or (name and split_by) else published.differences(halves)
    if published is not None and name is None:
        logger.warning("warning: %s is not %s as it was published: %s", path, published.name, "; ".join(differences))
    return ReidDataset(
        name or _own_name(path, split_by, published),
        path,
        split.train,
        split.query,
        split.gallery,
        storage,
        storage.synthetic,
        differences,
    )


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
                f"data set {path} split by {split_by!r} leaves no {part} images ({identities(halves.train)} persons, "
                f"{len(halves.train)} images); give more data or another N"
            )
    return split


def _first_of_each(images: Sequence[Image]) -> tuple[Image, ...]:
    """The first file name of each (person, camera), in the order of the names."""
    first: dict[tuple[int, int], Image] = {}
    for image in sorted(images, key=lambda image: image.name):
        first.setdefault((image.person_id, image.camera_id), image)
    return tuple(sorted(first.values(), key=lambda image: image.name))


def _published_name(published: Published, halves: Halves, split_by: str | None) -> str | None:
    """Its name where all parts, or the whole training half alone, are the published ones."""
    found = {part: getattr(halves, part) for part in PARTS}
    if all(count(images) == getattr(published, part) for part, images in found.items()):
        return published.name
    if count(halves.train) == published.train and not halves.query and not halves.gallery:
        return f"{published.name} train-split ({split_by})" if split_by else f"{published.name} train half"
    return None


def _own_name(path: Path, split_by: str | None, published: Published | None) -> str:
    """The folder's or zip's, which may be that of the published data set that it is not."""
    name = path.resolve().stem if path.is_file() else path.resolve().name
    remarks = [*([f"not {published.name} as published"] if published else []), *([split_by] if split_by else [])]
    return f"{name} ({', '.join(remarks)})" if remarks else name
