"""`Embedder` beside a bare session on the CPU: preprocessing and all, on ONNX Runtime and on OpenVINO.

The network is LGEU-ResNet50 at 256x128 with random weights, exported on the spot: what it computes takes the same time
whatever its weights are. All contenders take turns in every round; ratios are medians over the rounds.

On a machine that others use, `taskset -c 0 python ... --clock processor` compares what one core has to do: with one
thread, nothing waits for another one by spinning, and the time that others get does not count.

    python benchmarks/runtime_backends.py --work runs/backends --out benchmarks/results/runtime-backends-cpu.json
"""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from eval.machine import describe_machine, installed_versions
from export.onnx_export import export_checkpoint
from runtime.backend import BackendName
from runtime.cores import usable_cores
from runtime.embedder import Embedder
from runtime.files import write_json
from train.checkpoint import untrained_checkpoint

HEIGHT, WIDTH, CROP = 256, 128, (128, 64)
BARE, BARE_SAME_THREADS = "onnxruntime, bare", "onnxruntime, bare, threads as the embedder's"
CLOCKS = {"wall": perf_counter, "processor": process_time}
BACKENDS: tuple[BackendName, ...] = ("onnxruntime", "openvino")


def exported(work: Path, backbone: str) -> Path:
    """The network's ONNX file, made unless it is there."""
    model = work / backbone / "model.onnx"
    if not model.exists():
        checkpoint = untrained_checkpoint(work / f"{backbone}.pt", backbone=backbone, height=HEIGHT, width=WIDTH)
        export_checkpoint(checkpoint, model.parent, fp16=False)
    return model


def bare(model: Path, images: NDArray[np.uint8], threads: int) -> Callable[[], object]:
    """A session as a user would open it, on images that are ready; 0 threads leaves them to ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": images})


def measure(model: Path, batch: int, rounds: int, stream: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Images a second of each contender in each round, in streams of `stream` batches."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch, HEIGHT, WIDTH, 3), np.uint8)
    crops = [generator.integers(0, 256, (*CROP, 3), np.uint8) for _ in range(batch)]
    with ExitStack() as resources:
        work: dict[str, Callable[[], object]] = {}
        for name, threads in ((BARE, 0), (BARE_SAME_THREADS, usable_cores())):
            once = bare(model, images, threads)
            work[name] = lambda once=once: [once() for _ in range(stream)]  # type: ignore[misc]
        for backend in BACKENDS:
            embedder = resources.enter_context(Embedder.open(model, backend=backend, device="cpu", batch_size=batch))
            work[backend] = lambda embedder=embedder: embedder.embed(crops * stream, "BGR")  # type: ignore[misc]
        rates: dict[str, list[float]] = {name: [] for name in work}
        for number in range(-1, rounds):
            for name in list(work)[:: 1 if number % 2 else -1]:
                begin = clock()
                work[name]()
                if number >= 0:
                    rates[name].append(batch * stream / (clock() - begin))
    return rates


def summary(rates: dict[str, list[float]]) -> dict[str, object]:
    """Medians, and medians of the rounds' ratios."""
    of = {name: np.array(values) for name, values in rates.items()}

    def ratio(over: str, under: str) -> float:
        return float(np.median(of[over] / of[under]))

    return {
        "images_per_second": {name: float(np.median(values)) for name, values in of.items()},
        "embedder_over_bare": ratio("onnxruntime", BARE),
        "embedder_over_bare_with_its_threads": ratio("onnxruntime", BARE_SAME_THREADS),
        "openvino_over_onnxruntime": ratio("openvino", "onnxruntime"),
        "rounds": rates,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the exported network")
    parser.add_argument("--backbone", default="resnet50", help="timm's name")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--stream", type=int, default=4, help="batches in a turn")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="what seconds are counted")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    model = exported(arguments.work, arguments.backbone)
    load, results = os.getloadavg()[0], {}
    for batch in arguments.batch:
        results[batch] = summary(measure(model, batch, arguments.rounds, arguments.stream, CLOCKS[arguments.clock]))
        print(batch, {name: value for name, value in results[batch].items() if name != "rounds"}, flush=True)
    if arguments.out:
        about = {
            "backbone": arguments.backbone,
            "input": [HEIGHT, WIDTH],
            "threads": usable_cores(),
            "clock": arguments.clock,
            "load": [load, os.getloadavg()[0]],
            "machine": describe_machine(),
            "versions": installed_versions(),
            "command": " ".join(["python", *sys.argv]),
        }
        write_json(arguments.out, {**about, "batches": results})


if __name__ == "__main__":
    main()
