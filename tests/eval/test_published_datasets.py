"""The data sets of the field: their layouts, with their real names and numbers of images, and copies that differ.

Nothing here is decoded, so that the files are empty.
"""

import logging
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from eval.datasets import ReidDataset, open_dataset
from eval.halves import Halves
from eval.layouts import recognise
from eval.published import resembled
from eval.storage import SYNTHETIC_MARKER
from runtime.errors import InputError

MARKET = "{person:04d}_c{camera}s1_{number:06d}_00.jpg"
DUKE = "{person:04d}_c{camera}_f{number:07d}.jpg"
CUHK03 = "{person:04d}_c{camera}_{number}.png"


def named(folder: str, pattern: str, persons: Sequence[int], images: int, cameras: int) -> list[str]:
    """As many images, over these persons and so many cameras in turn."""
    return [
        f"{folder}/"
        + pattern.format(
            person=persons[number % len(persons)], camera=1 + number // len(persons) % cameras, number=number
        )
        for number in range(images)
    ]


def market_1501() -> list[str]:
    nobody = [
        f"bounding_box_test/{person}_c3s1_{number:06d}_00.jpg" for person in ("-1", "0000") for number in range(99)
    ]
    return [
        *named("bounding_box_train", MARKET, range(2, 2 + 751), 12_936, 6),
        *named("query", MARKET, range(1_000, 1_750), 3_368, 6),
        *named("bounding_box_test", MARKET, range(1_000, 1_750), 19_732 - len(nobody), 6),
        *nobody,
    ]


def duke() -> list[str]:
    return [
        *named("bounding_box_train", DUKE, range(1, 703), 16_522, 8),
        *named("query", DUKE, range(1_000, 1_702), 2_228, 8),
        *named("bounding_box_test", DUKE, range(1_000, 2_110), 17_661, 8),
    ]


def cuhk03(train: int, gallery: int) -> list[str]:
    return [
        *named("bounding_box_train", CUHK03, range(1, 768), train, 2),
        *named("query", CUHK03, range(768, 1_468), 1_400, 2),
        *named("bounding_box_test", CUHK03, range(768, 1_468), gallery, 2),
    ]


def msmt17_lists(counts: dict[str, tuple[int, int]]) -> dict[str, list[str]]:
    """The lines of each list, of so many images and persons."""
    return {
        name: [
            f"{number % persons:04d}/{number % persons:04d}_{place:03d}{number // persons:03d}_"
            f"{1 + number % 15:02d}_0303morning_0015_0.jpg {number % persons}"
            for number in range(images)
        ]
        for place, (name, (images, persons)) in enumerate(counts.items())
    }


def msmt17_files(lists: dict[str, list[str]], train: str = "train", test: str = "test") -> dict[str, str]:
    """Paths and contents, lists included."""
    files = {f"{name}.txt": "".join(f"{line}\n" for line in lines) for name, lines in lists.items()}
    for name, lines in lists.items():
        folder = train if name in ("list_train", "list_val") else test
        files |= {f"{folder}/{line.rpartition(' ')[0]}": "" for line in lines}
    return files


SMALL = {"list_train": (6, 3), "list_val": (3, 3), "list_query": (2, 2), "list_gallery": (4, 2)}


def in_folder(folder: Path, files: dict[str, str] | Iterable[str]) -> Path:
    contents = files if isinstance(files, dict) else dict.fromkeys(files, "")
    for parent in {(folder / name).parent for name in contents}:
        parent.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content)
    return folder


def in_zip(path: Path, files: dict[str, str] | Iterable[str]) -> Path:
    contents = files if isinstance(files, dict) else dict.fromkeys(files, "")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def counts(dataset: ReidDataset | Halves) -> list[tuple[int, int, int]]:
    """Images, identities and cameras of each part."""
    return [
        (
            len(images),
            len({image.person_id for image in images if image.person_id > 0}),
            len({image.camera_id for image in images}),
        )
        for images in (dataset.train, dataset.query, dataset.gallery)
    ]


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        ("Market-1501", market_1501, [(12_936, 751, 6), (3_368, 750, 5), (19_732, 750, 6)]),
        ("DukeMTMC-reID", duke, [(16_522, 702, 8), (2_228, 702, 4), (17_661, 1_110, 8)]),
        ("CUHK03-NP (detected)", lambda: cuhk03(7_365, 5_332), [(7_365, 767, 2), (1_400, 700, 2), (5_332, 700, 2)]),
        ("CUHK03-NP (labeled)", lambda: cuhk03(7_368, 5_328), [(7_368, 767, 2), (1_400, 700, 2), (5_328, 700, 2)]),
    ],
)
def test_published_data_sets_are_called_by_their_names_whatever_their_files_are_called(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    files: Callable[[], list[str]],
    expected: list[tuple[int, int, int]],
) -> None:
    dataset = open_dataset(in_zip(tmp_path / "market1501.zip", files()))
    assert dataset.name == name
    assert counts(dataset) == expected
    assert dataset.differences == ()
    assert not caplog.records


def test_msmt17_trains_on_both_of_its_training_lists() -> None:
    lists = msmt17_lists(
        {
            "list_train": (30_000, 1_041),
            "list_val": (2_621, 1_041),
            "list_query": (11_659, 3_060),
            "list_gallery": (82_161, 3_060),
        }
    )
    files = msmt17_files(lists)
    names = sorted(name for name in files if name.endswith(".jpg"))
    halves = recognise(names, "msmt17", [f"{name}.txt" for name in lists], lambda name: files[name].encode())
    published = resembled(halves, Path("data"))
    assert published is not None
    assert (published.name, published.differences(halves)) == ("MSMT17", ())
    assert counts(halves) == [(32_621, 1_041, 15), (11_659, 3_060, 15), (82_161, 3_060, 15)]
    assert {image.person_id for image in halves.train} == set(range(1, 1_042))
    assert {image.person_id for image in halves.gallery} == set(range(1_042, 4_102))


def test_a_copy_that_differs_is_opened_under_its_own_name_and_says_in_what(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = market_1501()
    names.remove(next(name for name in names if name.startswith("query/")))
    names.append("bounding_box_train/1501_c1s1_999999_00.jpg")
    dataset = open_dataset(in_zip(tmp_path / "mine.zip", names))
    assert dataset.name == "mine (not Market-1501 as published)"
    assert dataset.differences == (
        "train has 12,937 images, Market-1501 has 12,936",
        "train has 752 identities, Market-1501 has 751",
        "query has 3,367 images, Market-1501 has 3,368",
    )
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "mine.zip is not Market-1501 as it was published: train has 12,937 images" in record.getMessage()


def test_a_folder_called_like_a_data_set_is_compared_with_it(tmp_path: Path) -> None:
    few = named("bounding_box_train", DUKE, range(1, 4), 6, 2)
    dataset = open_dataset(in_folder(tmp_path / "DukeMTMC-reID", few))
    assert dataset.name == "DukeMTMC-reID (not DukeMTMC-reID as published)"
    assert dataset.differences[0] == "train has 6 images, DukeMTMC-reID has 16,522"
    assert "query is missing, DukeMTMC-reID has 2,228 images of 702 identities" in dataset.differences
    assert open_dataset(in_folder(tmp_path / "people", few)).differences == ()
    (tmp_path / "DukeMTMC-reID" / SYNTHETIC_MARKER).touch()
    assert open_dataset(tmp_path / "DukeMTMC-reID").differences == ()


def test_a_training_half_alone_says_what_is_missing_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = named("bounding_box_train", CUHK03, range(1, 768), 7_365, 2)
    path = in_zip(tmp_path / "half.zip", train)
    whole, split = open_dataset(path), open_dataset(path, "person%5")
    assert (whole.name, split.name) == (
        "CUHK03-NP (detected) train half",
        "CUHK03-NP (detected) train-split (person%5)",
    )
    assert [line.partition(",")[0] for line in whole.differences] == ["query is missing", "gallery is missing"]
    assert split.differences == ()
    assert not caplog.records


def test_cuhk03_np_is_one_of_its_two_folders(tmp_path: Path) -> None:
    for boxes in ("detected", "labeled"):
        in_folder(tmp_path / "cuhk03-np" / boxes, ["query/0003_c1_22.png", "bounding_box_test/0003_c2_27.png"])
    with pytest.raises(
        InputError, match=r"give its folder detected or labeled \(unpack a zip\): detected has a detector's boxes"
    ):
        open_dataset(tmp_path / "cuhk03-np")
    labeled = open_dataset(tmp_path / "cuhk03-np" / "labeled")
    assert [(image.person_id, image.camera_id) for image in labeled.gallery] == [(3, 2)]
    assert "query has 1 images, CUHK03-NP (labeled) has 1,400" in labeled.differences


@pytest.mark.parametrize(
    "names",
    [["cuhk-03.mat", "README.txt"], ["splits_classic_detected.json", "a/b.png"], ["images_detected/1_001_1_01.png"]],
)
def test_the_classic_cuhk03_is_refused_with_an_explanation(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(InputError, match=r"1,367 persons to train on and 100 to test.* give its folder detected/"):
        open_dataset(in_folder(tmp_path / "cuhk03", names))


def test_the_classic_cuhk03_is_refused_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "cuhk03_release.mat").write_bytes(b"HDF5")
    with pytest.raises(InputError, match="the classic protocol"):
        open_dataset(tmp_path / "cuhk03_release.mat")


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_both_versions_of_msmt17_from_folders_and_zips(tmp_path: Path, train: str, test: str) -> None:
    files = {f"MSMT17/{name}": content for name, content in msmt17_files(msmt17_lists(SMALL), train, test).items()}
    files["MSMT17/list_val.txt"] = files["MSMT17/list_val.txt"].replace("\n", "\r\n") + "\n"
    folder, zipped = open_dataset(in_folder(tmp_path / "data", files)), open_dataset(in_zip(tmp_path / "d.zip", files))
    for dataset in (folder, zipped):
        assert [(image.person_id, image.camera_id) for image in dataset.train] == [
            *[(1, 1), (2, 2), (3, 3), (1, 4), (2, 5), (3, 6)],
            *[(1, 1), (2, 2), (3, 3)],
        ]
        assert [(image.person_id, image.camera_id) for image in dataset.query] == [(4, 1), (5, 2)]
        assert [image.person_id for image in dataset.gallery] == [4, 5, 4, 5]
        version = "MSMT17_V2" if "mask" in train else "MSMT17"
        assert dataset.differences[0] == f"train has 9 images, {version} has 32,621"
    assert folder.train == zipped.train
    assert folder.train[0].name == f"MSMT17/{train}/0000/0000_000000_01_0303morning_0015_0.jpg"


def msmt17_without(what: str) -> dict[str, str]:
    return {name: content for name, content in msmt17_files(msmt17_lists(SMALL)).items() if what not in name}


def msmt17_with(extra: dict[str, str]) -> dict[str, str]:
    return msmt17_files(msmt17_lists(SMALL)) | extra


FIRST = "0000/0000_000000_01_0303morning_0015_0.jpg 0\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (msmt17_without("list_val"), "but not list_val.txt, which say who is in them"),
        (
            msmt17_without("0001_003001"),
            r"1 of 4 images that list_gallery.txt names are not in .*test/0001/0001_003001_04",
        ),
        (msmt17_with({"list_val.txt": FIRST}), "0000_000000_01_0303morning_0015_0.jpg is named twice"),
        (msmt17_with({"list_query.txt": f"{FIRST}0000/who.jpg 1\n"}), "line 2 of list_query.txt .*0000/who.jpg 1"),
        (msmt17_with({"mask_train_v2/0000/0000_001_01_0303noon_1_0.jpg": ""}), "both versions"),
    ],
)
def test_msmt17_that_is_not_whole_is_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(in_folder(tmp_path / "msmt17", files))


def test_images_that_no_list_of_msmt17_names_are_counted(tmp_path: Path) -> None:
    extra = msmt17_with({"train/0000/0000_900_01_0303noon_1_0.jpg": "", "train/0000/0000_901_01_0303noon_1_0.jpg": ""})
    dataset = open_dataset(in_folder(tmp_path / "msmt17", extra))
    assert len(dataset.train) == 9
    assert dataset.differences[-1] == "2 images are in no list, the first is train/0000/0000_900_01_0303noon_1_0.jpg"
