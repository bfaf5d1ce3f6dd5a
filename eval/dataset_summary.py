"""What a data set holds, part by part, as a table and as JSON."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from runtime.embeddings import DISTRACTOR, JUNK

from .datasets import Image, ReidDataset
from .features import PlainLabels, select, without_junk
from .matches import find_matches
from .published import PARTS

_SAMPLE = 50
_COLUMNS = ("part", "images", "identities", "cameras", "images/identity", "width", "height")


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest of some numbers."""

    min: int
    median: float
    max: int

    def __str__(self) -> str:
        return f"{self.min}–{self.median:g}–{self.max}"


@dataclass(frozen=True)
class PartSummary:
    """One part of a data set.

    Attributes:
        images: all of them.
        identities: persons, without junk and distractors.
        cameras: of all images.
        junk: images with person -1.
        distractors: images with person 0.
        images_per_identity: None without identities.
        width: in pixels, of a sample of the images.
        height: likewise.
    """

    images: int
    identities: int
    cameras: int
    junk: int
    distractors: int
    images_per_identity: Spread | None
    width: Spread
    height: Spread


@dataclass(frozen=True)
class DatasetSummary:
    """What a data set holds.

    Attributes:
        name: what results on it may be called.
        source: the folder or zip.
        synthetic: whether its people were drawn.
        parts: of "train", "query" and "gallery" those that have images.
        queries_with_a_match: how many queries have their person in the gallery, seen by another camera; None without a
            test half.
        differences: from the published data set that it is like.
    """

    name: str
    source: str
    synthetic: bool
    parts: dict[str, PartSummary]
    queries_with_a_match: int | None
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON writes it."""
        return dataclasses.asdict(self)

    def table(self) -> str:
        """Lines of text for a terminal."""
        rows = [_COLUMNS, *(_row(name, part) for name, part in self.parts.items())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        lines = [f"{self.name}{' (synthetic people)' if self.synthetic else ''}: {self.source}"]
        lines.append("images/identity, width and height: min–median–max")
        lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        gallery = self.parts.get("gallery")
        if gallery is not None and (gallery.junk or gallery.distractors):
            lines.append(f"gallery: {gallery.junk:,} images are junk and {gallery.distractors:,} distractors")
        if self.queries_with_a_match is not None:
            lines.append(
                f"{self.queries_with_a_match:,} of {self.parts['query'].images:,} queries have a match in the gallery"
            )
        return "\n".join([*lines, *self.differences])


def summarise_dataset(dataset: ReidDataset) -> DatasetSummary:
    """Count what is there, and decode a few images of each part for their size.

    Raises:
        InputError: one of these images cannot be read.
    """
    parts = {name: images for name in PARTS if (images := getattr(dataset, name))}
    matched = _queries_with_a_match(dataset) if {"query", "gallery"} <= parts.keys() else None
    return DatasetSummary(
        dataset.name,
        str(dataset.source),
        dataset.synthetic,
        {name: _summarise(dataset, images) for name, images in parts.items()},
        matched,
        dataset.differences,
    )


def _summarise(dataset: ReidDataset, images: Sequence[Image]) -> PartSummary:
    persons = Counter(image.person_id for image in images)
    junk, distractors = persons.pop(JUNK, 0), persons.pop(DISTRACTOR, 0)
    sample = [images[index * len(images) // _SAMPLE] for index in range(_SAMPLE)] if len(images) > _SAMPLE else images
    shapes = [dataset.read(image).shape for image in sample]
    return PartSummary(
        len(images),
        len(persons),
        len({image.camera_id for image in images}),
        junk,
        distractors,
        _spread(list(persons.values())) if persons else None,
        _spread([shape[1] for shape in shapes]),
        _spread([shape[0] for shape in shapes]),
    )


def _queries_with_a_match(dataset: ReidDataset) -> int:
    query, gallery = (
        PlainLabels(
            np.array([image.person_id for image in images], np.int64),
            np.array([image.camera_id for image in images], np.int64),
        )
        for images in (dataset.query, dataset.gallery)
    )
    matches = find_matches(query, select(gallery, without_junk(gallery)))
    return len(set(matches.queries.tolist()))


def _spread(values: Sequence[int]) -> Spread:
    return Spread(min(values), float(median(values)), max(values))


def _row(name: str, part: PartSummary) -> tuple[str, ...]:
    return (
        name,
        f"{part.images:,}",
        f"{part.identities:,}",
        f"{part.cameras}",
        str(part.images_per_identity or ""),
        str(part.width),
        str(part.height),
    )
