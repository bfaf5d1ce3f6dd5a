"""Crops a second that one core preprocesses, and that training gets the very same pixels.

python benchmarks/preprocess.py --out benchmarks/results/preprocess-cpu.json
"""

import argparse
import os
import sys
from pathlib import Path
from time import perf_counter, thread_time

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.machine import describe_machine, installed_versions
from runtime.files import write_json
from runtime.preprocess import ColourOrder, preprocess, preprocess_batch

CROP, INPUT = (128, 64), (256, 128)
BATCH = 64
ORDERS: tuple[ColourOrder, ...] = ("BGR", "RGB")

Crops = list[NDArray[np.uint8]]


def crops_of_a_frame(count: int) -> Crops:
    """Views into a made-up frame of noise, as a detector's boxes give them."""
    generator = np.random.default_rng(0)
    frame = generator.integers(0, 256, (1080, 1920, 3), np.uint8)
    corners = zip(
        generator.integers(0, 1080 - CROP[0], count), generator.integers(0, 1920 - CROP[1], count), strict=True
    )
    return [frame[y : y + CROP[0], x : x + CROP[1]] for y, x in corners]


def rates(crops: Crops, rounds: int) -> dict[str, dict[str, float]]:
    """Crops a second of one thread, by the clock and by the processor time it got; the orders take turns."""
    out = np.empty((len(crops), *INPUT, 3), np.uint8)
    taken: dict[str, list[tuple[float, float]]] = {order: [] for order in ORDERS}
    for _ in range(rounds):
        for order in ORDERS:
            begin = perf_counter(), thread_time()
            preprocess_batch(crops, *INPUT, order, out=out)
            taken[order].append((perf_counter() - begin[0], thread_time() - begin[1]))
    medians = {order: np.median(times, axis=0) for order, times in taken.items()}
    return {
        order: {
            "crops_per_second": float(len(crops) / wall),
            "crops_per_second_of_processor_time": float(len(crops) / processor),
        }
        for order, (wall, processor) in medians.items()
    }


def same_pixels_as_training(crops: Crops) -> bool:
    """Whether a batch holds what `train.decoding` makes of the same crops, one by one and by OpenCV's plain calls."""
    batch = preprocess_batch(crops, *INPUT, "BGR")
    alone = np.stack([preprocess(crop, *INPUT, "BGR") for crop in crops])
    size = INPUT[::-1]
    plain = [cv2.cvtColor(cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB) for crop in crops]
    return bool(np.array_equal(batch, alone) and np.array_equal(batch, np.stack(plain)))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    crops = crops_of_a_frame(BATCH)
    rates(crops, 5)
    result = {
        "crop": CROP,
        "input": INPUT,
        "rates": rates(crops, arguments.rounds),
        "same_pixels_as_training": same_pixels_as_training(crops),
        "load": os.getloadavg()[0],
        "machine": describe_machine(),
        "versions": installed_versions(),
        "command": " ".join(["python", *sys.argv]),
    }
    for name, value in result["rates"].items():  # type: ignore[attr-defined]
        print(name, value)
    print("same pixels as training:", result["same_pixels_as_training"])
    if arguments.out:
        write_json(arguments.out, result)


if __name__ == "__main__":
    main()
