"""From file names to persons and cameras: the layouts of Market-1501 and MSMT17, and plain folders of persons."""

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from runtime.errors import InputError

from .halves import Halves, Image
from .msmt17 import msmt17_root, read_msmt17

MARKET_PARTS = ("bounding_box_train", "query", "bounding_box_test")

EXPECTED = (
    "expected the Market-1501 layout (bounding_box_train/, query/, bounding_box_test/ with names like "
    "0002_c1s1_000451_03.jpg), that of MSMT17 (list_train.txt and three more lists beside train/ and test/), or one "
    "folder a person (anna/camera1_000451.jpg)"
)

# Market-1501 0002_c1s1_000451_03.jpg, DukeMTMC-reID 0005_c2_f0046985.jpg, CUHK03-NP 0001_c1_1.png.
_MARKET_NAME = re.compile(r"(-1|\d{4,})_c(\d+)(?:s\d+)?_[\w.-]*\w\.\w+")
_MARKET_PATH = re.compile(rf"((?:.*/)?)(?:{'|'.join(MARKET_PARTS)})/[^/]+")

# As published, and as torchreid unpacks it.
_CLASSIC_CUHK03 = re.compile(
    r"cuhk-03\.mat|cuhk03_release(?:\.mat|\.zip)?|splits_classic_\w+\.json|images_(?:detected|labeled)", re.IGNORECASE
)


def recognise(
    names: Sequence[str], source: str, others: Sequence[str] = (), read: Callable[[str], bytes] | None = None
) -> Halves:
    """Read the layout from the names.

    Args:
        names: of all images, relative to the data set's folder or zip; a common top folder may come first.
        source: what to call the data set in an error.
        others: names of what is there beside the images.
        read: gives the content of one of `others`; needed for MSMT17 only.

    Raises:
        InputError: no layout or more than one data set, a name that does not say person and camera, or lists that do
            not fit the images.
    """
    refuse_classic_cuhk03([*others, *{posixpath.dirname(name) for name in names}], source)
    if not names:
        raise InputError(f"data set {source} holds no image; expected a folder or a .zip of images")
    market = {root for name in names if (root := _market_root(name)) is not None}
    msmt17 = {root for name in names if (root := msmt17_root(name)) is not None}
    if len(market | msmt17) > 1:
        raise _several(sorted(market | msmt17), source)
    if msmt17:
        known = frozenset(others)
        return read_msmt17(
            names, msmt17.pop(), lambda name: read(name) if read is not None and name in known else None, source
        )
    if market:
        return _market(names, market.pop(), source)
    if _person_depth(names) is None:
        raise InputError(f"{source} has no layout that is known here: {_describe(names)}; {EXPECTED}")
    return _plain(names, source)


def refuse_classic_cuhk03(names: Iterable[str], source: str) -> None:
    """Refuse CUHK03 with its first protocol, whose figures are of another kind.

    Args:
        names: of files and folders.
        source: what to call the data set in an error.

    Raises:
        InputError: one of them belongs to it.
    """
    for name in names:
        if _CLASSIC_CUHK03.fullmatch(posixpath.basename(name)):
            raise InputError(
                f"{source} is CUHK03 as it was first published ({name}), for the classic protocol: 1,367 persons to "
                "train on and 100 to test, 20 times over. Such figures must not stand beside those of CUHK03-NP "
                "(767/700), which is what is read here: give its folder detected/ or labeled/, with "
                "bounding_box_train/, query/ and bounding_box_test/"
            )


def _several(roots: Sequence[str], source: str) -> InputError:
    if {posixpath.basename(root.rstrip("/")).lower() for root in roots} == {"detected", "labeled"}:
        return InputError(
            f"{source} holds CUHK03-NP twice; give its folder {' or '.join(root.rstrip('/') for root in roots)} "
            "(unpack a zip): detected has a detector's boxes, labeled those that people drew; their figures differ"
        )
    listed = ", ".join(root or "at its top" for root in roots)
    return InputError(f"{source} holds several data sets ({listed}); give the folder of one of them")


def _market_root(name: str) -> str | None:
    """The folder above a part of the Market layout, "" for none."""
    match = _MARKET_PATH.fullmatch(name)
    return None if match is None else match[1]


def _market(names: Sequence[str], root: str, source: str) -> Halves:
    train, query, gallery = (
        tuple(_market_image(name, source) for name in names if posixpath.dirname(name) == f"{root}{part}")
        for part in MARKET_PARTS
    )
    for image in train:
        if image.person_id < 1:
            raise InputError(
                f"{image.name} in {source} has person {image.person_id}; training images need a person from 0001 on "
                "(-1 is junk and 0000 a distractor, both for the gallery only)"
            )
    return Halves(train, query, gallery, "market", root)


def _market_image(name: str, source: str) -> Image:
    match = _MARKET_NAME.fullmatch(posixpath.basename(name))
    if match is None:
        raise InputError(
            f"{name} in {source} is not named as in Market-1501; expected person_cCsS_frame_box.jpg or "
            "person_cC_image.jpg, e.g. 0002_c1s1_000451_03.jpg or 0005_c2_f0046985.jpg"
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
