"""The learning rate, as a function of the recipe and of how far training is."""

import math

from .recipe import Recipe


def learning_rate(recipe: Recipe, epoch: int, progress: float) -> float:
    """The learning rate at a point of the schedule.

    Args:
        recipe: its `lr`, `schedule` and what belongs to them.
        epoch: counted from 0.
        progress: the share of the epoch's steps already done, in 0..1.
    """
    now = epoch + progress
    warmup = 1.0
    if epoch < recipe.warmup_epochs:
        # Starts above 0: the first step of a rate of exactly 0 would be wasted.
        warmup = 0.01 + 0.99 * now / recipe.warmup_epochs
    if recipe.schedule == "steps":
        return warmup * recipe.lr * recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
    if epoch < recipe.warmup_epochs:
        return warmup * recipe.lr
    share = (now - recipe.warmup_epochs) / (recipe.epochs - recipe.warmup_epochs)
    return recipe.final_lr + (recipe.lr - recipe.final_lr) * (1 + math.cos(math.pi * share)) / 2
