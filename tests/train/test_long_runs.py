"""Runs that are killed, that fill the disk, or that meet bad images."""

import csv
import dataclasses
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

import train.fit
from eval.datasets import ReidDataset, open_dataset
from lgeu.cli import main
from runtime.errors import DeviceError, InputError
from train.checkpoint import load_checkpoint
from train.fit import fit
from train.recipe import Recipe

FullDisk = Callable[[int], AbstractContextManager[None]]

Moment = Literal["step", "save"]


def train_and_die(moment: Moment, count: int, arguments: list[str]) -> None:
    """`lgeu train` that kills itself like `kill -9`: at a step, or half way through writing a checkpoint.

    Args:
        moment: at which of the two.
        count: how many of these go well.
        arguments: of the command line.
    """
    multiprocessing.set_start_method("fork", force=True)  # for the loader's workers, as where a user trains
    torch.set_num_threads(1)  # as in the process of the tests: how sums are rounded depends on it
    train_step, save, left = train.fit._train_step, torch.save, count

    def step(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        train_step(*arguments)

    def half(content: object, path: Path) -> None:
        nonlocal left
        left -= 1
        save(content, path)
        if left < 0:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    if moment == "step":
        train.fit._train_step = step
    else:
        torch.save = half
    sys.exit(main(arguments))


@pytest.fixture(scope="module")
def recipe(toy_recipe: Recipe) -> Recipe:
    """Everything that chance or a running state enters: identity batches, erasing, workers, an average, a cosine."""
    return toy_recipe.model_copy(
        update={
            "backbone": "test_resnet",
            "epochs": 4,
            "schedule": "cosine",
            "neck": "bn",
            "images_per_identity": 2,
            "triplet_weight": 1.0,
            "random_erasing": 0.5,
            "ema": 0.9,
            "workers": 2,
            "validate_every": 1,
        }
    )


@pytest.fixture(scope="module")
def whole(recipe: Recipe, toy: ReidDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run's checkpoint."""
    return fit(recipe, toy, tmp_path_factory.mktemp("whole"))


def log_rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as file:
        return [{name: row[name] for name in ("epoch", "loss", "validation_mAP")} for row in csv.DictReader(file)]


def assert_same_state(one: Path, other: Path) -> None:
    first, second = load_checkpoint(one), load_checkpoint(other)
    pairs = [(first.model.state_dict(), second.model.state_dict())]
    pairs += [(first.training[part], second.training[part]) for part in ("net", "head")]
    pairs += list(
        zip(first.training["optimiser"]["state"].values(), second.training["optimiser"]["state"].values(), strict=True)
    )
    for left, right in pairs:
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert torch.equal(value, right[name]), name
    assert first.training["best"] == second.training["best"]


def test_a_run_killed_in_an_epoch_and_in_a_save_ends_as_if_it_had_not_been(
    recipe: Recipe, whole: Path, toy: ReidDataset, toy_folder: Path, tmp_path: Path
) -> None:
    if torch.cuda.is_available():
        pytest.skip("runs are the same bit for bit on a CPU only")
    out = tmp_path / "out"
    file = tmp_path / "recipe.yaml"
    file.write_text("\n".join(f"{name}: {value}" for name, value in recipe.model_dump(exclude={"weights"}).items()))

    # Not forks of this process: torch refuses a backward pass in them if a test before this one has exported a model.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["lgeu.cli", "train.fit"])

    def killed(moment: Moment, count: int, *options: str) -> None:
        arguments = ["train", "--recipe", str(file), "--data", str(toy_folder), "--out", str(out), *options]
        child = processes.Process(target=train_and_die, args=(moment, count, arguments))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL

    killed("step", 3 + 1)  # in the second step of the second epoch
    assert load_checkpoint(out / "checkpoint.pt").training["epochs_done"] == 1
    killed("save", 1, "--resume")  # best.pt of the second epoch, or its checkpoint
    assert load_checkpoint(out / "checkpoint.pt").training["epochs_done"] in (1, 2)
    assert list(out.glob(".*.pt"))
    fit(recipe, toy, out, resume=True)
    assert_same_state(out / "checkpoint.pt", whole)
    assert log_rows(out) == log_rows(whole.parent)
    best, expected = (load_checkpoint(folder / "best.pt") for folder in (out, whole.parent))
    assert best.manifest == expected.manifest
    for name, value in best.model.state_dict().items():
        assert torch.equal(value, expected.model.state_dict()[name]), name
    assert not list(out.glob(".*.pt"))  # what the killed run left half written


def test_a_full_disk_keeps_the_last_checkpoint(
    recipe: Recipe,
    whole: Path,
    toy: ReidDataset,
    tmp_path: Path,
    full_disk: FullDisk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = recipe.model_copy(update={"schedule": "steps", "validate_every": 0})
    path = fit(plain.model_copy(update={"epochs": 1}), toy, tmp_path)
    before = path.read_bytes()
    with full_disk(len(before) // 2), pytest.raises(InputError, match=r"cannot write .*checkpoint.pt.*disk full"):
        fit(plain, toy, tmp_path, resume=True)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*.pt"))
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    alone = plain.model_copy(update={"workers": 0})
    with full_disk(300), pytest.raises(InputError, match=r"cannot write the logs in .*is the disk full"):
        fit(alone, toy, tmp_path, resume=True)
    assert reported == []  # no traceback of TensorBoard's thread before that line
    assert threading.excepthook == reported.append
    assert path.read_bytes() == before
    fit(plain, toy, tmp_path, resume=True)
    assert [row["epoch"] for row in log_rows(tmp_path)] == ["1", "2", "3", "4"]


def test_a_gpu_without_room_is_one_line(
    recipe: Recipe, toy: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore of it")

    monkeypatch.setattr("train.fit._train_step", no_room)
    with pytest.raises(DeviceError, match=r"no room for a step of 4 images .*lower batch_size"):
        fit(recipe, toy, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("train.embedder.TorchBackend._arithmetic", no_room)
    with pytest.raises(DeviceError, match=r"no room for a validation .*lower batch_size"):
        fit(recipe, toy, tmp_path)
    monkeypatch.setattr("train.classifier.LgeuClassifier.to", no_room)
    with pytest.raises(DeviceError, match=r"no room for the model .*2 GiB\.\); .*smaller backbone"):
        fit(recipe, toy, tmp_path)


def test_a_worker_that_is_killed_or_has_no_room_is_one_line(
    recipe: Recipe, toy: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_disk: FullDisk
) -> None:
    """The kernel kills one where shared memory, or all memory, is used up; or it is told that there is none."""
    with full_disk(1000), pytest.raises(InputError, match=r"one of 2 workers failed \(.*too large .*--shm-size"):
        fit(recipe, toy, tmp_path)
    monkeypatch.setattr("train.data.TrainingImages.__getitem__", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(InputError, match=r"one of 2 workers failed \(DataLoader worker .*--shm-size"):
        fit(recipe, toy, tmp_path)


def test_an_image_that_cannot_be_read_is_named_before_anything_is_trained(
    recipe: Recipe, toy_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(toy_folder, folder)
    damaged = sorted((folder / "bounding_box_train").iterdir())[3]
    damaged.write_bytes(damaged.read_bytes()[:40])
    with pytest.raises(InputError, match=damaged.name):
        fit(recipe, open_dataset(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unreadable_validation_image_keeps_what_was_trained(
    recipe: Recipe, toy: ReidDataset, toy_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(toy_folder, folder)
    damaged = sorted((folder / "query").iterdir())[0]
    good = damaged.read_bytes()
    damaged.write_bytes(good[:40])
    rare = recipe.model_copy(update={"validate_every": 3, "workers": 0})
    with pytest.raises(InputError, match=damaged.name):
        fit(rare, open_dataset(folder), tmp_path / "out")
    assert load_checkpoint(tmp_path / "out" / "checkpoint.pt").training["epochs_done"] == 2
    damaged.write_bytes(good)
    fit(rare, open_dataset(folder), tmp_path / "out", resume=True)
    assert [bool(row["validation_mAP"]) for row in log_rows(tmp_path / "out")] == [False, False, True, True]


@pytest.mark.parametrize("images_per_identity", [0, 2])
def test_an_identity_with_one_image_is_learnt(
    recipe: Recipe, toy: ReidDataset, tmp_path: Path, images_per_identity: int
) -> None:
    alone = tuple(image for image in toy.train if image.person_id == 7)[:1]
    train = (*(image for image in toy.train if image.person_id == 3), *alone, *toy.gallery)
    triplet = 1.0 if images_per_identity else 0.0
    change = {"images_per_identity": images_per_identity, "triplet_weight": triplet, "workers": 0, "epochs": 1}
    path = fit(recipe.model_copy(update=change), dataclasses.replace(toy, train=train, query=()), tmp_path)
    assert load_checkpoint(path).training["person_ids"] == [3, 7, 11, 12]
