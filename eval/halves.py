"""The images of a data set by their role, as its layout tells them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Layout = Literal["market", "msmt17", "msmt17_v2", "plain"]


@dataclass(frozen=True)
class Image:
    """An image of a data set.

    Attributes:
        name: path inside the data set's folder or zip, with "/" between parts.
        person_id: -1 junk, 0 distractor, else a person.
        camera_id: from 1 in every layout.
    """

    name: str
    person_id: int
    camera_id: int


@dataclass(frozen=True)
class Halves:
    """What a layout knows about its images; without a published test half all of them are `train`.

    Attributes:
        train: images to train on.
        query: images to search with.
        gallery: images to search in.
        layout: how the files are named.
        root: the folder inside the data set's that the layout begins in, ending in "/"; "" for its own.
        unlisted: images that lie among the others and that the data set's lists do not name, of MSMT17 only.
    """

    train: tuple[Image, ...]
    query: tuple[Image, ...] = ()
    gallery: tuple[Image, ...] = ()
    layout: Layout = "plain"
    root: str = ""
    unlisted: tuple[str, ...] = ()


def identities(images: Iterable[Image]) -> int:
    """How many persons are seen; junk and distractors are nobody."""
    return len({image.person_id for image in images if image.person_id > 0})
