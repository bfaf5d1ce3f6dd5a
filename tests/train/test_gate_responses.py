"""The gates' responses, against the paper's equations in NumPy and float64."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from runtime.errors import InputError
from train.gate_responses import gate_responses, gate_statistics
from train.model import LgeuNet

STRIPS, IMAGES = 4, 35


@pytest.fixture(scope="module")
def model() -> LgeuNet:
    torch.manual_seed(0)
    return LgeuNet("mobilenetv3_small_050", strips=STRIPS, height=128, width=64)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (128, 64, 3), dtype=np.uint8) for _ in range(IMAGES)]


def test_gates_and_energies_are_those_of_the_equations(model: LgeuNet, images: list[NDArray[np.uint8]]) -> None:
    responses = gate_responses(model, images)
    with torch.no_grad():
        x = model.feature_map(torch.from_numpy(np.stack(images))).double().numpy()
    w1, w2 = (weights.detach().double().numpy() for weights in (model.pool.w1, model.pool.w2))
    height = x.shape[2] // STRIPS
    gated = x.copy()
    for k in range(STRIPS):
        rows = slice(k * height, (k + 1) * height)
        local = x[:, :, rows].mean((2, 3))
        gate = 1 / (1 + np.exp(-np.maximum(local @ w1[k].T, 0) @ w2[k].T))
        np.testing.assert_allclose(responses.gates[:, k], gate, rtol=1e-4, atol=1e-6)
        gated[:, :, rows] *= gate[:, :, None, None]
    np.testing.assert_allclose(responses.energy, np.sqrt((x**2).sum(1)), rtol=1e-4)
    np.testing.assert_allclose(responses.gated_energy, np.sqrt((gated**2).sum(1)), rtol=1e-4)
    with torch.no_grad():
        pooled = model.pooled(torch.from_numpy(np.stack(images))).numpy()
    np.testing.assert_allclose(gated.mean((2, 3)), pooled, rtol=1e-3, atol=1e-6)


def test_statistics_tell_strips_from_images() -> None:
    random = np.random.default_rng(2)
    strips = random.uniform(size=(1, 3, 50)).astype(np.float32)
    by_strip = gate_statistics(np.repeat(strips, 4, axis=0))
    assert by_strip.between_images == 0
    assert by_strip.between_strips == pytest.approx(np.std(strips[0].astype(np.float64), axis=0).mean())
    np.testing.assert_allclose(by_strip.mean, strips[0].mean(1), rtol=1e-6)
    np.testing.assert_allclose(by_strip.correlation, np.corrcoef(strips[0]), rtol=1e-6)
    images = random.uniform(size=(4, 1, 50)).astype(np.float32)
    by_image = gate_statistics(np.repeat(images, 3, axis=1))
    assert by_image.between_strips == pytest.approx(0, abs=1e-12)
    assert by_image.between_images > 0.1
    np.testing.assert_allclose(by_image.correlation, np.ones((3, 3)), rtol=1e-6)


def test_gates_that_are_equal_have_no_correlation() -> None:
    statistics = gate_statistics(np.full((2, 2, 5), 0.5, np.float32))
    assert statistics.to_json()["correlation"] == [[None, None], [None, None]]


def test_a_network_without_gates_is_refused(images: list[NDArray[np.uint8]]) -> None:
    plain = LgeuNet("mobilenetv3_small_050", gate="none", height=128, width=64)
    with pytest.raises(InputError, match="there are no responses to look at"):
        gate_responses(plain, images[:1])
