"""The summary of a data set, against figures counted by hand."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from eval.dataset_summary import Spread, summarise_dataset
from eval.datasets import open_dataset
from runtime.errors import InputError


def test_images_persons_cameras_and_matches_are_counted(market: Path) -> None:
    summary = summarise_dataset(open_dataset(market))
    train, query, gallery = (summary.parts[name] for name in ("train", "query", "gallery"))
    assert (train.images, train.identities, train.cameras) == (3, 2, 2)
    assert train.images_per_identity == Spread(1, 1.5, 2)
    assert (query.images, query.identities, query.cameras) == (2, 2, 2)
    assert (gallery.images, gallery.identities, gallery.cameras) == (5, 2, 3)
    assert (gallery.junk, gallery.distractors) == (1, 1)
    assert gallery.images_per_identity == Spread(1, 1.5, 2)
    assert summary.queries_with_a_match == 2


def test_a_query_whose_person_its_own_camera_alone_has_seen_has_no_match(
    tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    names = ["query/0001_c1_1.jpg", "query/0002_c1_1.jpg", "bounding_box_test/0001_c1_2.jpg"]
    summary = summarise_dataset(
        open_dataset(make_images(tmp_path / "data", [*names, "bounding_box_test/0002_c2_1.jpg"]))
    )
    assert summary.queries_with_a_match == 1
    assert "train" not in summary.parts


def test_sizes_are_those_of_the_images(tmp_path: Path) -> None:
    for number, (height, width) in enumerate([(20, 8), (40, 10), (30, 16)]):
        path = tmp_path / "data" / "anna" / f"door_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))
    part = summarise_dataset(open_dataset(tmp_path / "data")).parts["train"]
    assert (part.height, part.width) == (Spread(20, 30, 40), Spread(8, 10, 16))


def test_of_many_images_those_looked_at_are_spread_over_all(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "anna"
    folder.mkdir(parents=True)
    for number in range(100):
        cv2.imwrite(str(folder / f"door_{number:02d}.png"), np.zeros((20 if number < 60 else 40, 8, 3), np.uint8))
    assert summarise_dataset(open_dataset(tmp_path / "data")).parts["train"].height == Spread(20, 20, 40)


def test_an_image_that_cannot_be_decoded_is_named(market: Path) -> None:
    (market / "query" / "0003_c1s1_000101_00.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"0003_c1s1_000101_00\.jpg .*not a readable image"):
        summarise_dataset(open_dataset(market))
