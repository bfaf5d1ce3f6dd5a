import fcntl
import logging
import os
import pickle
import resource
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from eval.datasets import ReidDataset, open_dataset
from runtime.errors import InputError
from runtime.preprocess import preprocess
from train.augmentation import Augmentation
from train.batches import batches
from train.data import TrainingImages
from train.image_cache import cached_images

HEIGHT, WIDTH = 48, 24


@pytest.fixture
def people(toy_folder: Path, tmp_path: Path) -> Path:
    """A copy of the toy data set, to be changed."""
    return Path(shutil.copytree(toy_folder, tmp_path / "people"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def cached(dataset: ReidDataset, cache: Path, height: int = HEIGHT) -> np.ndarray:
    return cached_images(cache, dataset, dataset.train, height, WIDTH)


def decoded(dataset: ReidDataset) -> np.ndarray:
    return np.stack([preprocess(dataset.read(image), HEIGHT, WIDTH, "BGR") for image in dataset.train])


def visible(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.iterdir() if not path.name.startswith(".lock"))


def said(caplog: pytest.LogCaptureFixture) -> str:
    text = caplog.text
    caplog.clear()
    return text


@pytest.fixture(autouse=True)
def _all_messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_images_are_decoded_once_and_cannot_be_written(
    toy: ReidDataset, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = cached(toy, cache)
    assert np.array_equal(first, decoded(toy))
    assert "decoding 12 training images" in said(caplog)
    again = cached(toy, cache)
    assert "decoding" not in said(caplog)
    assert np.array_equal(again, first)
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0
    assert visible(cache) == [".json", ".npy"]


def test_training_sees_the_same_images_with_and_without_a_cache(toy: ReidDataset, cache: Path) -> None:
    def drawn(folder: Path | None, workers: int, context: str | None = None) -> list[list[torch.Tensor]]:
        images = TrainingImages(toy, HEIGHT, WIDTH, Augmentation(True, 3, 0.5), 0, cache=folder)
        sampler = batches(images.labels, 4, images_per_identity=2, seed=0)
        loader = DataLoader(images, batch_sampler=sampler, num_workers=workers, multiprocessing_context=context)
        return list(loader)

    expected = drawn(None, 0)
    for options in [(cache, 0), (cache, 2), (cache, 1, "spawn")]:
        for (images, labels), (other_images, other_labels) in zip(expected, drawn(*options), strict=True):
            assert torch.equal(images, other_images)
            assert torch.equal(labels, other_labels)


def test_a_worker_that_is_not_forked_is_sent_no_pixels_of_a_cache(toy: ReidDataset, cache: Path) -> None:
    images = TrainingImages(toy, HEIGHT, WIDTH, Augmentation(True, 3, 0), 0, cache=cache)
    sent = pickle.dumps(images)
    assert len(sent) < images.images.nbytes / 10
    received = pickle.loads(sent)  # noqa: S301 - written a line above
    assert isinstance(received.images, np.memmap)
    assert np.array_equal(received.images, images.images)


def test_a_changed_image_is_decoded_again(people: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = cached(open_dataset(people), cache)
    dataset = open_dataset(people)
    changed = people / dataset.train[3].name
    cv2.imwrite(str(changed), np.full((60, 30, 3), 200, np.uint8))
    said(caplog)
    after = cached(dataset, cache)
    assert "decoding" in said(caplog)
    assert (after[3] == 200).all()
    assert np.array_equal(np.delete(after, 3, 0), np.delete(before, 3, 0))


def test_a_changed_zip_is_decoded_again(people: Path, cache: Path, tmp_path: Path) -> None:
    for value in (10, 20):
        cv2.imwrite(str(people / "bounding_box_train/0003_c1s1_000000_00.png"), np.full((9, 9, 3), value, np.uint8))
        with zipfile.ZipFile(tmp_path / "people.zip", "w") as archive:
            for path in sorted(people.rglob("*.png")):
                archive.write(path, path.relative_to(people))
        assert (cached(open_dataset(tmp_path / "people.zip"), cache)[0] == value).all()


def test_sizes_and_splits_lie_side_by_side(toy: ReidDataset, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cached(toy, cache)
    cached(toy, cache, height=2 * HEIGHT)
    cached_images(cache, toy, toy.train[:5], HEIGHT, WIDTH)
    assert said(caplog).count("decoding") == 3
    assert cached(toy, cache).shape == (12, HEIGHT, WIDTH, 3)
    assert "decoding" not in said(caplog)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("suffix", "damage", "reason"),
    [
        (".npy", truncate, "it is damaged"),
        (".npy", lambda path: path.write_bytes(b""), "it is damaged"),
        (".npy", lambda path: np.save(path, np.zeros((12, 4, 4, 3), np.uint8)), "it holds (12, 4, 4, 3)"),
        (".npy", Path.unlink, "it does not hold them"),
        (".json", truncate, "it is damaged"),
        (".json", lambda path: path.write_text("{}"), "describes other images"),
        (".json", Path.unlink, "it does not hold them"),
    ],
)
def test_a_damaged_cache_is_made_again_and_that_is_said(
    toy: ReidDataset,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
    suffix: str,
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    cached(toy, cache)
    said(caplog)
    (path,) = cache.glob(f"*{suffix}")
    damage(path)
    assert np.array_equal(cached(toy, cache), decoded(toy))
    assert reason in said(caplog)


def test_a_run_that_maps_the_cache_keeps_its_images_while_another_makes_it_again(toy: ReidDataset, cache: Path) -> None:
    first = cached(toy, cache)
    next(cache.glob("*.json")).unlink()
    cached(toy, cache)
    assert np.array_equal(first, decoded(toy))


def test_an_unreadable_image_is_named_and_leaves_nothing(people: Path, cache: Path) -> None:
    (people / "bounding_box_train/0007_c1s1_000001_00.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"0007_c1s1_000001_00\.png"):
        cached(open_dataset(people), cache)
    assert visible(cache) == []


def test_an_image_that_is_gone_is_named(people: Path, cache: Path) -> None:
    dataset = open_dataset(people)
    (people / dataset.train[2].name).unlink()
    with pytest.raises(InputError, match=dataset.train[2].name):
        cached(dataset, cache)


def test_images_that_do_not_fit_on_the_disk_are_refused_before_any_is_decoded(people: Path, cache: Path) -> None:
    dataset = open_dataset(people)
    for image in dataset.train:
        (people / image.name).write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"12 images at 100000000000x24 takes 86400\.00 GB; .* GB free"):
        cached(dataset, cache, height=100_000_000_000)
    assert visible(cache) == []


def test_a_disk_that_fills_up_meanwhile_is_an_error_and_leaves_nothing(toy: ReidDataset, cache: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(InputError, match="cannot write"):
            cached(toy, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert visible(cache) == []


def test_what_a_killed_run_left_is_removed(toy: ReidDataset, cache: Path) -> None:
    cached(toy, cache)
    (path,) = cache.glob("*.npy")
    path.rename(path.with_name(f".{path.stem}.x1y2z3.npy"))
    cached(toy, cache)
    assert visible(cache) == [".json", ".npy"]


@pytest.mark.parametrize("finished_meanwhile", [True, False])
def test_a_second_run_waits_for_the_first(
    toy: ReidDataset, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, finished_meanwhile: bool
) -> None:
    """The test holds the lock, as a first run would until it has finished or is killed."""
    cached(toy, tmp_path / "other")
    said(caplog)
    waits = threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: waits.set() if "waiting" in record.getMessage() else None  # type: ignore[method-assign]
    logging.getLogger("train.image_cache").addHandler(handler)
    cache.mkdir()
    results: list[np.ndarray] = []
    second = threading.Thread(target=lambda: results.append(cached(toy, cache)))
    try:
        with (cache / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            second.start()
            assert waits.wait(60)
            if finished_meanwhile:
                shutil.copytree(tmp_path / "other", cache, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))
        second.join(60)
    finally:
        logging.getLogger("train.image_cache").removeHandler(handler)
    assert np.array_equal(results[0], decoded(toy))
    assert ("decoding" in said(caplog)) is not finished_meanwhile


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_complete_cache_that_is_read_only_is_used(toy: ReidDataset, cache: Path) -> None:
    cached(toy, cache)
    cache.chmod(0o500)
    try:
        assert np.array_equal(cached(toy, cache), decoded(toy))
    finally:
        cache.chmod(0o700)


def test_a_cache_that_is_a_file_is_refused(toy: ReidDataset, cache: Path) -> None:
    cache.write_text("")
    with pytest.raises(InputError, match="cannot write to the cache"):
        cached(toy, cache)
