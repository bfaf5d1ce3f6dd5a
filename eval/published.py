"""The data sets of the field as they were published: how many images and identities each part has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .halves import Halves, Image, Layout, identities

PARTS = ("train", "query", "gallery")


@dataclass(frozen=True)
class Part:
    """Images, junk and distractors included, and the identities of the others."""

    images: int
    identities: int

    def __str__(self) -> str:
        return f"{self.images:,} images of {self.identities:,} identities"


@dataclass(frozen=True)
class Published:
    """A data set as it was published.

    Attributes:
        name: what results on it are called.
        train: images to train on.
        query: images to search with.
        gallery: images to search in.
        layout: how its files are named.
        marks: what the name of its folder or zip holds, in small letters and digits.
    """

    name: str
    train: Part
    query: Part
    gallery: Part
    layout: Layout
    marks: tuple[str, ...]

    def differences(self, halves: Halves) -> tuple[str, ...]:
        """What a copy has too much or too little, a line each."""
        lines = [
            line
            for part in PARTS
            for line in _differences(part, count(getattr(halves, part)), getattr(self, part), self)
        ]
        if halves.unlisted:
            lines.append(f"{len(halves.unlisted):,} images are in no list, the first is {halves.unlisted[0]}")
        return tuple(lines)


_MSMT17 = (Part(32_621, 1_041), Part(11_659, 3_060), Part(82_161, 3_060))

PUBLISHED = (
    Published("Market-1501", Part(12_936, 751), Part(3_368, 750), Part(19_732, 750), "market", ("market1501",)),
    # The gallery has 408 persons more than the queries; their images are what Market-1501 calls distractors.
    Published("DukeMTMC-reID", Part(16_522, 702), Part(2_228, 702), Part(17_661, 1_110), "market", ("dukemtmc",)),
    Published(
        "CUHK03-NP (detected)", Part(7_365, 767), Part(1_400, 700), Part(5_332, 700), "market", ("cuhk03", "detected")
    ),
    Published(
        "CUHK03-NP (labeled)", Part(7_368, 767), Part(1_400, 700), Part(5_328, 700), "market", ("cuhk03", "labeled")
    ),
    Published("MSMT17", *_MSMT17, "msmt17", ("msmt17",)),
    Published("MSMT17_V2", *_MSMT17, "msmt17_v2", ("msmt17",)),
)


def resembled(halves: Halves, source: Path) -> Published | None:
    """The published data set that this is, or is a changed copy of; None where it is another one.

    A copy has at least one part of the published size, or its folder is called like the data set.

    Args:
        halves: the images.
        source: the folder or zip.
    """
    called = _called(halves, source)
    scores = {each: _score(each, halves, called) for each in PUBLISHED if each.layout == halves.layout}
    best = max(scores, key=lambda each: scores[each], default=None)
    return best if best is not None and scores[best] > 0 else None


def count(images: Sequence[Image]) -> Part:
    """Images and identities."""
    return Part(len(images), identities(images))


def _score(published: Published, halves: Halves, called: str) -> int:
    parts = sum(bool(count(getattr(halves, part)) == getattr(published, part)) for part in PARTS)
    return 2 * parts + int(all(mark in called for mark in published.marks))


def _called(halves: Halves, source: Path) -> str:
    """The name of the folder or zip and of the folder inside it, in small letters and digits."""
    path = source.resolve()
    names = [path.stem if path.is_file() else path.name, halves.root]
    if path.name.lower() in ("detected", "labeled"):
        names.insert(0, path.parent.name)
    return re.sub(r"[^a-z0-9]", "", "".join(names).lower())


def _differences(part: str, found: Part, expected: Part, published: Published) -> list[str]:
    if found == expected:
        return []
    if not found.images:
        return [f"{part} is missing, {published.name} has {expected}"]
    return [
        f"{part} has {getattr(found, what):,} {what}, {published.name} has {getattr(expected, what):,}"
        for what in ("images", "identities")
        if getattr(found, what) != getattr(expected, what)
    ]
