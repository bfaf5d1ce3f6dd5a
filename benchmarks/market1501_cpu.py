"""The recipe for two CPU cores on Market-1501's training half: train, evaluate, export, compare.

    python benchmarks/market1501_cpu.py --data market1501-train.zip --work runs/market1501-cpu --out FILE.json

Persons whose id is divisible by 5 are held out for validation, so that the figures are of the "Market-1501 train-split"
and cannot stand beside published ones. A run that was stopped goes on where it was.
"""

import argparse
import csv
import dataclasses
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from eval.datasets import ReidDataset, open_dataset
from eval.evaluation import evaluate_model
from eval.machine import describe_machine, installed_versions
from eval.parity import Candidate, compare
from eval.report import write_report
from eval.reranking import Reranking
from export.onnx_export import export_checkpoint
from lgeu.models import open_model
from runtime.console import configure_logging
from runtime.files import sha256, write_json
from train.fit import CHECKPOINT, fit
from train.recipe import load_recipe

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "market1501-cpu.yaml"
SPLIT = "person%5"
EXPORT_CROPS = 256


def main() -> None:
    """Run all of it and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Market-1501's training half, a folder or a zip")
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint, the models and the report")
    parser.add_argument("--out", type=Path, required=True, help="the figures (JSON)")
    arguments = parser.parse_args()
    configure_logging()
    dataset = open_dataset(arguments.data, SPLIT)
    recipe = load_recipe(RECIPE)
    checkpoint = fit(recipe, dataset, arguments.work, resume=(arguments.work / CHECKPOINT).exists())
    result = {
        "what": f"{RECIPE.name} on {dataset.name}, from random weights",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": installed_versions(),
        "recipe": recipe.model_dump(),
        "training": describe_training(arguments.work / "log.csv"),
        "checkpoint_sha256": sha256(checkpoint),
        "evaluation": evaluate(checkpoint, dataset),
        "export": export(checkpoint, dataset, arguments.work / "onnx"),
        "parity": parity(checkpoint, dataset, arguments.work),
    }
    write_json(arguments.out, result)


def describe_training(log: Path) -> dict[str, Any]:
    """How long it took; the machine was shared, so that the best epochs say more than the sum."""
    with log.open(newline="") as file:
        epochs = list(csv.DictReader(file))
    speeds = sorted(float(epoch["images_per_second"]) for epoch in epochs)
    return {
        "epochs": len(epochs),
        "seconds": sum(float(epoch["seconds"]) for epoch in epochs),
        "images_per_second_median": median(speeds),
        "images_per_second_best": speeds[-1],
        "last_loss": float(epochs[-1]["loss"]),
    }


def evaluate(checkpoint: Path, dataset: ReidDataset) -> dict[str, Any]:
    """Figures before and after re-ranking."""
    with open_model(checkpoint) as embedder:
        return evaluate_model(embedder, dataset, Reranking(), checkpoint.name).to_json()


def export(checkpoint: Path, dataset: ReidDataset, out: Path) -> dict[str, Any]:
    """How far the ONNX files are from torch on real crops, as `lgeu export` measures it."""
    crops = [dataset.read(image) for image in dataset.query[:EXPORT_CROPS]]
    report = export_checkpoint(checkpoint, out, crops)
    return {
        "images": report.images,
        "fp32": [dataclasses.asdict(check) for check in report.fp32_checks],
        "fp16": [dataclasses.asdict(check) for check in report.fp16_checks],
        "largest_activation": dataclasses.asdict(report.activation),
        "bytes": {path.name: path.stat().st_size for path in (report.fp32, report.fp16) if path},
    }


def parity(checkpoint: Path, dataset: ReidDataset, work: Path) -> dict[str, Any]:
    """The parity report of the ONNX files, and of engines that lie beside them."""
    models = sorted([*(work / "onnx").glob("model*.onnx"), *(work / "onnx").glob("model*.engine")])
    report = compare(
        Candidate(checkpoint.name, lambda: open_model(checkpoint)),
        [Candidate(model.name, lambda model=model: open_model(model)) for model in models],  # type: ignore[misc]
        dataset,
    )
    write_report(report, work / "report")
    return report.to_json()


if __name__ == "__main__":
    main()
