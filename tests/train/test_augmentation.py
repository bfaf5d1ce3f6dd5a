import cv2
import numpy as np
import pytest

from runtime.errors import InputError
from train.augmentation import ERASED_COLOUR, Augmentation, augment


def plain_augment(image: np.ndarray, generator: np.random.Generator, flip: bool, crop_padding: int) -> np.ndarray:
    """Mirror and crop as the first runs were trained; they must be resumable."""
    if flip and generator.random() < 0.5:
        image = image[:, ::-1]
    padded = np.pad(image, ((crop_padding, crop_padding), (crop_padding, crop_padding), (0, 0)))
    top, left = generator.integers(0, 2 * crop_padding, size=2, endpoint=True)
    return padded[top : top + image.shape[0], left : left + image.shape[1]]


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("crop_padding", [0, 3, 10])
def test_mirror_and_crop_are_those_of_earlier_runs(flip: bool, crop_padding: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)
    for key in [(0, 0, 0), (7, 3, 12_935), (1, 59, 4)]:
        expected = plain_augment(image, np.random.default_rng(key), flip, crop_padding)
        result = augment(image, Augmentation(flip, crop_padding, 0), np.random.default_rng(key))
        assert np.array_equal(result, expected)


def test_a_run_of_the_first_version_sees_the_same_pixels() -> None:
    """Sums that the code of the first version gave."""
    image = np.arange(32 * 16 * 3, dtype=np.int64).reshape(32, 16, 3).astype(np.uint8)
    weights = np.arange(image.size).reshape(image.shape)
    sums = [
        int((augment(image, Augmentation(True, 10, 0), np.random.default_rng((5, epoch, 8))) * weights).sum())
        for epoch in range(4)
    ]
    assert sums == [100077134, 68250180, 57863492, 127781258]


def test_augmentation_is_a_window_of_the_padded_image_or_of_its_mirror() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(1, 256, (7, 5, 3), np.uint8)
    original = image.copy()
    windows = set()
    for mirrored in (image, image[:, ::-1]):
        padded = np.pad(mirrored, ((2, 2), (2, 2), (0, 0)))
        windows |= {padded[top : top + 7, left : left + 5].tobytes() for top in range(5) for left in range(5)}
    seen = {augment(image, Augmentation(True, 2, 0), generator).tobytes() for _ in range(2000)}
    assert seen == windows  # nothing else occurs, and each of the 50 does
    assert np.array_equal(image, original)


def test_flip_alone_mirrors_about_half() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (4, 6, 3), np.uint8)
    results = [augment(image, Augmentation(True, 0, 0), generator) for _ in range(400)]
    mirrored = sum(np.array_equal(result, image[:, ::-1]) for result in results)
    assert mirrored + sum(np.array_equal(result, image) for result in results) == 400
    assert 150 < mirrored < 250


def test_padding_larger_than_the_image_is_possible() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        assert augment(np.ones((3, 2, 3), np.uint8), Augmentation(True, 9, 1), generator).shape == (3, 2, 3)


def test_erasing_overwrites_one_rectangle_of_the_published_sizes() -> None:
    generator = np.random.default_rng(0)
    image = np.zeros((128, 64, 3), np.uint8)
    areas, aspects = [], []
    for _ in range(500):
        result = augment(image, Augmentation(False, 0, 1), generator)
        changed = (result != image).any(axis=2)
        left, top, width, height = cv2.boundingRect(changed.astype(np.uint8))
        assert (result[top : top + height, left : left + width] == ERASED_COLOUR).all()
        assert changed.sum() == width * height
        areas.append(width * height / changed.size)
        aspects.append(height / width)
    assert not image.any()
    # A pixel more or less changes small rectangles by a few per cent.
    assert 0.019 < min(areas) < 0.04
    assert 0.34 < max(areas) < 0.41
    assert 0.28 < min(aspects) < 0.5
    assert 2.5 < max(aspects) < 3.6
    assert 1.4 < np.median(aspects) < 2.2  # drawn evenly, so that most are higher than wide


def test_erasing_comes_after_the_crop_and_as_often_as_asked() -> None:
    image = np.full((128, 64, 3), 9, np.uint8)
    erased = 0
    for index in range(400):
        before = augment(image, Augmentation(True, 5, 0), np.random.default_rng((0, 0, index)))
        after = augment(image, Augmentation(True, 5, 0.25), np.random.default_rng((0, 0, index)))
        differs = (before != after).any(axis=2)
        assert (after[differs] == ERASED_COLOUR).all()
        erased += bool(differs.any())
    assert 70 < erased < 130


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2)])
def test_an_image_too_small_for_a_rectangle_is_left_as_it_is_or_erased_within(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    result = augment(image, Augmentation(False, 0, 1), np.random.default_rng(0))
    assert result.shape == image.shape
    assert (result == 0).any()


def test_the_erased_colour_is_the_mean_that_pretrained_networks_subtract() -> None:
    assert np.allclose(np.array(ERASED_COLOUR) / 255, (0.485, 0.456, 0.406), atol=0.5 / 255)


def test_a_read_only_image_is_augmented() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 4, 3), np.uint8)
    image.flags.writeable = False
    for index in range(4):
        assert augment(image, Augmentation(True, 0, 1), np.random.default_rng(index)).flags.writeable


@pytest.mark.parametrize(
    ("crop_padding", "random_erasing", "message"), [(-1, 0, "crop_padding is -1"), (0, 1.5, "random_erasing is 1.5")]
)
def test_impossible_augmentations_are_refused(crop_padding: int, random_erasing: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Augmentation(True, crop_padding, random_erasing)
