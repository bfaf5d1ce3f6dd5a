"""Image files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import InputError
from runtime.images import decode_image, is_image_name, list_images, read_image


def test_a_lossless_image_comes_back_as_bgr(tmp_path: Path) -> None:
    image = np.random.default_rng(5).integers(0, 256, (7, 5, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)


def test_a_grey_image_gets_three_channels() -> None:
    grey = np.arange(35, dtype=np.uint8).reshape(7, 5)
    encoded = cv2.imencode(".png", grey)[1].tobytes()
    np.testing.assert_array_equal(decode_image(encoded, "grey"), np.repeat(grey[..., None], 3, axis=2))


def test_what_is_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"text\.jpg is not a readable image \(8 bytes\)"):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(InputError, match=r"empty\.jpg is not a readable image"):
        read_image(tmp_path / "empty.jpg")
    with pytest.raises(InputError, match="cannot read image"):
        read_image(tmp_path / "none.jpg")


def test_listing(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.JPG"]
    with pytest.raises(InputError, match="holds no image"):
        list_images(tmp_path / "folder.jpg")
    with pytest.raises(InputError, match="is not a folder"):
        list_images(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "is_image"), [("a.jpeg", True), ("a/.b.jpg", False), ("a.mp4", False), ("jpg", False)]
)
def test_names(name: str, is_image: bool) -> None:
    assert is_image_name(name) is is_image
