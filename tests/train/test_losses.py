import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from train.losses import batch_hard_triplet_loss, training_loss
from train.recipe import Recipe

LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4])  # the last one is alone


def descriptors_of(labels: NDArray[np.int64], spread: float) -> NDArray[np.float64]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(5, 16))[labels] + spread * generator.normal(size=(len(labels), 16))


def batch_hard(x: NDArray[np.float64], labels: NDArray[np.int64], margin: float | None) -> float:
    """By the paper's equations, image by image."""
    losses = []
    for anchor in range(len(x)):
        distances = [math.dist(x[anchor], other) for other in x]
        positives = [d for i, d in enumerate(distances) if labels[i] == labels[anchor] and i != anchor]
        negatives = [d for i, d in enumerate(distances) if labels[i] != labels[anchor]]
        if positives and negatives:
            difference = max(positives) - min(negatives)
            losses.append(math.log1p(math.exp(difference)) if margin is None else max(0.0, difference + margin))
    return float(np.mean(losses))


@pytest.mark.parametrize("margin", [None, 0.0, 0.3, 2.0])
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_the_triplet_loss_is_that_of_the_paper(margin: float | None, spread: float) -> None:
    x = descriptors_of(LABELS, spread)
    expected = batch_hard(x, LABELS, margin)
    descriptors = torch.from_numpy(x).float().requires_grad_()
    loss = batch_hard_triplet_loss(margin)(descriptors, torch.from_numpy(LABELS))
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    loss.backward()
    assert torch.isfinite(descriptors.grad).all()
    # The one whose person has no other image is not an anchor, but it can be the nearest other person.
    assert descriptors.grad[LABELS < 4].abs().sum() > 0 or expected == 0


def test_the_gradient_is_that_of_the_paper() -> None:
    x = descriptors_of(LABELS, 1.0)
    descriptors = torch.from_numpy(x).requires_grad_()
    batch_hard_triplet_loss(None)(descriptors, torch.from_numpy(LABELS)).backward()
    for row, column in ((0, 0), (4, 7), (11, 3)):
        step = np.zeros_like(x)
        step[row, column] = 1e-6
        slope = (batch_hard(x + step, LABELS, None) - batch_hard(x - step, LABELS, None)) / 2e-6
        assert descriptors.grad[row, column].item() == pytest.approx(slope, abs=1e-5)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 0, 0]])
def test_without_a_pair_to_compare_the_loss_is_0_and_training_goes_on(labels: list[int]) -> None:
    descriptors = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = batch_hard_triplet_loss(0.3)(descriptors, torch.tensor(labels))
    assert loss.item() == 0
    loss.backward()


def test_equal_descriptors_have_finite_gradients() -> None:
    descriptors = torch.ones(4, 8, requires_grad=True)
    batch_hard_triplet_loss(0.3)(descriptors, torch.tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(descriptors.grad).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_and_triplet_are_added_by_weight(smoothing: float) -> None:
    recipe = Recipe(label_smoothing=smoothing, triplet_weight=0.5, triplet_margin=0.3, images_per_identity=4)
    generator = np.random.default_rng(1)
    logits, x = generator.normal(size=(12, 5)), descriptors_of(LABELS, 1.0)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = (1 - smoothing) * np.eye(5)[LABELS] + smoothing / 5
    softmax = -(target * np.log(probabilities)).sum(1).mean()
    inputs = (torch.from_numpy(logits).float(), torch.from_numpy(x).float(), torch.from_numpy(LABELS))
    expected = softmax + 0.5 * batch_hard(x, LABELS, 0.3)
    assert training_loss(recipe)(*inputs).item() == pytest.approx(expected, rel=1e-5)
    alone = recipe.model_copy(update={"triplet_weight": 0.0})
    assert training_loss(alone)(*inputs).item() == pytest.approx(softmax, rel=1e-5)


def test_a_loss_that_is_not_finite_stays_so() -> None:
    """The miner must not hide it from the check that stops the run."""
    descriptors = torch.full((4, 8), float("nan"))
    logits = torch.zeros(4, 2)
    recipe = Recipe(triplet_weight=1.0, images_per_identity=2)
    assert not torch.isfinite(training_loss(recipe)(logits, descriptors, torch.tensor([0, 0, 1, 1])))


def test_training_without_the_triplet_loss_does_not_import_its_library() -> None:
    code = (
        "import sys; from train.losses import training_loss; from train.recipe import Recipe; "
        "training_loss(Recipe()); sys.exit('pytorch_metric_learning' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
