"""Two processes on the CPU, over gloo, as `accelerate launch` starts them."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from eval.datasets import ReidDataset
from train.checkpoint import load_checkpoint
from train.fit import fit
from train.recipe import Recipe

# Not after this long; alone, a launch takes ten seconds.
PATIENCE = 240

# `lgeu train` twice in the second of two processes: a mistake before training, then a crash in the second epoch.
ONE_FAILS = """
import os, sys
import train.fit, train.run
from lgeu.cli import main
from runtime.errors import InputError

images, step, steps = train.run.TrainingImages, train.fit._train_step, 0

def mistake(*arguments):
    if os.environ["RANK"] == "1":
        raise InputError("torn")
    return images(*arguments)

def crash(*arguments):
    global steps
    steps += 1
    if os.environ["RANK"] == "1" and steps > 4:
        raise MemoryError("no more")
    return step(*arguments)

train.run.TrainingImages, train.fit._train_step = mistake, crash
assert main(sys.argv[1:]) == 2
assert not os.path.exists(sys.argv[-1])
train.run.TrainingImages = images
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def recipe(toy_recipe: Recipe) -> Recipe:
    """Without batch norm, whose statistics are each process's own."""
    return toy_recipe.model_copy(update={"backbone": "test_convnext", "ema": 0.9, "validate_every": 2})


@pytest.fixture
def recipe_file(recipe: Recipe, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(f"{name}: {value}" for name, value in recipe.model_dump(exclude={"weights"}).items()))
    return path


def launch(program: list[str], recipe_file: Path, data: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    """`accelerate launch PROGRAM train ...` in two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    train = ["train", "--recipe", str(recipe_file), "--data", str(data), "--out", str(out)]
    return subprocess.run(
        [*launcher, "--main_process_port", str(port), *program, *train],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_two_processes_train_as_one(
    recipe: Recipe, recipe_file: Path, toy: ReidDataset, toy_folder: Path, tmp_path: Path
) -> None:
    done = launch(["-m", "lgeu"], recipe_file, toy_folder, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stderr
    assert done.stderr.count("epoch 3/3") == 1  # one process speaks
    fit(recipe, toy, tmp_path / "one")
    logs = []
    for name in ("one", "two"):
        with (tmp_path / name / "log.csv").open() as file:
            logs.append(list(csv.DictReader(file)))
    assert len(logs[0]) == len(logs[1]) == 3
    for one, two in zip(*logs, strict=True):
        assert float(two["loss"]) == pytest.approx(float(one["loss"]), abs=1e-5)
        assert two["accuracy"] == one["accuracy"]
    one, two = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("one", "two"))
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(two.model.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert (tmp_path / "two" / "best.pt").exists()


def test_what_ends_one_process_ends_both(recipe_file: Path, toy_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "one_fails.py"
    script.write_text(ONE_FAILS)
    done = launch([str(script)], recipe_file, toy_folder, tmp_path / "out")
    assert done.returncode != 0
    assert done.stderr.count("lgeu: error: torn") == 1  # one process speaks
    assert "MemoryError: no more" in done.stderr
    assert load_checkpoint(tmp_path / "out" / "checkpoint.pt").training["epochs_done"] == 1
