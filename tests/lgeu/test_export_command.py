"""`lgeu export`: the crops that it checks on."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lgeu.export import MOST_CROPS, read_crops


def write_crops(folder: Path, count: int) -> None:
    """Crops of one pixel, which hold their number."""
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:05}.png"), np.uint8([[[number % 256, number // 256, 0]]]))


def numbers(crops: list[np.ndarray]) -> list[int]:
    return [int(crop[0, 0, 0]) + 256 * int(crop[0, 0, 1]) for crop in crops]


@pytest.mark.parametrize("count", [1, MOST_CROPS])
def test_few_crops_are_all_taken(tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture) -> None:
    write_crops(tmp_path, count)
    with caplog.at_level("INFO"):
        assert numbers(read_crops(tmp_path)) == list(range(count))
    assert caplog.text == ""


@pytest.mark.parametrize("count", [MOST_CROPS + 1, 3 * MOST_CROPS])
def test_of_many_some_are_taken_from_the_first_to_the_last(
    tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    write_crops(tmp_path, count)
    with caplog.at_level("INFO"):
        taken = numbers(read_crops(tmp_path))
    assert (len(taken), taken[0], taken[-1]) == (MOST_CROPS, 0, count - 1)
    steps = np.diff(taken)
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1
    assert f"checking on 256 of the {count} images in {tmp_path}, spread evenly" in caplog.text
