"""Trainings, each in a folder of its own, that are stopped and gone on with at will."""

import fcntl
import logging
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from eval.datasets import ReidDataset
from runtime.errors import InputError
from train.checkpoint import load_checkpoint
from train.fit import CHECKPOINT, fit
from train.recipe import Recipe

LOGGER = logging.getLogger(__name__)

# They do not change what an epoch learns; epochs do where a cosine ends with the last of them.
_MAY_DIFFER = {"epochs", "workers", "validate_every"}


class TimeIsUp(BaseException):
    """The minutes given are over. Like Ctrl-C nothing that handles errors should stop it."""


@dataclass(frozen=True)
class Training:
    """What is to be trained, or was.

    Attributes:
        name: what to call it.
        recipe: how.
        dataset: what on.
        folder: what `train.fit` writes into.
    """

    name: str
    recipe: Recipe
    dataset: ReidDataset
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """Its checkpoint, which need not be there."""
        return self.folder / CHECKPOINT

    @property
    def is_finished(self) -> bool:
        """Whether all its epochs are done."""
        return epochs_done(self) >= self.recipe.epochs


def epochs_done(training: Training) -> int:
    """How far a training is.

    Raises:
        InputError: what is in its folder has another recipe, was trained on other data or for longer, or is not
            readable.
    """
    if not training.checkpoint.exists():
        return 0
    checkpoint = load_checkpoint(training.checkpoint)
    recorded = Recipe.model_validate(checkpoint.training["recipe"])
    wanted = _comparable(training.recipe, training.dataset.name)
    found = _comparable(recorded, checkpoint.manifest.trained_on)
    for name in wanted:
        if found[name] != wanted[name]:
            raise InputError(
                f"{training.checkpoint} was trained with {name} {found[name]!r}, not {wanted[name]!r}; give the "
                "recipe and data of the trainings that are there, or another --work"
            )
    done = int(checkpoint.training["epochs_done"])
    if done > training.recipe.epochs:
        raise InputError(
            f"{training.checkpoint} was trained for {done} epochs, not {training.recipe.epochs}; give the recipe of "
            "the trainings that are there, or another --work"
        )
    return done


def _comparable(recipe: Recipe, trained_on: str) -> dict[str, Any]:
    """A recipe's fields and the data; not the path of a file of weights, which may have lain elsewhere."""
    start = "a file of weights" if recipe.weights else "pretrained weights" if recipe.pretrained else "random weights"
    fields = recipe.model_dump(exclude={*_MAY_DIFFER, "weights", "pretrained"})
    ends = recipe.epochs if recipe.schedule == "cosine" else None
    return {**fields, "start": start, "data": trained_on, "epochs": ends}


def train_missing(trainings: Iterable[Training], minutes: float | None = None) -> None:
    """Train what is not finished, one after the other; a training that another process has is left to it.

    Args:
        trainings: which.
        minutes: after these everything stops; what the epoch in progress has learnt is lost. None for no limit.

    Raises:
        InputError: as `epochs_done` and `train.fit.fit`.
    """
    try:
        with _time_limit(minutes):
            for training in trainings:
                with _turn(training) as mine:
                    if mine and not training.is_finished:
                        LOGGER.info("%s:", training.name)
                        resume = training.checkpoint.exists()
                        fit(training.recipe, training.dataset, training.folder, resume=resume)
    except TimeIsUp:
        LOGGER.info("stopped after %g minutes; the same command goes on", minutes)


@contextmanager
def _time_limit(minutes: float | None) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeIsUp

    if minutes is not None and minutes <= 0:  # which would mean no limit to the timer
        raise TimeIsUp
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0 if minutes is None else 60 * minutes)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _turn(training: Training) -> Iterator[bool]:
    """Whether no other process trains it; none will while the block runs. A killed process leaves no lock."""
    training.folder.mkdir(parents=True, exist_ok=True)
    with (training.folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            LOGGER.info("%s: another process trains it", training.name)
            yield False
            return
        yield True
