"""The video pipeline on PETS 2009 S2.L1 (795 frames), on a CPU: speed beside the same work in one thread, and memory.

    python benchmarks/pipeline.py --data FOLDER --model model.onnx --detector yolox_nano.onnx --out FILE.json

FOLDER holds `vtest.avi`. The threads of the pipeline and of the networks share the cores, so that the pipeline can
hardly be faster than one thread that does everything in turn; it must not be much slower. Both take turns in one run,
`gain` is the median of the rounds' ratios, and the load of the machine is recorded before and after. Memory is the peak
of one process, looked at after 200 and after all frames.
"""

import argparse
import os
import resource
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from eval.machine import describe_machine, installed_versions
from runtime.bench_video import measure_pipeline
from runtime.console import configure_logging
from runtime.detector import YoloxDetector
from runtime.embedder import Embedder
from runtime.files import sha256, write_json
from runtime.people import detected_by
from runtime.pipeline import Pipeline
from runtime.sources import VideoFile
from runtime.spool import EmbeddingsSpool

EARLY = 200


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--model", "--detector", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=None, help="of the video, for the speed (default: all)")
    parser.add_argument("--model-is", default="", help="what the model is, for the file")
    arguments = parser.parse_args()
    configure_logging()
    video = arguments.data / "vtest.avi"
    before = os.getloadavg()[0]
    result = {
        "what": "PETS 2009 S2.L1, view 1: the video pipeline on a CPU",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": installed_versions(),
        "model": arguments.model_is,
        "model_sha256": sha256(arguments.model),
        "detector_sha256": sha256(arguments.detector),
        "speed": speed(video, arguments.model, arguments.detector, arguments.rounds, arguments.frames),
        "memory": memory_in_a_process(video, arguments.model, arguments.detector),
        "load": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
    }
    write_json(arguments.out, result)


def pipelines(video: Path, embedder: Embedder, detector: YoloxDetector) -> Callable[[], Pipeline]:
    """Makes a new pipeline over the video each time."""
    return lambda: Pipeline(VideoFile(video), detected_by(detector), 1, embedder)


def speed(video: Path, model: Path, detector: Path, rounds: int, frames: int | None) -> dict[str, Any]:
    """Both ways by turns, with embeddings written to the disk."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Embedder.open(model, device="cpu") as embedder,
        EmbeddingsSpool(Path(folder), embedder.manifest.embedding_size) as spool,
    ):
        make = pipelines(video, embedder, YoloxDetector(detector, device="cpu"))
        return asdict(measure_pipeline(make, spool.append, rounds=rounds, frames=frames))


def memory_in_a_process(video: Path, model: Path, detector: Path) -> dict[str, float]:
    """`memory`, in a process that did nothing else."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(memory, (video, model, detector))


def memory(video: Path, model: Path, detector: Path) -> dict[str, float]:
    """Peak of this process in MB after `EARLY` frames and after all."""
    peaks: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Embedder.open(model, device="cpu") as embedder,
        EmbeddingsSpool(Path(folder), embedder.manifest.embedding_size) as spool,
        pipelines(video, embedder, YoloxDetector(detector, device="cpu"))().start() as runner,
    ):
        for frame in runner:
            spool.append(frame)
            if frame.index + 1 == EARLY:
                peaks[f"peak_mb_after_{EARLY}_frames"] = peak()
        peaks[f"peak_mb_after_{frame.index + 1}_frames"] = peak()
    first, last = peaks.values()
    return {**peaks, "growth": last / first - 1}


def peak() -> float:
    """Largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
