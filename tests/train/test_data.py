import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from eval.datasets import ReidDataset, open_dataset
from runtime.errors import InputError
from runtime.preprocess import preprocess
from train.data import EpochSampler, TrainingImages, augment


def load(dataset: ReidDataset, *, flip: bool = True, crop_padding: int = 4, seed: int = 0) -> TrainingImages:
    return TrainingImages(dataset, 48, 24, flip=flip, crop_padding=crop_padding, seed=seed)


def test_without_augmentation_an_item_is_the_runtimes_preprocessing(toy: ReidDataset) -> None:
    images = load(toy, flip=False, crop_padding=0)
    assert images.person_ids == [3, 7]
    for index, image in enumerate(toy.train):
        pixels, label = images[(4, index)]
        assert np.array_equal(pixels.numpy(), preprocess(toy.read(image), 48, 24, "BGR"))
        assert images.person_ids[label] == image.person_id


def test_an_item_is_a_function_of_seed_epoch_and_index(toy: ReidDataset) -> None:
    images, again, other = load(toy), load(toy), load(toy, seed=1)
    first = [[images[(epoch, index)][0].numpy() for index in range(len(images))] for epoch in range(4)]
    for epoch in reversed(range(4)):
        for index in range(len(images)):
            assert np.array_equal(again[(epoch, index)][0].numpy(), first[epoch][index])
    assert not all(np.array_equal(a, b) for a, b in zip(first[0], first[1], strict=True))
    assert not all(np.array_equal(other[(0, i)][0].numpy(), first[0][i]) for i in range(len(images)))


def test_worker_processes_give_the_same_batches(toy: ReidDataset) -> None:
    images = load(toy)

    def batches(workers: int) -> list[torch.Tensor]:
        sampler = EpochSampler(len(images), 0)
        loader = DataLoader(images, 4, sampler=sampler, num_workers=workers)
        result = []
        for sampler.epoch in (0, 1):
            result += [batch for batch, _ in loader]
        return result

    for alone, shared in zip(batches(0), batches(2), strict=True):
        assert torch.equal(alone, shared)


def test_augmentation_is_a_window_of_the_padded_image_or_of_its_mirror() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(1, 256, (7, 5, 3), np.uint8)
    original = image.copy()
    windows = set()
    for mirrored in (image, image[:, ::-1]):
        padded = np.pad(mirrored, ((2, 2), (2, 2), (0, 0)))
        windows |= {padded[top : top + 7, left : left + 5].tobytes() for top in range(5) for left in range(5)}
    seen = {augment(image, generator, flip=True, crop_padding=2).tobytes() for _ in range(2000)}
    assert seen == windows  # nothing else occurs, and each of the 50 does
    assert np.array_equal(image, original)


def test_flip_alone_mirrors_about_half() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (4, 6, 3), np.uint8)
    results = [augment(image, generator, flip=True, crop_padding=0) for _ in range(400)]
    mirrored = sum(np.array_equal(result, image[:, ::-1]) for result in results)
    assert mirrored + sum(np.array_equal(result, image) for result in results) == 400
    assert 150 < mirrored < 250


def test_padding_larger_than_the_image_is_possible() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        assert augment(np.ones((3, 2, 3), np.uint8), generator, flip=True, crop_padding=9).shape == (3, 2, 3)


def test_the_sampler_shuffles_every_epoch_differently_and_repeatably() -> None:
    sampler, again = EpochSampler(20, 3), EpochSampler(20, 3)
    orders = []
    for sampler.epoch in (0, 1):
        keys = list(sampler)
        assert {epoch for epoch, _ in keys} == {sampler.epoch}
        assert sorted(index for _, index in keys) == list(range(20))
        orders.append([index for _, index in keys])
    assert orders[0] != orders[1]
    again.epoch = 1
    assert [index for _, index in again] == orders[1]


def test_one_identity_is_not_enough(toy: ReidDataset) -> None:
    alone = dataclasses.replace(toy, train=tuple(image for image in toy.train if image.person_id == 3))
    with pytest.raises(InputError, match="6 training images of 1 identities; at least 2"):
        load(alone)


def test_junk_and_distractors_are_no_identities(toy: ReidDataset) -> None:
    junk = [dataclasses.replace(toy.train[0], person_id=person) for person in (-1, 0)]
    images = load(dataclasses.replace(toy, train=(*junk, *toy.train)))
    assert images.person_ids == [3, 7]
    assert len(images) == len(toy.train)


def test_an_unreadable_image_is_named(toy_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bounding_box_train"
    folder.mkdir()
    for path in (toy_folder / "bounding_box_train").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "0007_c1s1_000001_00.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"0007_c1s1_000001_00\.png"):
        load(open_dataset(tmp_path))
