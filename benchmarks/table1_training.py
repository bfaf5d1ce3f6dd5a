"""The trainings of Table 1: gates by seeds, each in a folder of its own, stopped and gone on with at will."""

import fcntl
import logging
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from eval.datasets import ReidDataset
from runtime.errors import InputError
from runtime.manifest import Gate
from train.checkpoint import load_checkpoint
from train.fit import CHECKPOINT, fit
from train.recipe import Recipe

LOGGER = logging.getLogger(__name__)

GATES: tuple[Gate, ...] = ("none", "se", "strip")

# Of a recipe, what the trainings of one table may differ in: epochs are counted instead.
_MAY_DIFFER = {"epochs", "workers"}


class TimeIsUp(BaseException):
    """The minutes given are over. Like Ctrl-C nothing that handles errors should stop it."""


@dataclass(frozen=True)
class Training:
    """A cell of the table, trained or not.

    Attributes:
        gate: the pooling gate.
        seed: of weights, order and augmentation.
        folder: what `train.fit` writes into.
    """

    gate: Gate
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """What it is called, and its folder: gate-seed."""
        return f"{self.gate}-{self.seed}"

    @property
    def checkpoint(self) -> Path:
        """Its checkpoint, which need not be there."""
        return self.folder / CHECKPOINT


def trainings(work: Path, seeds: Iterable[int], gates: Sequence[Gate] = GATES) -> list[Training]:
    """All gates with the first seed, then all with the next."""
    return [Training(gate, seed, work / f"{gate}-{seed}") for seed in seeds for gate in gates]


def epochs_done(training: Training, recipe: Recipe, trained_on: str) -> int:
    """How far a training is.

    Args:
        training: that one.
        recipe: how the table is trained.
        trained_on: the data set's name.

    Raises:
        InputError: it was trained with another recipe or on other data, or its checkpoint is not readable.
    """
    if not training.checkpoint.exists():
        return 0
    checkpoint = load_checkpoint(training.checkpoint)
    wanted = _comparable(recipe_of(training, recipe).model_dump(), trained_on)
    # What a checkpoint does not mention was not there to be chosen when it was trained, and has its default.
    recorded = {**Recipe.model_validate({}).model_dump(), **checkpoint.training["recipe"]}
    found = _comparable(recorded, checkpoint.manifest.trained_on)
    for name in sorted(wanted.keys() - _MAY_DIFFER):
        if found[name] != wanted[name]:
            raise InputError(
                f"{training.checkpoint} was trained with {name} {found[name]!r}; this table's is {wanted[name]!r}: "
                "give the recipe and data of the trainings that are there, or another --work"
            )
    return int(checkpoint.training["epochs_done"])


def _comparable(recipe: dict[str, Any], trained_on: str) -> dict[str, Any]:
    """The same file of weights may have lain elsewhere; only whether there was one is compared."""
    return {**recipe, "weights": "a file" if recipe["weights"] else None, "data": trained_on}


def recipe_of(training: Training, recipe: Recipe) -> Recipe:
    """The table's recipe with this cell's gate and seed."""
    return recipe.model_copy(update={"gate": training.gate, "seed": training.seed})


def train_missing(wanted: Iterable[Training], recipe: Recipe, dataset: ReidDataset, minutes: float | None) -> None:
    """Train what is not finished, one after the other; a training that another process has is left to it.

    Args:
        wanted: which.
        recipe: how; gate and seed are each training's own.
        dataset: what on.
        minutes: after these everything stops; what the epoch in progress has learnt is lost. None for no limit.

    Raises:
        InputError: as `epochs_done` and `train.fit.fit`.
    """
    try:
        with _time_limit(minutes):
            for training in wanted:
                with _turn(training) as mine:
                    if mine and epochs_done(training, recipe, dataset.name) < recipe.epochs:
                        LOGGER.info("%s:", training.name)
                        resume = training.checkpoint.exists()
                        fit(recipe_of(training, recipe), dataset, training.folder, resume=resume)
    except TimeIsUp:
        LOGGER.info("stopped after %g minutes; the same command goes on", minutes)


@contextmanager
def _time_limit(minutes: float | None) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
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
