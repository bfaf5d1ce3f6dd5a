"""`lgeu infer` on PETS 2009 S2.L1 (795 frames): an embedding for every ground-truth box, and what the detector finds.

    python benchmarks/pets2009.py --data FOLDER --model model.onnx --detector yolox_nano.onnx --out FILE.json

FOLDER holds `vtest.avi` and `gt.txt` (MOT format, confidence 0 to be ignored). A detection counts where it overlaps a
ground-truth box of its frame with an intersection over union of at least 0.5; each box is matched once.
"""

import argparse
import json
import os
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from eval.machine import describe_machine, installed_versions
from runtime.boxes import read_boxes
from runtime.console import configure_logging
from runtime.embeddings import Embeddings
from runtime.files import sha256, write_json
from runtime.infer import infer
from runtime.infer_options import Options
from runtime.summary import Summary

LEAST_OVERLAP = 0.5


def main() -> None:
    """Run `infer` twice and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--model", "--detector", "--out"):
        parser.add_argument(name, type=Path, required=True)
    arguments = parser.parse_args()
    configure_logging()
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    video, truth = arguments.data / "vtest.avi", arguments.data / "gt.txt"
    with tempfile.TemporaryDirectory() as folder:
        given, by_boxes = run(Options(video, arguments.model, Path(folder) / "given", boxes=truth))
        detected, by_detector = run(
            Options(video, arguments.model, Path(folder) / "found", detector=arguments.detector)
        )
    result = {
        "what": "PETS 2009 S2.L1, view 1: lgeu infer on a CPU",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": installed_versions(),
        "model_sha256": sha256(arguments.model),
        "ground_truth_boxes": {**describe(by_boxes), "each_box_once": each_box_once(given, truth)},
        "detector": {**describe(by_detector), **recall(detected, truth)},
    }
    write_json(arguments.out, result)


def run(options: Options) -> tuple[Embeddings, Summary]:
    """One run of `infer`, and what it wrote."""
    assert options.out is not None
    summary = infer(options)
    return Embeddings.load(options.out / "embeddings.npz"), summary


def describe(summary: Summary) -> dict[str, Any]:
    """Counts and speed; reading, detecting and embedding together."""
    return {
        "frames": summary.frames,
        "boxes": summary.boxes,
        "embeddings": summary.embeddings,
        "boxes_per_second": summary.embeddings / summary.seconds,
    }


def each_box_once(embeddings: Embeddings, truth: Path) -> bool:
    """Whether the embeddings are of the ground truth's (frame, track) pairs, each once."""
    expected = [(frame, int(track)) for frame, boxes in read_boxes(truth).items() for track in boxes.tracks]
    assert embeddings.frames is not None
    assert embeddings.tracks is not None
    found = list(zip(embeddings.frames.tolist(), embeddings.tracks.tolist(), strict=True))
    return sorted(found) == sorted(expected)


def recall(embeddings: Embeddings, truth: Path) -> dict[str, float]:
    """Recall and precision of the detector's boxes, as fractions."""
    assert embeddings.frames is not None
    assert embeddings.boxes is not None
    matched = total = 0
    for frame, boxes in read_boxes(truth).items():
        overlaps = overlap(boxes.boxes, embeddings.boxes[embeddings.frames == frame])
        rows, columns = linear_sum_assignment(np.where(overlaps >= LEAST_OVERLAP, overlaps, 0), maximize=True)
        matched += int((overlaps[rows, columns] >= LEAST_OVERLAP).sum())
        total += len(boxes.boxes)
    return {"recall": matched / total, "precision": matched / len(embeddings), "ground_truth_boxes": total}


def person_of_track(data: Path) -> dict[int, int]:
    """Which ground-truth tracks are the same person coming back, from `persons.json`."""
    content = json.loads((data / "persons.json").read_text())
    return {int(track): int(person) for track, person in content["track_to_person"].items()}


def overlap(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union of N and M boxes x y w h: (N, M)."""
    a, b = left[:, None].astype(np.float64), right[None].astype(np.float64)
    corner = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.clip(corner, 0, None), axis=-1)
    union = np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - shared
    return np.asarray(shared / union)


if __name__ == "__main__":
    main()
