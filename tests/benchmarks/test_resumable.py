"""Trainings in pieces: the end of the time given, and several processes in the same folder."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from resumable import TimeIsUp, Training, epochs_done, train_missing

from runtime.errors import InputError
from train.checkpoint import load_checkpoint, save_checkpoint, untrained_checkpoint
from train.recipe import Recipe, Schedule


@pytest.fixture
def trainings(tmp_path: Path) -> list[Training]:
    dataset: Any = SimpleNamespace(name="toy")
    return [Training(name, Recipe(), dataset, tmp_path / name) for name in ("first", "second")]


def test_training_stops_when_its_minutes_are_over(trainings: list[Training], monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def endless(recipe: Recipe, dataset: Any, out: Path, resume: bool) -> None:
        begun.append(out.name)
        while True:
            pass

    monkeypatch.setattr("resumable.fit", endless)
    train_missing(trainings, minutes=0.001)
    assert begun == ["first"]
    train_missing(trainings, minutes=0)
    assert begun == ["first"]
    assert not issubclass(TimeIsUp, Exception)


def test_a_training_that_another_process_has_is_left_to_it(
    trainings: list[Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def fit(recipe: Recipe, dataset: Any, out: Path, resume: bool) -> None:
        begun.append(out.name)
        if len(begun) == 1:  # as if another process started while this one trains
            train_missing(trainings)

    monkeypatch.setattr("resumable.fit", fit)
    train_missing(trainings)
    assert begun == ["first", "second", "second"]


@pytest.fixture
def ten_of_twenty(tmp_path: Path) -> Callable[..., Training]:
    """Half of a training of twenty epochs, as another recipe looks at it."""

    def make(trained_by: Schedule, **changes: Any) -> Training:
        recipe = Recipe(backbone="resnet10t", height=64, width=32, strips=2, epochs=20, schedule=trained_by)
        dataset: Any = SimpleNamespace(name="toy")
        training = Training("half", recipe.model_copy(update=changes), dataset, tmp_path)
        untrained = untrained_checkpoint(tmp_path / "untrained.pt", backbone="resnet10t", height=64, width=32, strips=2)
        state = {"epochs_done": 10, "recipe": recipe.model_dump()}
        save_checkpoint(training.checkpoint, load_checkpoint(untrained).model, "toy", state)
        return training

    return make


def test_a_training_is_finished_with_its_last_epoch(ten_of_twenty: Callable[..., Training]) -> None:
    assert epochs_done(ten_of_twenty("steps")) == 10
    assert not ten_of_twenty("steps").is_finished
    assert ten_of_twenty("steps", epochs=10, workers=2).is_finished


@pytest.mark.parametrize(
    ("schedule", "changes", "message"),
    [
        ("steps", {"lr": 0.5}, "trained with lr 0.1, not 0.5"),
        ("steps", {"epochs": 9}, "trained for 10 epochs, not 9"),
        ("cosine", {"epochs": 10}, "trained with epochs 20, not 10"),
        ("cosine", {"schedule": "steps"}, "trained with schedule 'cosine', not 'steps'"),
        ("steps", {"schedule": "cosine"}, "trained with schedule 'steps', not 'cosine'"),
        ("steps", {"pretrained": True}, "trained with start 'random weights', not 'pretrained weights'"),
    ],
)
def test_a_training_of_another_recipe_is_no_part_of_the_work(
    ten_of_twenty: Callable[..., Training], schedule: Schedule, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        epochs_done(ten_of_twenty(schedule, **changes))
