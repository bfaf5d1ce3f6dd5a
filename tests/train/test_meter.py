import math

import numpy as np
import pytest
import torch

from train.fit import _describe
from train.meter import EpochMeter
from train.processes import join_processes


def test_loss_and_accuracy_are_means_over_images() -> None:
    generator = np.random.default_rng(0)
    meter = EpochMeter(join_processes())
    losses, sizes, hits = [], [3, 5, 2], 0
    for step, size in enumerate(sizes):
        logits, labels = generator.normal(size=(size, 4)), generator.integers(0, 4, size)
        losses.append(generator.random())
        hits += int((logits.argmax(1) == labels).sum())
        meter.add(torch.tensor(losses[-1]), torch.from_numpy(logits), torch.from_numpy(labels))
        if step != 1:  # one at a time, and two at once
            meter.fetch()
    assert (meter.steps, meter.images) == (3, 10)
    assert meter.loss == pytest.approx(np.average(losses, weights=sizes), rel=1e-6)
    assert meter.accuracy == hits / 10
    assert meter.diverged is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_loss_that_is_not_finite_is_named(bad: float) -> None:
    meter = EpochMeter(join_processes())
    for loss in (1.0, 1.0, bad, 1.0, math.nan):
        meter.add(torch.tensor(loss), torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    assert meter.diverged is None  # nothing was fetched yet
    meter.fetch()
    assert meter.diverged is not None
    step, loss = meter.diverged
    assert step == 2
    assert loss == bad or math.isnan(bad)


def test_the_bar_says_when_all_epochs_will_be_through() -> None:
    meter = EpochMeter(join_processes())
    for _ in range(5):
        meter.add(torch.tensor(0.5), torch.eye(4), torch.arange(4))
    meter.fetch()
    # 5 of 10 steps in 30 s: a minute an epoch, two epochs and a half are left.
    text = _describe(meter, steps=10, seconds=30.0, epochs_left=3)
    assert text == "loss 0.500, accuracy 1.000, 1 images/s, all epochs in 0:02:30"
