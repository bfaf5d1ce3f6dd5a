"""What the benchmarks of the runtime make of their measurements."""

import importlib
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))


def test_ratios_are_of_rounds() -> None:
    backends = importlib.import_module("runtime_backends")
    # The machine was twice as slow in the second round, and busy with something else in the third.
    rates = {
        backends.BARE: [10.0, 5.0, 10.0],
        backends.BARE_SAME_THREADS: [10.0, 5.0, 10.0],
        "onnxruntime": [9.8, 4.9, 5.0],
        "openvino": [12.25, 6.125, 12.25],
    }
    summary = backends.summary(rates)
    assert summary["embedder_over_bare"] == pytest.approx(0.98)
    assert summary["openvino_over_onnxruntime"] == pytest.approx(1.25)
    assert summary["images_per_second"]["onnxruntime"] == pytest.approx(5.0)
    assert summary["rounds"] == rates


def test_crops_are_counted_and_their_pixels_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    preprocess = importlib.import_module("preprocess")
    crops = preprocess.crops_of_a_frame(5)
    assert {crop.shape for crop in crops} == {(128, 64, 3)}
    rates = preprocess.rates(crops, 3)
    assert rates.keys() == {"BGR", "RGB"}
    assert all(value > 0 for each in rates.values() for value in each.values())
    assert preprocess.same_pixels_as_training(crops)
    monkeypatch.setattr(preprocess, "preprocess", lambda crop, *size: np.zeros((*size[:2], 3), np.uint8))
    assert not preprocess.same_pixels_as_training(crops)
