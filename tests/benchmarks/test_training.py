"""The benchmarks of training on a data set of a few images: what they count, and that they go on where they stopped."""

import json
import sys
from pathlib import Path

import loader
import pytest
import training_throughput
from blurred_people import write_blurred_people

from runtime.errors import CheckFailedError, InputError


def test_the_loader_is_measured_in_memory_and_in_a_cache(tmp_path: Path) -> None:
    dataset = write_blurred_people(tmp_path / "people", identities=16, images_each=8)
    result = loader.measure(dataset, tmp_path / "cache", rounds=1)
    assert dataset.synthetic
    assert result["images"] == 128
    assert set(result["loader"]) == {f"{name}, {w} workers" for name in ("in memory", "cache") for w in (0, 2)}
    assert result["slowest"]["images_per_second"] == min(r["images_per_second"] for r in result["loader"].values())


@pytest.fixture
def throughput(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Measures with a small network; call `training_throughput.main`, and the file is here."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "tiny.yaml").write_text(
        "backbone: resnet10t\nstrips: 2\nheight: 64\nwidth: 32\nbatch_size: 32\nimages_per_identity: 8\n"
        "triplet_weight: 1.0\nrandom_erasing: 0.5\nema: 0.9\noptimiser: adamw\n"
    )
    monkeypatch.setattr(training_throughput, "ROOT", tmp_path)
    monkeypatch.setattr(training_throughput, "WARM_UP_STEPS", 1)
    return tmp_path / "figures.json"


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> None:
    command = ["x", "--recipes", "tiny", "--identities", "4", "--out", str(out), *options]
    monkeypatch.setattr(sys, "argv", command)
    training_throughput.main()


def test_a_throughput_run_that_was_cut_off_goes_on(throughput: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, throughput, "--rounds", "1")
    first = json.loads(throughput.read_text())
    piece = first["pieces"]["tiny, round 1"]
    assert first["recipes"]["tiny"] == {
        "loop": piece["loop"],
        "network": piece["network"],
        "share": piece["loop"] / piece["network"],
        "pieces": 1,
    }
    with pytest.raises(CheckFailedError, match="1 pieces are left"):
        run(monkeypatch, throughput, "--rounds", "2", "--seconds", "-1")
    run(monkeypatch, throughput, "--rounds", "2")
    second = json.loads(throughput.read_text())
    assert second["pieces"]["tiny, round 1"] == piece
    assert second["recipes"]["tiny"]["pieces"] == 2
    with pytest.raises(InputError, match="other settings"):
        run(monkeypatch, throughput, "--workers", "1")


def test_medians_are_over_a_recipes_own_pieces() -> None:
    pieces = {
        "strong, round 1": {"loop": 80.0, "network": 100.0},
        "strong, round 2": {"loop": 90.0, "network": 100.0},
        "strong, round 3": {"loop": 95.0, "network": 100.0},
        "strong-compact, round 1": {"loop": 1.0, "network": 100.0},
    }
    assert training_throughput.summary(pieces, "strong") == {"loop": 90, "network": 100, "share": 0.9, "pieces": 3}
