"""A small model that people can try: trained on all of Market-1501's training half, with the figures of its twin.

    python benchmarks/compact_model.py --data market1501-train.zip --weights W.safetensors --work FOLDER --out FILE.json

trains the same recipe twice. The **twin** learns from the training split (persons whose id is not divisible by 5) and
is measured on the others; the **model** learns from all 751 people, so that nobody is left here to measure it on. The
model is exported to fp16 and put into `models/` with its card. What was stopped goes on; `--minutes` ends training in
time. With `--card-only` the file itself stays in --work: for networks too large for a repository.
"""

import argparse
import dataclasses
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from commands import RECIPES, describe_weights, training_options
from market1501_cpu import describe_training
from page_templates import fill_in
from resumable import Training, epochs_done, train_missing

from eval.datasets import ReidDataset, open_dataset
from eval.evaluation import evaluate_model
from eval.machine import describe_machine, installed_versions
from eval.reranking import Reranking
from export.onnx_export import export_checkpoint
from export.report import ExportReport
from lgeu.models import open_model
from runtime.console import configure_logging, run_command
from runtime.errors import CheckFailedError
from runtime.files import check_folder, check_target, sha256, write_bytes, write_json, write_text
from train.recipe import Recipe, load_recipe

RECIPE = RECIPES / "strong-compact.yaml"
MODELS = Path(__file__).resolve().parents[1] / "models"
SPLIT = "person%5"
MOST_BYTES = 12_000_000
EXPORT_CROPS = 256


def main() -> int:
    """Train, measure, export and write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Market-1501's training half, a folder or a zip")
    parser.add_argument("--work", type=Path, required=True, help="folder of the trainings and the exported files")
    parser.add_argument("--out", type=Path, required=True, help="the figures (JSON)")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="how to train; default: strong-compact.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a line of the recipe")
    parser.add_argument("--weights", type=Path, help="the backbone's first weights; default: as the recipe says")
    parser.add_argument("--models", type=Path, default=MODELS, help="where model and card go; default: models/")
    parser.add_argument("--minutes", type=float, help="stop training after so long; the same command goes on")
    parser.add_argument("--card-only", action="store_true", help="leave the model in --work")
    parser.add_argument(
        "--remark", action="append", default=[], help="a sentence for the card: what figures do not say"
    )
    arguments = parser.parse_args()
    configure_logging()
    return run_command("compact_model", lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """Everything; nothing is written beside the trainings before both are finished.

    Raises:
        InputError: as `train.fit.fit` and `export.onnx_export.export_checkpoint`.
        CheckFailedError: the exported file disagrees with torch, or is too large for a repository.
    """
    check_target(arguments.out)
    check_folder(arguments.models)
    recipe = load_recipe(arguments.recipe, arguments.set)
    if arguments.weights is not None:
        recipe = recipe.model_copy(update={"weights": str(arguments.weights)})
    twin, model = trainings(recipe, arguments.data, arguments.work)
    train_missing([twin, model], arguments.minutes)
    unfinished = [each for each in (twin, model) if not each.is_finished]
    if unfinished:
        named = ", ".join(f"{each.name} ({epochs_done(each)} of {recipe.epochs} epochs)" for each in unfinished)
        print(f"unfinished: {named}; the same command goes on", file=sys.stderr)
        return
    exported = export(model)  # first, for it may be too large
    if not arguments.card_only:
        check_size(Path(exported["file"]))
    result = {
        "what": f"{recipe.backbone} with the gate {recipe.gate}, {arguments.recipe.name}, on {model.dataset.name}",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": installed_versions(),
        "recipe_file": arguments.recipe.name,
        "changes": arguments.set,
        "remarks": arguments.remark,
        "recipe": recipe.model_dump(exclude={"weights"}),
        "weights": describe_weights(recipe),
        "twin": describe(twin) | {"evaluation": evaluate_twin(twin)},
        "model": describe(model) | exported,
    }
    publish(result, recipe, arguments)


def trainings(recipe: Recipe, data: Path, work: Path) -> tuple[Training, Training]:
    """The twin, on the training split, and the model, on everybody."""
    split, whole = open_dataset(data, SPLIT), open_dataset(data)
    return Training("twin", recipe, split, work / "twin"), Training("model", recipe, whole, work / "model")


def describe(training: Training) -> dict[str, Any]:
    """What it was trained on, and how that went."""
    people = {image.person_id for image in training.dataset.train}
    return {
        "trained_on": training.dataset.name,
        "images": len(training.dataset.train),
        "persons": len(people),
        "checkpoint_sha256": sha256(training.checkpoint),
        "training": describe_training(training.folder / "log.csv"),
    }


def evaluate_twin(twin: Training) -> dict[str, Any]:
    """Figures on the validation split: of the checkpoint, and of the fp16 file that it is exported to."""
    exported = export_checkpoint(twin.checkpoint, twin.folder / "onnx", crops(twin.dataset))
    assert exported.fp16 is not None
    models = {"checkpoint": twin.checkpoint, "fp16": exported.fp16}
    return {name: evaluate(path, twin.dataset) for name, path in models.items()}


def evaluate(model: Path, dataset: ReidDataset) -> dict[str, Any]:
    """Figures before and after re-ranking."""
    with open_model(model) as embedder:
        return evaluate_model(embedder, dataset, Reranking(), model.name).to_json()


def export(model: Training) -> dict[str, Any]:
    """The fp16 file of the model, and how far it is from torch on real crops.

    Raises:
        CheckFailedError: it disagrees with torch.
    """
    report = export_checkpoint(model.checkpoint, model.folder / "onnx", crops(model.dataset))
    assert report.fp16 is not None
    with open_model(report.fp16) as embedder:
        elements = embedder.manifest.embedding_size
    return {
        "file": str(report.fp16),
        "bytes": report.fp16.stat().st_size,
        "sha256": sha256(report.fp16),
        "embedding_size": elements,
        "export": describe_export(report),
    }


def check_size(model: Path) -> None:
    """Refuse what is too large to be published.

    Raises:
        CheckFailedError: it is.
    """
    size = model.stat().st_size
    if size > MOST_BYTES:
        raise CheckFailedError(
            f"{model} has {size:,} bytes; at most {MOST_BYTES:,} may go into the repository: choose a smaller "
            "backbone, or leave it in --work with --card-only"
        )


def describe_export(report: ExportReport) -> dict[str, Any]:
    """The checks of the export."""
    return {
        "images": report.images,
        "fp16": [dataclasses.asdict(check) for check in report.fp16_checks],
        "largest_activation": dataclasses.asdict(report.activation),
    }


def crops(dataset: ReidDataset) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Real crops, spread over the training images."""
    rows = np.linspace(0, len(dataset.train) - 1, min(EXPORT_CROPS, len(dataset.train)), dtype=np.int64)
    return [dataset.read(dataset.train[row]) for row in rows]


def publish(result: dict[str, Any], recipe: Recipe, arguments: argparse.Namespace) -> None:
    """Write the model, then its card, then the figures."""
    name = model_name(recipe.backbone)
    source = Path(result["model"]["file"])
    result["model"]["file"] = f"{name}.fp16.onnx"
    if not arguments.card_only:
        write_bytes(arguments.models / f"{name}.fp16.onnx", source.read_bytes())
    write_text(arguments.models / f"{name}.md", card(result, name, arguments.card_only))
    write_json(arguments.out, result)
    print(f"{arguments.models / name}.md", file=sys.stderr)


def model_name(backbone: str) -> str:
    """After timm's name of the backbone, without the width that all of its family have unless another is said."""
    return f"lgeu-{backbone.removesuffix('_100').replace('_', '-')}-market1501"


def card(result: dict[str, Any], name: str, card_only: bool) -> str:
    """The model card, from the figures."""
    return fill_in(
        "model_card.md.j2",
        **result,
        name=name,
        card_only=card_only,
        path=f"runs/{name}/model/onnx/model.fp16.onnx" if card_only else f"models/{name}.fp16.onnx",
        options=_options(result, card_only),
        yaml=_yaml(result),
    )


def _yaml(result: dict[str, Any]) -> str:
    """The recipe, without what a file of weights overrules."""
    kept = {name: value for name, value in result["recipe"].items() if not (name == "pretrained" and result["weights"])}
    return yaml.safe_dump(kept, sort_keys=False).rstrip()


def _options(result: dict[str, Any], card_only: bool) -> str:
    return training_options(result, RECIPE.name) + (" --card-only" if card_only else "")


if __name__ == "__main__":
    sys.exit(main())
