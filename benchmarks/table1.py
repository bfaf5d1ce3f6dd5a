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
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from commands import describe_weights
from kept_embeddings import kept_run
from market1501_cpu import describe_training
from resumable import Training, epochs_done, train_missing
from retail_0287 import describe_retail, evaluate_retail
from table1_figures import GATES, Evaluated, bootstrap_settings, gate_differences, gate_figures

from eval.datasets import ReidDataset, open_dataset
from eval.evaluation import counts, describe_reranking, evaluate_run, figures
from eval.machine import describe_machine, installed_versions
from eval.reranking import Reranking
from lgeu.gate_sheets import sampled_gates
from lgeu.models import open_model
from runtime.console import configure_logging, run_command
from runtime.files import check_target, sha256, write_json
from train.checkpoint import Checkpoint, load_checkpoint
from train.gate_responses import gate_statistics
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
    every = trainings(recipe, dataset, arguments.work)
    if not arguments.evaluate_only:
        gates, seeds = arguments.gate or GATES, arguments.seed or SEEDS
        wanted = [each for each in every if each.recipe.gate in gates and each.recipe.seed in seeds]
        train_missing(wanted, arguments.minutes)
    evaluated = {each.name: evaluate_training(each) for each in every if each.is_finished}
    result = report(recipe, arguments.recipe.name, dataset, every, evaluated)
    if arguments.outside is not None:
        outside = evaluate_retail(arguments.outside, dataset, arguments.work / "retail-0287", RERANKING)
        result["outside"] = describe_retail(arguments.outside, outside)
    write_json(arguments.out, result)
    print(f"{arguments.out}: {len(evaluated)} of {len(every)} trainings{_missing(result)}", file=sys.stderr)


def trainings(recipe: Recipe, dataset: ReidDataset, work: Path) -> list[Training]:
    """All gates with the first seed, then all with the next."""
    return [
        Training(
            f"{gate}-{seed}", recipe.model_copy(update={"gate": gate, "seed": seed}), dataset, work / f"{gate}-{seed}"
        )
        for seed in SEEDS
        for gate in GATES
    ]


def evaluate_training(training: Training) -> Evaluated:
    """Figures of a finished training; its embeddings are kept beside its checkpoint."""
    checkpoint = training.checkpoint
    kept = kept_run(checkpoint, lambda: open_model(checkpoint), training.dataset, training.folder / "embeddings")
    return Evaluated(training.recipe.gate, training.recipe.seed, evaluate_run(kept, RERANKING))


def report(
    recipe: Recipe,
    recipe_name: str,
    dataset: ReidDataset,
    every: Sequence[Training],
    evaluated: Mapping[str, Evaluated],
) -> dict[str, Any]:
    """Everything that is known, with what is not finished by name."""
    unfinished = [{"run": each.name, "epochs_done": epochs_done(each)} for each in every if each.name not in evaluated]
    runs = list(evaluated.values())
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
        "data": describe_data(dataset, runs),
        "reranking": describe_reranking(RERANKING),
        "bootstrap": bootstrap_settings(runs) if runs else None,
        "gates": gate_figures(runs),
        "differences": gate_differences(runs),
        "runs": [describe_run(each, evaluated[each.name]) for each in every if each.name in evaluated],
    }


def describe_data(dataset: ReidDataset, evaluated: Sequence[Evaluated]) -> dict[str, Any]:
    """How much was trained on and searched."""
    return {
        "name": dataset.name,
        "training_images": len(dataset.train),
        "training_persons": len({image.person_id for image in dataset.train}),
        "validation_persons": len({image.person_id for image in dataset.query}),
        **(counts(evaluated[0].evaluation.metrics) if evaluated else {}),
    }


def describe_run(training: Training, evaluated: Evaluated) -> dict[str, Any]:
    """One training: how it went and what came of it."""
    trained = load_checkpoint(training.checkpoint)
    return {
        "run": training.name,
        "gate": evaluated.gate,
        "seed": evaluated.seed,
        "checkpoint_sha256": sha256(training.checkpoint),
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
        "training": describe_training(training.folder / "log.csv"),
        "cosine": figures(evaluated.metrics("cosine")),
        "reranked": figures(evaluated.metrics("reranked")),
        "gate_values": describe_gates(training, trained),
    }


def describe_gates(training: Training, trained: Checkpoint) -> dict[str, Any] | None:
    """How much the gates differ between strips and between images; None for plain pooling."""
    if training.recipe.gate == "none":
        return None
    return gate_statistics(sampled_gates(trained, training.dataset)).to_json()


def _missing(result: dict[str, Any]) -> str:
    names = [f"{each['run']} ({each['epochs_done']} epochs)" for each in result["unfinished"]]
    return f"; not in the table, because unfinished: {', '.join(names)}" if names else ""


if __name__ == "__main__":
    sys.exit(main())
