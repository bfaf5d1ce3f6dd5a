"""Data sets: which images have which role, person and camera, from folders and zips, and what is refused."""

import multiprocessing
import os
import struct
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from eval.datasets import Image, open_dataset
from eval.storage import SYNTHETIC_MARKER
from runtime.errors import InputError
from runtime.images import read_image


def summary(images: Sequence[Image]) -> list[tuple[str, int, int]]:
    return [(image.name.rpartition("/")[2], image.person_id, image.camera_id) for image in images]


MARKET_SUMMARY = (
    [("0002_c1s1_000451_03.jpg", 2, 1), ("0002_c2s1_000551_01.jpg", 2, 2), ("0007_c1s1_000001_00.jpg", 7, 1)],
    [("0003_c1s1_000101_00.jpg", 3, 1), ("0005_c2s1_000102_00.jpg", 5, 2)],
    [
        ("-1_c3s1_000103_00.jpg", -1, 3),
        ("0000_c1s1_000104_00.jpg", 0, 1),
        ("0003_c2s1_000105_00.jpg", 3, 2),
        ("0003_c2s1_000106_00.jpg", 3, 2),
        ("0005_c1s2_000107_00.jpg", 5, 1),
    ],
)


def test_market_layout_from_a_folder_below_a_folder_and_from_zips(
    market: Path, tmp_path: Path, make_zip: Callable[..., Path]
) -> None:
    nested = tmp_path / "nested"
    nested.mkdir()
    market.rename(nested / "Market-1501-v15.09.15")
    inside = nested / "Market-1501-v15.09.15"
    sources = [
        inside,
        nested,
        make_zip(inside, tmp_path / "stored.zip", zipfile.ZIP_STORED),
        make_zip(inside, tmp_path / "deflated.zip", zipfile.ZIP_DEFLATED, top="Market-1501-v15.09.15/"),
    ]
    for source in sources:
        dataset = open_dataset(source)
        assert (summary(dataset.train), summary(dataset.query), summary(dataset.gallery)) == MARKET_SUMMARY


def test_only_the_marker_makes_a_data_set_synthetic(
    market: Path, tmp_path: Path, make_zip: Callable[..., Path]
) -> None:
    named = market.rename(tmp_path / "synthetic")
    assert not open_dataset(named).synthetic
    assert not open_dataset(make_zip(named, tmp_path / "synthetic.zip", zipfile.ZIP_STORED)).synthetic
    (named / SYNTHETIC_MARKER).write_text("drawn")
    above = tmp_path / "above"
    above.mkdir()
    renamed = named.rename(above / "people")
    zipped = make_zip(renamed, tmp_path / "people.zip", zipfile.ZIP_DEFLATED, top="people/")
    assert [open_dataset(path).synthetic for path in (renamed, above, zipped)] == [True, True, True]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_gives_the_pixels_of_the_folder(
    market: Path, tmp_path: Path, make_zip: Callable[..., Path], compression: int
) -> None:
    zipped = open_dataset(make_zip(market, tmp_path / "market.zip", compression, top="top/"))
    for image in (*zipped.train, *zipped.query, *zipped.gallery):
        expected = read_image(market / image.name.removeprefix("top/"))
        np.testing.assert_array_equal(zipped.read(image), expected)


def test_a_zip_whose_entries_carry_extra_fields_is_read(market: Path, tmp_path: Path) -> None:
    name = "query/0003_c1s1_000101_00.jpg"
    entry = zipfile.ZipInfo(name)
    entry.extra = struct.pack("<HH4s", 0xCAFE, 4, b"more")
    with zipfile.ZipFile(tmp_path / "extra.zip", "w") as archive:
        archive.writestr(entry, (market / name).read_bytes())
    dataset = open_dataset(tmp_path / "extra.zip")
    np.testing.assert_array_equal(dataset.read(dataset.query[0]), read_image(market / name))


def test_of_a_file_that_is_twice_in_a_zip_the_later_one_is_taken(market: Path, tmp_path: Path) -> None:
    """As a zip has it that was updated by appending."""
    name, later = "query/0003_c1s1_000101_00.jpg", "query/0005_c2s1_000102_00.jpg"
    with zipfile.ZipFile(tmp_path / "updated.zip", "w") as archive:
        archive.writestr(name, (market / name).read_bytes())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(name, (market / later).read_bytes())
    dataset = open_dataset(tmp_path / "updated.zip")
    assert [image.name for image in dataset.query] == [name]
    np.testing.assert_array_equal(dataset.read(dataset.query[0]), read_image(market / later))


def test_a_zip_is_read_from_threads_and_other_processes(
    market: Path, tmp_path: Path, make_zip: Callable[..., Path]
) -> None:
    dataset = open_dataset(make_zip(market, tmp_path / "market.zip", zipfile.ZIP_DEFLATED))
    images = [*dataset.train, *dataset.gallery] * 10
    expected = [int(dataset.read(image).sum()) for image in images]
    with ThreadPoolExecutor(4) as threads:
        assert [int(pixels.sum()) for pixels in threads.map(dataset.read, images)] == expected
    with multiprocessing.get_context("spawn").Pool(2) as processes:
        assert [int(pixels.sum()) for pixels in processes.map(dataset.read, images)] == expected


def test_files_beside_the_parts_and_hidden_files_are_left_out(market: Path, make_images: Callable[..., Path]) -> None:
    make_images(
        market,
        [
            "gt_bbox/0003_c1s1_000101_00.jpg",
            "pytorch/query/0003/0003_c1s1_000101_00.jpg",
            "query/.0003_c1s1_000101_00.jpg",
            "query/small/0003_c1s1_000101_00.jpg",
        ],
    )
    (market / "query" / "Thumbs.db").write_bytes(b"not an image")
    dataset = open_dataset(market)
    assert summary(dataset.query) == MARKET_SUMMARY[1]


def test_linked_parts_are_looked_into_and_a_circle_ends(market: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for part in market.iterdir():
        (linked / part.name).symlink_to(part)
    (linked / "again").symlink_to(linked)
    dataset = open_dataset(linked)
    assert (summary(dataset.train), summary(dataset.query), summary(dataset.gallery)) == MARKET_SUMMARY
    np.testing.assert_array_equal(dataset.read(dataset.query[0]), read_image(market / dataset.query[0].name))


def test_an_image_that_is_a_link_to_nowhere_is_missed_when_read(market: Path) -> None:
    (market / "query" / "0009_c1s1_000101_00.jpg").symlink_to(market / "absent")
    dataset = open_dataset(market)
    assert len(dataset.query) == 3
    with pytest.raises(InputError, match=r"cannot read .*0009_c1s1_000101_00\.jpg"):
        dataset.read(dataset.query[-1])


def test_what_cannot_be_looked_into_or_written_about_is_refused(market: Path) -> None:
    unnameable = Path(os.fsdecode(os.fsencode(market / "query") + b"/0009_c1s1_\xff.jpg"))
    unnameable.touch()
    with pytest.raises(InputError, match=r"0009_c1s1_\\xff\.jpg.* is not UTF-8"):
        open_dataset(market)
    unnameable.unlink()
    (market / "query" / "itself").symlink_to("itself")
    with pytest.raises(InputError, match=r"cannot look into .*itself"):
        open_dataset(market)


def test_plain_folders_become_ids_in_the_order_of_their_names(tmp_path: Path, make_images: Callable[..., Path]) -> None:
    names = ["bob/right_1.jpg", "anna/left_2.png", "anna/right_1.jpg", "carl/door_x_y.jpg"]
    for folder in (tmp_path / "people", tmp_path / "outer" / "people"):
        make_images(folder, names)
    for source in (tmp_path / "people", tmp_path / "outer"):
        dataset = open_dataset(source)
        assert summary(dataset.train) == [
            ("left_2.png", 1, 2),
            ("right_1.jpg", 1, 3),
            ("right_1.jpg", 2, 3),
            ("door_x_y.jpg", 3, 1),
        ]
        assert dataset.query == dataset.gallery == ()


def test_a_split_takes_the_first_file_of_each_person_and_camera_as_query(
    tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    names = [
        f"bounding_box_train/{person:04d}_c{camera}s1_{frame:06d}_00.jpg"
        for person in (4, 5, 6, 10)
        for camera in (2, 1)
        for frame in (30, 10, 20)
    ]
    dataset = open_dataset(make_images(tmp_path / "crowd", names), split_by="person%5")
    assert {image.person_id for image in dataset.train} == {4, 6}
    assert [name for name, _, _ in summary(dataset.query)] == [
        "0005_c1s1_000010_00.jpg",
        "0005_c2s1_000010_00.jpg",
        "0010_c1s1_000010_00.jpg",
        "0010_c2s1_000010_00.jpg",
    ]
    assert len(dataset.gallery) == 2 * 2 * 3 - 4
    assert not set(dataset.gallery) & set(dataset.query)
    assert dataset.name == "crowd (person%5)"


def test_the_name_is_the_folders_or_the_zips(
    market: Path, tmp_path: Path, make_zip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_dataset(market).name == "market"
    assert open_dataset(make_zip(market, tmp_path / "city.v2.zip", zipfile.ZIP_STORED)).name == "city.v2"
    monkeypatch.chdir(market)
    assert open_dataset(Path()).name == "market"


@pytest.mark.parametrize("split_by", ["person", "person%1", "person%0", "camera%5", "person%-5", "person%5 "])
def test_a_malformed_split_is_refused(market: Path, split_by: str) -> None:
    with pytest.raises(InputError, match="expected person%N"):
        open_dataset(market, split_by)


def test_a_split_beside_a_test_half_is_refused(market: Path) -> None:
    with pytest.raises(InputError, match="test half of its own"):
        open_dataset(market, "person%5")


def test_a_split_that_leaves_nothing_is_refused(tmp_path: Path, make_images: Callable[..., Path]) -> None:
    few = make_images(tmp_path / "few", ["anna/a_1.jpg", "bob/a_1.jpg"])
    with pytest.raises(InputError, match="leaves no query images"):
        open_dataset(few, "person%5")
    with pytest.raises(InputError, match="leaves no gallery images"):
        open_dataset(few, "person%2")


def test_evaluation_without_a_test_half_is_refused(tmp_path: Path, make_images: Callable[..., Path]) -> None:
    dataset = open_dataset(make_images(tmp_path / "people", ["anna/a_1.jpg", "bob/a_1.jpg"]))
    with pytest.raises(InputError, match="no query images"):
        dataset.require_test_half()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["bounding_box_train/0002_f000451.jpg"], "0002_f000451.jpg .*not named as in Market-1501"),
        (["bounding_box_train/0000_c1s1_000451_00.jpg"], "training images need a person"),
        (["a/query/0003_c1s1_000101_00.jpg", "b/query/0003_c1s1_000101_00.jpg"], "several data sets"),
        (["one.jpg", "two.jpg"], "found 2 images in images directly in it"),
        (["a/b/c/d_1.jpg"], "found 1 images in a/b/c/"),
        (["anna/camera.jpg"], "anna/camera.jpg .*expected camera_anything.jpg"),
    ],
)
def test_unknown_layouts_say_what_was_found(
    tmp_path: Path, make_images: Callable[..., Path], names: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(make_images(tmp_path / "data", names))


def test_nothing_there_or_nothing_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_dataset(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        open_dataset(tmp_path / "empty")
    (tmp_path / "empty.zip").touch()
    with pytest.raises(InputError, match="is empty"):
        open_dataset(tmp_path / "empty.zip")


def test_a_truncated_zip_is_refused_when_opened(market: Path, tmp_path: Path, make_zip: Callable[..., Path]) -> None:
    whole = make_zip(market, tmp_path / "whole.zip", zipfile.ZIP_STORED).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="nor a whole"):
        open_dataset(tmp_path / "cut.zip")


def test_a_zip_whose_directory_is_damaged_is_refused_when_opened(tmp_path: Path) -> None:
    name = "query/0001_ä1s1_000001_00.jpg"
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr(name, b"content")
    whole = (tmp_path / "whole.zip").read_bytes()
    head, _, directory = whole.rpartition(b"PK\x01\x02")
    size = directory.index((7).to_bytes(4, "little"))
    for damaged, message in (
        (whole.replace("ä".encode(), b"\xe4\xff"), "nor a whole .* can't decode byte"),
        (
            head + b"PK\x01\x02" + directory[:size] + b"\xff\xff\xff\x7f" + directory[size + 4 :],
            "it ends before query/0001",
        ),
        (whole.replace(name.encode(), bytes(len(name.encode()))), "holds no image"),
    ):
        (tmp_path / "damaged.zip").write_bytes(damaged)
        with pytest.raises(InputError, match=message):
            open_dataset(tmp_path / "damaged.zip")


def test_a_zip_damaged_inside_is_refused_when_read(market: Path, tmp_path: Path, make_zip: Callable[..., Path]) -> None:
    path = make_zip(market, tmp_path / "market.zip", zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    dataset = open_dataset(path)
    with pytest.raises(InputError, match="damaged at"):
        [dataset.read(image) for image in (*dataset.train, *dataset.query, *dataset.gallery)]


def test_a_zip_with_another_compression_is_refused(market: Path, tmp_path: Path, make_zip: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="compression method"):
        open_dataset(make_zip(market, tmp_path / "lzma.zip", zipfile.ZIP_LZMA))


def test_a_file_that_is_no_image_or_is_gone_is_named_when_read(market: Path) -> None:
    dataset = open_dataset(market)
    (market / dataset.query[0].name).write_text("not an image")
    with pytest.raises(InputError, match=r"0003_c1s1_000101_00\.jpg .*not a readable image"):
        dataset.read(dataset.query[0])
    (market / dataset.query[1].name).unlink()
    with pytest.raises(InputError, match="cannot read"):
        dataset.read(dataset.query[1])
    with pytest.raises(InputError, match="cannot read"):
        dataset.read(Image("query/absent.jpg", 1, 1))


def test_the_real_training_half_and_its_split(shared_data: Path) -> None:
    whole = open_dataset(shared_data / "market1501-train.zip")
    assert whole.name == "Market-1501 train half"
    assert len(whole.train) == 12_936
    split = open_dataset(shared_data / "market1501-train.zip", "person%5")
    assert split.name == "Market-1501 train-split (person%5)"
    assert len(split.train) + len(split.query) + len(split.gallery) == 12_936
    groups = defaultdict(list)
    for image in (*split.query, *split.gallery):
        groups[image.person_id, image.camera_id].append(image.name)
    assert sorted(min(names) for names in groups.values()) == [image.name for image in split.query]
    assert len({person for person, _ in groups}) == 142
    assert split.read(split.query[0]).shape == (128, 64, 3)
