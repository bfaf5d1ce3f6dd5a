import math

import pytest

from train.recipe import Recipe
from train.schedule import learning_rate


def rates_of(recipe: Recipe, steps: int = 4) -> list[float]:
    return [learning_rate(recipe, epoch, step / steps) for epoch in range(recipe.epochs) for step in range(steps)]


def test_warm_up_rises_to_the_full_rate_and_meets_the_milestones() -> None:
    rates = rates_of(Recipe(lr=1.0, warmup_epochs=2, milestones=[3, 5], gamma=0.5, epochs=6))
    assert 0 < rates[0] < 0.05
    assert rates[:8] == sorted(set(rates[:8]))
    assert rates[8:] == [1.0] * 4 + [0.5] * 8 + [0.25] * 4


def test_the_cosine_falls_from_lr_after_the_warm_up_to_final_lr() -> None:
    recipe = Recipe(schedule="cosine", lr=1.0, final_lr=0.1, warmup_epochs=2, epochs=12, milestones=[1])
    rates = rates_of(recipe, 50)
    assert rates[:100] == sorted(set(rates[:100]))
    assert max(rates) == rates[100] == 1.0
    assert rates[100:] == sorted(set(rates[100:]), reverse=True)
    assert learning_rate(recipe, 7, 0.0) == pytest.approx(0.55)  # half way
    assert learning_rate(recipe, 4, 0.5) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
