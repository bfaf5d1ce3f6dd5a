"""Trainings in pieces: the end of the time given, and several processes in the same folder."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from resumable import TimeIsUp, Training, train_missing

from train.recipe import Recipe


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
