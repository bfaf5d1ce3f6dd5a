"""Images a second that the training loader delivers, alone: all augmentations on, PK batches of 64.

    python benchmarks/loader.py --data market1501-train.zip --out benchmarks/results/loader-cpu.json

Images in memory and in a cache, made by the training process and by two workers, take turns, an epoch each; the median
counts. Processor time is that of all processes together, the start of the workers included. Without --data the images
are blurred noise.
"""

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from blurred_people import write_blurred_people
from torch.utils.data import DataLoader

from eval.datasets import ReidDataset, open_dataset
from eval.machine import describe_machine, installed_versions
from runtime.files import check_target, write_json
from train.augmentation import Augmentation
from train.batches import batches
from train.data import TrainingImages

HEIGHT, WIDTH = 256, 128
BATCH, IMAGES_PER_IDENTITY = 64, 4
EVERYTHING = Augmentation(flip=True, crop_padding=10, random_erasing=0.5)
WORKERS = (0, 2)
TARGET = 1500


def main() -> None:
    """Measure, print and write."""
    arguments = parse()
    if arguments.out:
        check_target(arguments.out)
    with tempfile.TemporaryDirectory() as folder:
        people, cache = Path(folder) / "people", Path(folder) / "cache"
        dataset = open_dataset(arguments.data) if arguments.data else write_blurred_people(people, 250, 16)
        result = circumstances(dataset) | measure(dataset, cache, arguments.rounds)
    for name, value in result.items():
        print(name, value)
    if arguments.out:
        write_json(arguments.out, result)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set; its training images are used")
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each, after one to warm up (default: 3)")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def measure(dataset: ReidDataset, cache: Path, rounds: int) -> dict[str, Any]:
    """Of decoding, of opening the cache, and of the loader."""
    seconds, in_memory = timed(dataset, None)
    first, _ = timed(dataset, cache)
    again, mapped = timed(dataset, cache)
    count = len(in_memory)
    rates = loader_rates({"in memory": in_memory, "cache": mapped}, rounds)
    return {
        "images": count,
        "decoded_per_second": {"into memory": count / seconds, "into the cache": count / first},
        "seconds_to_open_the_cache": again,
        "loader": rates,
        "target": TARGET,
        "slowest": {
            unit: min(rate[unit] for rate in rates.values())
            for unit in ("images_per_second", "images_per_second_of_processor_time")
        },
        "load": os.getloadavg()[0],
    }


def timed(dataset: ReidDataset, cache: Path | None) -> tuple[float, TrainingImages]:
    """Seconds to get the images ready, and the images."""
    start = perf_counter()
    images = TrainingImages(dataset, HEIGHT, WIDTH, EVERYTHING, seed=0, cache=cache)
    return perf_counter() - start, images


def loader_rates(sources: dict[str, TrainingImages], rounds: int) -> dict[str, dict[str, float]]:
    """Images a second of every source and number of workers."""
    cases = [(name, workers) for name in sources for workers in WORKERS]
    taken: dict[tuple[str, int], list[tuple[float, float]]] = {case: [] for case in cases}
    for epoch in range(rounds + 1):
        for name, workers in cases:
            taken[name, workers].append(one_epoch(sources[name], workers, epoch))
    return {
        f"{name}, {workers} workers": {
            "images_per_second": median(rate for rate, _ in rates[1:]),
            "images_per_second_of_processor_time": median(rate for _, rate in rates[1:]),
        }
        for (name, workers), rates in taken.items()
    }


def one_epoch(images: TrainingImages, workers: int, epoch: int) -> tuple[float, float]:
    """Images a second by the clock, and by the processor time that this process and its workers got."""
    sampler = batches(images.labels, BATCH, images_per_identity=IMAGES_PER_IDENTITY, seed=0)
    sampler.epoch = epoch
    wall, processor = perf_counter(), processor_seconds()
    seen = sum(len(labels) for _, labels in DataLoader(images, batch_sampler=sampler, num_workers=workers))
    return seen / (perf_counter() - wall), seen / (processor_seconds() - processor)


def processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def circumstances(dataset: ReidDataset) -> dict[str, Any]:
    """Of what, where and with what."""
    return {
        "what": f"the training loader at {HEIGHT}x{WIDTH}, batches of {BATCH}, {IMAGES_PER_IDENTITY} of an identity",
        "data": dataset.name,
        "synthetic": dataset.synthetic,
        "machine": describe_machine(),
        "versions": installed_versions(),
        "command": shlex.join(["python", *(Path(part).name for part in sys.argv)]),
    }


if __name__ == "__main__":
    main()
