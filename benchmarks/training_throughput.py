"""Training images a second, as a share of what the same network does on batches that lie on the device already.

    PYTHONPATH=. python benchmarks/training_throughput.py --recipes paper strong --workers 8
    PYTHONPATH=. python benchmarks/training_throughput.py --recipes strong-compact --identities 60

Run from the project's root (PYTHONPATH is not needed where the project is installed). The images are blurred noise: how
long training takes does not depend on what they show. The loop is `train.fit` with the recipe's augmentation, batches,
losses and running average, decoded images in a cache; the second of two epochs counts. Its counterpart is forward,
softmax loss, backward and the optimiser's step, without a look at the loss. Both take turns; medians count.

The results are written after every piece, and pieces that are in the file already are kept: a run that was cut off, by
--seconds or otherwise, goes on where it stopped, with the same settings, device and versions only.
"""

import argparse
import csv
import itertools
import logging
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from blurred_people import write_blurred_people
from pieces import done_before
from torch import Tensor, nn

from eval.datasets import ReidDataset
from eval.machine import describe_machine, installed_versions
from runtime.console import configure_logging, run_command
from runtime.errors import CheckFailedError
from runtime.files import check_target, write_json
from train.arithmetic import Arithmetic
from train.classifier import LgeuClassifier
from train.fit import fit
from train.model import LgeuNet
from train.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[1]
SAME = ("what", "device", "machine", "versions", "settings")
IMAGES_EACH = 16
RESIDENT_BATCHES = 4
WARM_UP_STEPS = 5
TARGET = 0.85

log = logging.getLogger(__name__)


def main() -> None:
    """Measure piece by piece, and write after each."""
    arguments = parse()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    report = circumstances(arguments, device)
    out = arguments.out or ROOT / "benchmarks" / "results" / f"training-throughput-{short_name(report['device'])}.json"
    check_target(out)
    report["pieces"] = done_before(out, report, SAME)
    recipes = {
        name: timed_recipe(load_recipe(ROOT / "recipes" / f"{name}.yaml"), arguments.workers)
        for name in arguments.recipes
    }
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_blurred_people(Path(folder) / "people", arguments.identities, IMAGES_EACH)
        measure_all(recipes, dataset, Path(folder), device, arguments, report, out)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["paper", "strong"], help="of recipes/ (default: paper strong)")
    parser.add_argument("--identities", type=int, default=750, help=f"with {IMAGES_EACH} images each (default: 750)")
    parser.add_argument("--workers", type=int, default=0, help="processes that augment (default: 0)")
    parser.add_argument("--rounds", type=int, default=5, help="pieces of each recipe (default: 5)")
    parser.add_argument("--seconds", type=float, default=420.0, help="begin no piece after this long (default: 420)")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/training-throughput-<device>.json")
    return parser.parse_args()


def circumstances(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Where, when, with what and on what."""
    return {
        "what": "training images a second of train.fit, and of the same network on resident batches; synthetic images",
        "date": date.today().isoformat(),
        "command": shlex.join(["python", *(Path(part).name for part in sys.argv)]),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "machine": describe_machine(),
        "versions": installed_versions(),
        "settings": {"workers": arguments.workers, "identities": arguments.identities, "images_each": IMAGES_EACH},
        "target": TARGET,
    }


def short_name(device: str) -> str:
    """For a file: "NVIDIA H200" is h200."""
    return "-".join(word for word in re.split(r"[^a-z0-9]+", device.lower()) if word not in ("", "nvidia"))


def timed_recipe(recipe: Recipe, workers: int) -> Recipe:
    """Two epochs of a recipe from random weights, at a rate at which noise does not diverge."""
    changes: dict[str, Any] = {
        "pretrained": False,
        "weights": None,
        "epochs": 2,
        "workers": workers,
        "lr": 1e-5,
        "schedule": "steps",
        "milestones": [],
        "warmup_epochs": 0,
        "validate_every": 0,
    }
    return recipe.model_copy(update=changes)


def measure_all(
    recipes: Mapping[str, Recipe],
    dataset: ReidDataset,
    folder: Path,
    device: torch.device,
    arguments: argparse.Namespace,
    report: dict[str, Any],
    out: Path,
) -> None:
    """Every piece that is not in the report, each written when it is done.

    Raises:
        CheckFailedError: the time was up before the last.
    """
    names = [(name, f"{name}, round {number + 1}") for number in range(arguments.rounds) for name in recipes]
    left = [(name, piece) for name, piece in names if piece not in report["pieces"]]
    start = time.monotonic()
    for number, (name, piece) in enumerate(left):
        if time.monotonic() - start > arguments.seconds:
            raise CheckFailedError(f"{len(left) - number} pieces are left after {arguments.seconds:.0f} s; run again")
        run = folder / piece
        report["pieces"][piece] = {
            "loop": loop_rate(recipes[name], dataset, run, folder / "cache"),
            "network": network_rate(recipes[name], arguments.identities, device),
            "load": os.getloadavg()[0],
        }
        report["recipes"] = {each: summary(report["pieces"], each) for each in recipes}
        write_json(out, report)
        log.info("%s: %s; %s", piece, report["pieces"][piece], report["recipes"][name])


def loop_rate(recipe: Recipe, dataset: ReidDataset, out: Path, cache: Path) -> float:
    """Images a second of the last epoch, as the training log has it."""
    fit(recipe, dataset, out, cache=cache)
    with (out / "log.csv").open() as file:
        return float(list(csv.DictReader(file))[-1]["images_per_second"])


def network_rate(recipe: Recipe, identities: int, device: torch.device) -> float:
    """Images a second of forward, backward and step on batches that lie on the device."""
    step = network_step(recipe, identities, device)
    steps = max(WARM_UP_STEPS, identities * IMAGES_EACH // recipe.batch_size)
    return recipe.batch_size * steps / seconds_of(step, steps, device)


def network_step(recipe: Recipe, identities: int, device: torch.device) -> Callable[[], None]:
    """One step of the recipe's network, precision and optimiser, and of nothing else that the recipe asks for."""
    classifier = LgeuClassifier(LgeuNet(**recipe.architecture()), identities).to(device)
    if recipe.channels_last:
        classifier = classifier.to(memory_format=torch.channels_last)
    if recipe.compile:
        classifier.net.backbone.compile()
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[recipe.optimiser]
    optimiser = kind(classifier.parameters(), lr=recipe.lr, fused=True if device.type == "cuda" else None)
    loss_of = nn.CrossEntropyLoss()
    batches = resident_batches(recipe, identities, device)
    arithmetic = Arithmetic.choose(recipe.precision, device)

    def step() -> None:
        images, labels = next(batches)
        with arithmetic.autocast():
            logits, _ = classifier(images)
        optimiser.zero_grad(set_to_none=True)
        loss_of(logits.float(), labels).backward()
        optimiser.step()

    classifier.train()
    return step


def resident_batches(recipe: Recipe, identities: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """A few batches of noise, again and again."""
    generator = torch.Generator().manual_seed(0)
    shape = (recipe.batch_size, recipe.height, recipe.width, 3)
    return itertools.cycle(
        [
            (
                torch.randint(256, shape, dtype=torch.uint8, generator=generator).to(device),
                torch.randint(identities, shape[:1], generator=generator).to(device),
            )
            for _ in range(RESIDENT_BATCHES)
        ]
    )


def seconds_of(step: Callable[[], None], steps: int, device: torch.device) -> float:
    """How long so many steps take, after a few to warm up."""
    for _ in range(WARM_UP_STEPS):
        step()
    wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Until everything queued on a GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summary(pieces: Mapping[str, Mapping[str, float]], recipe: str) -> dict[str, float]:
    """Of a recipe's pieces: median images a second of both, and the median of their ratios."""
    own = [piece for name, piece in pieces.items() if name.rpartition(", ")[0] == recipe]
    if not own:
        return {}
    return {
        "loop": median(piece["loop"] for piece in own),
        "network": median(piece["network"] for piece in own),
        "share": median(piece["loop"] / piece["network"] for piece in own),
        "pieces": len(own),
    }


if __name__ == "__main__":
    configure_logging()
    sys.exit(run_command("training_throughput", main))
