import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from eval.datasets import ReidDataset, open_dataset
from runtime.errors import InputError
from runtime.preprocess import preprocess
from train.augmentation import Augmentation, augment
from train.batches import batches
from train.data import TrainingImages

NOTHING = Augmentation(flip=False, crop_padding=0, random_erasing=0)
EVERYTHING = Augmentation(flip=True, crop_padding=4, random_erasing=0.5)


def load(dataset: ReidDataset, augmentation: Augmentation = EVERYTHING, seed: int = 0) -> TrainingImages:
    return TrainingImages(dataset, 48, 24, augmentation, seed)


def test_without_augmentation_an_item_is_the_runtimes_preprocessing(toy: ReidDataset) -> None:
    images = load(toy, NOTHING)
    assert images.person_ids == [3, 7]
    for index, image in enumerate(toy.train):
        pixels, label = images[(4, index, 0)]
        assert np.array_equal(pixels.numpy(), preprocess(toy.read(image), 48, 24, "BGR"))
        assert images.person_ids[label] == image.person_id


def test_an_item_is_a_function_of_seed_epoch_and_index(toy: ReidDataset) -> None:
    images, again, other = load(toy), load(toy), load(toy, seed=1)
    first = [[images[(epoch, index, 0)][0].numpy() for index in range(len(images))] for epoch in range(4)]
    for epoch in reversed(range(4)):
        for index in range(len(images)):
            assert np.array_equal(again[(epoch, index, 0)][0].numpy(), first[epoch][index])
    assert not all(np.array_equal(a, b) for a, b in zip(first[0], first[1], strict=True))
    assert not all(np.array_equal(other[(0, i, 0)][0].numpy(), first[0][i]) for i in range(len(images)))


def test_an_image_that_an_epoch_has_twice_looks_different(toy: ReidDataset) -> None:
    images = load(toy)
    sampler = batches(images.labels, 8, images_per_identity=4, seed=0)
    seen = [images[key][0].numpy().tobytes() for sampler.epoch in range(3) for batch in sampler for key in batch]
    assert len(set(seen)) == len(seen)


def test_the_first_time_an_epoch_has_an_image_it_looks_as_in_earlier_versions(toy: ReidDataset) -> None:
    images = load(toy, seed=5)
    for epoch in range(4):
        for index in range(len(images)):
            expected = augment(images.images[index], EVERYTHING, np.random.default_rng((5, epoch, index)))
            assert np.array_equal(images[(epoch, index, 0)][0].numpy(), expected)


def test_worker_processes_give_the_same_batches(toy: ReidDataset) -> None:
    images = load(toy)

    def drawn(workers: int) -> list[list[torch.Tensor]]:
        sampler = batches(images.labels, 4, images_per_identity=2, seed=0)
        loader = DataLoader(images, batch_sampler=sampler, num_workers=workers)
        result = []
        for sampler.epoch in (0, 1):
            result += list(loader)
        return result

    for (images_alone, labels_alone), (images_shared, labels_shared) in zip(drawn(0), drawn(2), strict=True):
        assert torch.equal(images_alone, images_shared)
        assert torch.equal(labels_alone, labels_shared)


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
