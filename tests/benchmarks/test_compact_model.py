"""The way to a published model on toy data: nothing before both trainings are finished, then model, card, figures."""

import argparse
import json
from pathlib import Path

import compact_model
import cv2
import numpy as np
import pytest
import torch
from commands import training_options

from eval.datasets import open_dataset
from eval.evaluation import evaluate_model
from lgeu.models import open_model
from runtime.embedder import Embedder
from runtime.errors import CheckFailedError
from runtime.files import sha256
from train.recipe import load_recipe

RECIPE = """
backbone: resnet10t
strips: 2
reduction: 4
height: 64
width: 32
epochs: 1
batch_size: 8
images_per_identity: 4
lr: 0.5
milestones: []
crop_padding: 2
neck: bn
triplet_weight: 1.0
ema: 0.5
validate_every: 1
"""
NAME = "lgeu-resnet10t-market1501"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a recipe, and what one run made of them."""
    folder = tmp_path_factory.mktemp("compact")
    (folder / "recipe.yaml").write_text(RECIPE)
    random = np.random.default_rng(0)
    for person in (1, 2, 3, 5, 10):
        clothing = np.kron(random.integers(0, 256, (2, 1, 3)), np.ones((32, 32, 1)))
        for camera in (1, 2):
            for frame in (1, 2):
                noisy = np.clip(clothing + random.normal(0, 40, clothing.shape), 0, 255).astype(np.uint8)
                path = folder / "data" / "bounding_box_train" / f"{person:04d}_c{camera}s1_{frame:06d}_00.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), noisy)
    run(folder, minutes=0)
    assert not (folder / "figures.json").exists()
    assert not (folder / "models").exists()
    run(folder)
    return folder


def run(folder: Path, **options: object) -> None:
    torch.set_num_threads(1)
    arguments = {"data": folder / "data", "work": folder / "work", "out": folder / "figures.json", "weights": None}
    arguments |= {"recipe": folder / "recipe.yaml", "models": folder / "models"}
    arguments |= {"set": ["lr=0.02"], "minutes": None, "card_only": False, "remark": ["Trained on a Sunday."]}
    compact_model.run(argparse.Namespace(**{**arguments, **options}))


def test_the_model_has_learnt_from_everybody_and_its_twin_from_the_split(trained: Path) -> None:
    figures = json.loads((trained / "figures.json").read_text())
    assert (figures["twin"]["persons"], figures["model"]["persons"]) == (3, 5)
    published = trained / "models" / f"{NAME}.fp16.onnx"
    assert figures["model"]["sha256"] == sha256(published)
    assert figures["model"]["bytes"] == published.stat().st_size
    with Embedder.open(published) as embedder, open_model(trained / "work" / "model" / "checkpoint.pt") as reference:
        assert embedder.manifest.precision == "fp16"
        assert embedder.manifest.trained_on == "data"
        dataset = open_dataset(trained / "data")
        crops = [dataset.read(image) for image in dataset.train]
        ours, theirs = (each.embed(crops, colour_order="BGR") for each in (embedder, reference))
        assert np.sum(ours * theirs, axis=1).min() > 0.999


def test_the_card_says_what_the_figures_say(trained: Path) -> None:
    figures = json.loads((trained / "figures.json").read_text())
    card = (trained / "models" / f"{NAME}.md").read_text()
    twin = figures["twin"]["evaluation"]
    assert figures["model"]["sha256"] in card
    assert f"| twin, fp16 ONNX | {100 * twin['fp16']['before_reranking']['rank1']:.1f} |" in card
    assert f"| twin, PyTorch, re-ranked | {100 * twin['checkpoint']['rank1']:.1f} |" in card
    assert "**For research only.**" in card
    assert "backbone: resnet10t\n" in card
    assert "lr: 0.02\n" in card
    assert "\n- Trained on a Sunday.\n" in card
    assert "not in the repository" not in card
    assert f"--model models/{NAME}.fp16.onnx" in card


def test_what_is_too_large_for_a_repository_is_not_published(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = trained / "work" / "model" / "onnx" / "model.fp16.onnx"
    monkeypatch.setattr(compact_model, "export", lambda model: {"file": str(exported)})
    monkeypatch.setattr(compact_model, "MOST_BYTES", 1000)
    with pytest.raises(CheckFailedError, match=r"at most 1,000 may go into the repository"):
        run(trained, models=trained / "others")
    assert not (trained / "others").exists()


def test_a_card_alone_says_that_the_model_is_not_there_and_how_it_is_made(trained: Path, tmp_path: Path) -> None:
    weights = {"file": "first.safetensors", "sha256": "ab12"}
    figures = json.loads((trained / "figures.json").read_text()) | {"weights": weights}
    arguments = argparse.Namespace(models=tmp_path, out=tmp_path / "figures.json", card_only=True)
    compact_model.publish(figures, load_recipe(trained / "recipe.yaml"), arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", f"{NAME}.md"]
    card = (tmp_path / f"{NAME}.md").read_text()
    assert "not in the repository" in card
    assert "--recipe recipe.yaml --set lr=0.02 --weights first.safetensors --card-only --work runs/" in card
    assert f"--model runs/{NAME}/model/onnx/model.fp16.onnx" in card
    assert "| first weights | first.safetensors, SHA-256 ab12 |" in card
    assert "pretrained:" not in card  # which the file overrules


def test_commands_name_the_projects_recipes_as_they_are_found() -> None:
    result = {"recipe_file": "strong.yaml", "weights": None}
    assert training_options(result, "strong-compact.yaml") == " --recipe recipes/strong.yaml"
    assert training_options(result, "strong.yaml") == ""


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("mobilenetv2_100", "lgeu-mobilenetv2-market1501"),
        ("resnet50", "lgeu-resnet50-market1501"),
        ("tf_efficientnet_lite0", "lgeu-tf-efficientnet-lite0-market1501"),
        ("mobilenetv3_small_050", "lgeu-mobilenetv3-small-050-market1501"),
    ],
)
def test_models_are_called_after_their_backbone(backbone: str, name: str) -> None:
    assert compact_model.model_name(backbone) == name


def test_published_models_are_those_of_their_cards_and_figures(repository: Path) -> None:
    cards = sorted((repository / "models").glob("*.md"))
    assert cards
    files = {path.name for path in (repository / "models").glob("*.onnx")}
    assert files <= {f"{card.stem}.fp16.onnx" for card in cards}
    for card in cards:
        figures = json.loads((repository / "benchmarks" / "results" / f"{card.stem}.json").read_text())
        model = card.with_name(f"{card.stem}.fp16.onnx")
        assert compact_model.card(figures, card.stem, card_only=not model.exists()) == card.read_text()
        if model.exists():
            assert sha256(model) == figures["model"]["sha256"]
            assert model.stat().st_size <= compact_model.MOST_BYTES


def test_the_published_model_finds_the_people_whom_it_has_seen(repository: Path, shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "market1501-train.zip", compact_model.SPLIT)
    with Embedder.open(repository / "models" / "lgeu-mobilenetv2-market1501.fp16.onnx") as embedder:
        assert evaluate_model(embedder, dataset).metrics.cmc[0] > 0.95
