"""The paper's Table 1 on real images: strip gate, SE unit and plain pooling, all else the same, several seeds each.

    python benchmarks/table1.py --data market1501-train.zip --weights W.safetensors --work FOLDER --out FILE.json

trains what is missing (gates none, se and strip, seeds 0, 1 and 2, a folder each: `strip-0`) and evaluates what is
finished. It goes on where it was stopped; several of it may run at once on the same folder; `--minutes` ends it in time
where a machine is lent, `--gate` and `--seed` limit what it trains, and with `--evaluate-only` it trains nothing.

Persons whose id is divisible by 5 are held out: the figures are of the "Market-1501 train-split" and cannot stand
beside published ones. The recipe is for two CPU cores; on a GPU `--recipe recipes/paper.yaml` is the paper's own.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from kept_embeddings import kept_run
from market1501_cpu import describe_training
from retail_0287 import describe_retail, evaluate_retail
from table1_figures import Evaluated, bootstrap_settings, gate_differences, gate_figures
from table1_training import GATES, Training, epochs_done, train_missing, trainings

from eval.datasets import ReidDataset, open_dataset
from eval.evaluation import Evaluation, counts, describe_reranking, evaluate_run, figures
from eval.machine import describe_machine, installed_versions
from eval.reranking import Reranking
from lgeu.models import open_model
from runtime.console import configure_logging, run_command
from runtime.files import check_target, sha256, write_json
from train.recipe import Recipe, load_recipe

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "table1-cpu.yaml"
SPLIT = "person%5"
SEEDS = (0, 1, 2)
RERANKING = Reranking()


def main() -> int:
    """Train, evaluate and write the figures; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Market-1501's training half, a folder or a zip")
    parser.add_argument("--work", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--out", type=Path, required=True, help="the figures (JSON)")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="how to train; its gate and seed are not looked at")
    parser.add_argument("--weights", type=Path, help="the backbone's first weights; default: as the recipe says")
    parser.add_argument("--gate", action="append", choices=GATES, help="train only these")
    parser.add_argument("--seed", action="append", type=int, choices=SEEDS, help="train only these")
    parser.add_argument("--minutes", type=float, help="stop training after so long; the same command goes on")
    parser.add_argument("--evaluate-only", action="store_true", help="train nothing")
    parser.add_argument("--outside", type=Path, help="person-reidentification-retail-0287.onnx, for a line of its own")
    arguments = parser.parse_args()
    configure_logging()
    return run_command("table1", lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """Everything.

    Raises:
        InputError: as `train.fit.fit`, or the trainings that are there are of another recipe or other data.
    """
    check_target(arguments.out)
    dataset = open_dataset(arguments.data, SPLIT)
    recipe = load_recipe(arguments.recipe)
    if arguments.weights is not None:
        recipe = recipe.model_copy(update={"weights": str(arguments.weights)})
    if not arguments.evaluate_only:
        wanted = trainings(arguments.work, arguments.seed or SEEDS, arguments.gate or GATES)
        train_missing(wanted, recipe, dataset, arguments.minutes)
    done = {each: epochs_done(each, recipe, dataset.name) for each in trainings(arguments.work, SEEDS)}
    finished = [each for each, epochs in done.items() if epochs >= recipe.epochs]
    evaluated = [Evaluated(each, evaluate_training(each, dataset)) for each in finished]
    result = report(recipe, arguments.recipe.name, dataset, evaluated, done)
    if arguments.outside is not None:
        outside = evaluate_retail(arguments.outside, dataset, arguments.work / "retail-0287", RERANKING)
        result["outside"] = describe_retail(arguments.outside, outside)
    write_json(arguments.out, result)
    print(f"{arguments.out}: {len(finished)} of {len(done)} trainings{_missing(result)}", file=sys.stderr)


def evaluate_training(training: Training, dataset: ReidDataset) -> Evaluation:
    """Figures of a finished training; its embeddings are kept beside its checkpoint."""
    checkpoint = training.checkpoint
    kept = kept_run(checkpoint, lambda: open_model(checkpoint), dataset, training.folder / "embeddings")
    return evaluate_run(kept, RERANKING)


def report(
    recipe: Recipe, recipe_name: str, dataset: ReidDataset, evaluated: Sequence[Evaluated], done: dict[Training, int]
) -> dict[str, Any]:
    """Everything that is known, with what is not finished by name."""
    unfinished = [
        {"run": training.name, "epochs_done": epochs} for training, epochs in done.items() if epochs < recipe.epochs
    ]
    return {
        "what": f"Table 1 ({', '.join(GATES)}) with {recipe_name} on {dataset.name}",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": installed_versions(),
        "complete": not unfinished,
        "unfinished": unfinished,
        "recipe_file": recipe_name,
        "recipe": recipe.model_dump(exclude={"gate", "seed", "weights", "workers"}),
        "weights": describe_weights(recipe),
        "data": describe_data(dataset, evaluated),
        "reranking": describe_reranking(RERANKING),
        "bootstrap": bootstrap_settings(evaluated) if evaluated else None,
        "gates": gate_figures(evaluated),
        "differences": gate_differences(evaluated),
        "runs": [describe_run(each) for each in evaluated],
    }


def describe_weights(recipe: Recipe) -> dict[str, str] | None:
    """The file that training started from; None for timm's own weights or random ones, which the recipe says."""
    if recipe.weights is None:
        return None
    path = Path(recipe.weights)
    return {"file": path.name, **({"sha256": sha256(path)} if path.exists() else {})}


def describe_data(dataset: ReidDataset, evaluated: Sequence[Evaluated]) -> dict[str, Any]:
    """How much was trained on and searched."""
    return {
        "name": dataset.name,
        "training_images": len(dataset.train),
        "training_persons": len({image.person_id for image in dataset.train}),
        "validation_persons": len({image.person_id for image in dataset.query}),
        **(counts(evaluated[0].evaluation.metrics) if evaluated else {}),
    }


def describe_run(run: Evaluated) -> dict[str, Any]:
    """One training: how it went and what came of it."""
    return {
        "run": run.training.name,
        "gate": run.training.gate,
        "seed": run.training.seed,
        "checkpoint_sha256": sha256(run.training.checkpoint),
        "training": describe_training(run.training.folder / "log.csv"),
        "cosine": figures(run.metrics("cosine")),
        "reranked": figures(run.metrics("reranked")),
    }


def _missing(result: dict[str, Any]) -> str:
    names = [f"{each['run']} ({each['epochs_done']} epochs)" for each in result["unfinished"]]
    return f"; not in the table, because unfinished: {', '.join(names)}" if names else ""


if __name__ == "__main__":
    sys.exit(main())
