"""From file names to persons and cameras: the Market-1501 layout and plain folders of persons."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from runtime.errors import InputError

MARKET_PARTS = ("bounding_box_train", "query", "bounding_box_test")

EXPECTED = (
    "expected the Market-1501 layout (bounding_box_train/, query/, bounding_box_test/ with names like "
    "0002_c1s1_000451_03.jpg) or one folder a person (anna/camera1_000451.jpg)"
)

_MARKET_NAME = re.compile(r"(-1|\d{4,})_c(\d+)s\d+_\d+_\d+\.\w+")


@dataclass(frozen=True)
class Image:
    """An image of a data set.

    Attributes:
        name: path inside the data set's folder or zip, with "/" between parts.
        person_id: -1 junk, 0 distractor, else a person.
        camera_id: from 1 in both layouts.
    """

    name: str
    person_id: int
    camera_id: int


@dataclass(frozen=True)
class Halves:
    """What a layout knows about its images; without a published test half all of them are `train`."""

    train: tuple[Image, ...]
    query: tuple[Image, ...] = ()
    gallery: tuple[Image, ...] = ()


def recognise(names: Sequence[str], source: str) -> Halves:
    """Read the layout from the names.

    Args:
        names: of all images, relative to the data set's folder or zip; a common top folder may come first.
        source: what to call the data set in an error.

    Raises:
        InputError: no layout or more than one data set, or a name that does not say person and camera.
    """
    roots = sorted({root for name in names if (root := _market_root(name)) is not None})
    if len(roots) > 1:
        raise InputError(f"{source} holds several data sets ({', '.join(roots)}); give the folder of one of them")
    if roots:
        return _market(names, roots[0], source)
    if _person_depth(names) is None:
        raise InputError(f"{source} has no layout that is known here: {_describe(names)}; {EXPECTED}")
    return _plain(names, source)


def _market_root(name: str) -> str | None:
    """The folder above a part of the Market layout, "" for none."""
    folders = PurePosixPath(name).parts[:-1]
    if not folders or folders[-1] not in MARKET_PARTS:
        return None
    return "".join(f"{folder}/" for folder in folders[:-1])


def _market(names: Sequence[str], root: str, source: str) -> Halves:
    train, query, gallery = (
        tuple(_market_image(name, source) for name in names if name.startswith(f"{root}{part}/"))
        for part in MARKET_PARTS
    )
    for image in train:
        if image.person_id < 1:
            raise InputError(
                f"{image.name} in {source} has person {image.person_id}; training images need a person from 0001 on "
                "(-1 is junk and 0000 a distractor, both for the gallery only)"
            )
    return Halves(train, query, gallery)


def _market_image(name: str, source: str) -> Image:
    match = _MARKET_NAME.fullmatch(PurePosixPath(name).name)
    if match is None:
        raise InputError(
            f"{name} in {source} is not named as in Market-1501; expected person_cCsS_frame_box.jpg, "
            "e.g. 0002_c1s1_000451_03.jpg"
        )
    return Image(name, int(match[1]), int(match[2]))


def _person_depth(names: Sequence[str]) -> int | None:
    """Which part of a name is the person: 0, or 1 below one common top folder; None where neither fits."""
    parts = [PurePosixPath(name).parts for name in names]
    depths = {len(part) for part in parts}
    if depths == {2}:
        return 0
    return 1 if depths == {3} and len({part[0] for part in parts}) == 1 else None


def _plain(names: Sequence[str], source: str) -> Halves:
    persons = _ids(PurePosixPath(name).parts[-2] for name in names)
    cameras = _ids(_camera(name, source) for name in names)
    return Halves(
        tuple(Image(name, persons[PurePosixPath(name).parts[-2]], cameras[_camera(name, source)]) for name in names)
    )


def _camera(name: str, source: str) -> str:
    camera, separator, _ = PurePosixPath(name).name.partition("_")
    if not camera or not separator:
        raise InputError(f"{name} in {source} names no camera; expected camera_anything.jpg; {EXPECTED}")
    return camera


def _ids(keys: Iterable[str]) -> dict[str, int]:
    return {key: number for number, key in enumerate(sorted(set(keys)), start=1)}


def _describe(names: Sequence[str]) -> str:
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    shown = ", ".join("images directly in it" if folder == "." else f"{folder}/" for folder in folders[:3])
    more = f" and {len(folders) - 3} more folders" if len(folders) > 3 else ""
    return f"found {len(names)} images in {shown}{more}"
