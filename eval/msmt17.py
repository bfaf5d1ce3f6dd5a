"""MSMT17: lists beside folders of persons, `train/` and `test/` (V1) or `mask_train_v2/` and `mask_test_v2/` (V2)."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from runtime.errors import InputError

from .halves import Halves, Image, Layout

# In both versions: the training images are in two lists, the test images in one list for each role.
_TRAIN_LISTS = ("list_train.txt", "list_val.txt")
_TEST_LISTS = ("list_query.txt", "list_gallery.txt")

_FOLDERS: dict[str, Layout] = {
    "train": "msmt17",
    "test": "msmt17",
    "mask_train_v2": "msmt17_v2",
    "mask_test_v2": "msmt17_v2",
}
_NAME = r"\d{4}_\d+_(\d+)_\w+\.\w+"
_PATH = re.compile(rf"((?:.*/)?)({'|'.join(_FOLDERS)})/[^/]+/{_NAME}", re.IGNORECASE)
_LINE = re.compile(rf"((?:.*/)?{_NAME}) +(\d+)\s*")


def msmt17_root(name: str) -> str | None:
    """The folder above `train/`, `test/` or their masked forms, "" for none; None for a name of another layout."""
    match = _PATH.fullmatch(name)
    return None if match is None else match[1]


def read_msmt17(names: Sequence[str], root: str, read: Callable[[str], bytes | None], source: str) -> Halves:
    """Read the four lists and find their images.

    The lists count persons from 0 in both halves, and 0 means distractor here: the persons of the training half become
    1, 2, ..., and those of the test half, who are others, go on from there.

    Args:
        names: of all images.
        root: the folder of the lists, "" or ending in "/".
        read: gives the content of a file, None where there is none.
        source: what to call the data set in an error.

    Raises:
        InputError: both versions at once, a list is missing or malformed, or names an image that is not there or was
            named before.
    """
    layout, train_folder, test_folder = _folders(names, root, source)
    lists = _read_lists(root, read, source)
    known = set(names)
    train = [
        image for name in _TRAIN_LISTS for image in _images(lists[name], f"{root}{train_folder}/", 1, known, source)
    ]
    first_of_test = 1 + max((image.person_id for image in train), default=0)
    query, gallery = (
        tuple(_images(lists[name], f"{root}{test_folder}/", first_of_test, known, source)) for name in _TEST_LISTS
    )
    everything = (*train, *query, *gallery)
    _check_once(everything, source)
    listed = {image.name for image in everything}
    below = (f"{root}{train_folder}/", f"{root}{test_folder}/")
    unlisted = tuple(name for name in names if name.startswith(below) and name not in listed)
    return Halves(tuple(train), query, gallery, layout, root, unlisted)


class _List(NamedTuple):
    """A list file: its name, and a path and a label in every line."""

    name: str
    lines: list[str]


def _folders(names: Sequence[str], root: str, source: str) -> tuple[Layout, str, str]:
    found = {match[2] for name in names if (match := _PATH.fullmatch(name)) is not None and match[1] == root}
    layouts = {_FOLDERS[folder.lower()] for folder in found}
    if len(layouts) > 1:
        raise InputError(
            f"{source} holds MSMT17 in both versions ({', '.join(sorted(found))}); their pixels differ (V2 hides the "
            "faces): leave one version there"
        )
    train, test = (next((folder for folder in found if which in folder.lower()), which) for which in ("train", "test"))
    return layouts.pop(), train, test


def _read_lists(root: str, read: Callable[[str], bytes | None], source: str) -> dict[str, _List]:
    contents = {name: read(f"{root}{name}") for name in (*_TRAIN_LISTS, *_TEST_LISTS)}
    missing = [f"{root}{name}" for name, content in contents.items() if content is None]
    if missing:
        raise InputError(
            f"{source} has images named as in MSMT17, but not {', '.join(missing)}, which say who is in them; they "
            "come with the data set: put them beside its folders"
        )
    return {
        name: _List(f"{root}{name}", content.decode("utf-8", "replace").splitlines())
        for name, content in contents.items()
        if content is not None
    }


def _images(entries: _List, folder: str, first_person: int, known: set[str], source: str) -> Iterator[Image]:
    missing = []
    for number, line in enumerate(entries.lines, start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(
                f"line {number} of {entries.name} in {source} is {line[:80]!r}; expected an image and the number of "
                "its person, e.g. 0000/0000_000_01_0303morning_0015_0.jpg 0"
            )
        name = folder + match[1]
        if name not in known:
            missing.append(name)
        yield Image(name, first_person + int(match[3]), int(match[2]))
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(entries.lines):,} images that {entries.name} names are not in {source}, the "
            f"first is {missing[0]}; copy or unpack the data set again"
        )


def _check_once(images: Sequence[Image], source: str) -> None:
    seen: set[str] = set()
    for image in images:
        if image.name in seen:
            raise InputError(f"{image.name} is named twice in the lists of {source}; copy them again")
        seen.add(image.name)
