"""Tracks and local identities on PETS 2009 S2.L1, with given and with detected boxes.

    python benchmarks/tracking.py --data FOLDER --model model.onnx --detector yolox_nano.onnx --out FILE.json

FOLDER holds `vtest.avi`, `gt.txt` (MOT format) and `persons.json`, which says what tracks are the same person coming
back. The model is one of ours or, with `--retail`, person-reidentification-retail-0287 (Open Model Zoo). Tracks are of
`AppearanceTracker`, MOTA and IDF1 of py-motmetrics at an intersection over union of .5. A visit (a ground-truth track)
has the identity that most of its boxes have; a return is recognised where that is the identity of an earlier visit of
the same person, and confused where it is one of somebody else's.
"""

import argparse
import os
import time
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import motmetrics
import numpy as np
from numpy.typing import NDArray
from pets2009 import LEAST_OVERLAP, overlap, person_of_track
from retail_0287 import open_retail
from scipy.optimize import linear_sum_assignment

from eval.machine import describe_machine, installed_versions
from runtime.boxes import FrameBoxes, cut, read_boxes
from runtime.console import configure_logging
from runtime.detector import YoloxDetector
from runtime.embedder import Embedder
from runtime.embeddings import NO_TRACK
from runtime.files import sha256, write_json
from runtime.identities import Tracklets, describe_tracks, link_tracks
from runtime.progress import progress
from runtime.tracking import AppearanceTracker
from runtime.video import read_frames

THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True)
class Frame:
    """The people of a frame: boxes (N, 4), scores (N,), features (N, D), and, of given boxes, their tracks (N,)."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    tracks: NDArray[np.int64]


def main() -> None:
    """Embed both kinds of boxes, track, link, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--model", "--detector", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--retail", action="store_true", help="the model is person-reidentification-retail-0287")
    arguments = parser.parse_args()
    configure_logging()
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    opened = open_retail(arguments.model) if arguments.retail else Embedder.open(arguments.model, device="cpu")
    with opened as embedder:
        given, detected = embed_video(arguments.data, YoloxDetector(arguments.detector), embedder)
    persons = person_of_track(arguments.data)
    result = {
        "what": "PETS 2009 S2.L1, view 1: tracks, and identities of people who come back",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": installed_versions() | {"motmetrics": motmetrics.__version__},
        "model": {"name": arguments.model.name, "sha256": sha256(arguments.model)},
        "ground_truth_tracks": links(given, [frame.tracks for frame in given], given, persons),
        "ground_truth_boxes": tracked(given, given, persons),
        "detected_boxes": tracked(detected, given, persons),
    }
    write_json(arguments.out, result)


def embed_video(data: Path, detector: YoloxDetector, embedder: Embedder) -> tuple[list[Frame], list[Frame]]:
    """Each frame with the ground truth's boxes, and with the detector's."""
    truth = read_boxes(data / "gt.txt")
    nobody = FrameBoxes.nobody()
    given: list[Frame] = []
    detected: list[Frame] = []
    for index, image in enumerate(progress(read_frames(data / "vtest.avi"), "embedding", unit="frame")):
        for people, frames in ((truth.get(index, nobody), given), (detector.detect(image), detected)):
            clipped = people.clipped(image.shape[1], image.shape[0])
            features = embedder.embed([cut(image, box) for box in clipped.boxes], colour_order="BGR")
            frames.append(Frame(clipped.boxes, clipped.scores, features, clipped.tracks))
    return given, detected


def tracked(frames: list[Frame], truth: list[Frame], persons: dict[int, int]) -> dict[str, Any]:
    """MOTA and IDF1 of the tracker's tracks, and what linking them finds."""
    tracker = AppearanceTracker()
    started = time.perf_counter()
    tracks = [tracker.update(index, frame.boxes, frame.scores, frame.features) for index, frame in enumerate(frames)]
    seconds = time.perf_counter() - started
    return {
        "boxes": sum(len(frame.boxes) for frame in frames),
        "frames_per_second_tracking": len(frames) / seconds,
        **figures(frames, tracks, truth),
        **links(frames, tracks, truth, persons),
    }


def figures(frames: list[Frame], tracks: list[NDArray[np.int64]], truth: list[Frame]) -> dict[str, float]:
    """MOTA, IDF1 and their parts."""
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for right, frame, numbers in zip(truth, frames, tracks, strict=True):
        kept = numbers != NO_TRACK
        overlaps = overlap(right.boxes, frame.boxes[kept])
        distances = np.where(overlaps >= LEAST_OVERLAP, 1 - overlaps, np.nan)
        accumulator.update(right.tracks.tolist(), numbers[kept].tolist(), distances)
    names = ["idf1", "mota", "num_switches", "num_false_positives", "num_misses"]
    computed = motmetrics.metrics.create().compute(accumulator, metrics=names, name="all")
    return {name: float(computed[name].iloc[0]) for name in names}


def links(
    frames: list[Frame], tracks: list[NDArray[np.int64]], truth: list[Frame], persons: dict[int, int]
) -> dict[str, Any]:
    """Of the people who come back, how many are recognised at each threshold."""
    numbers = np.repeat(np.arange(len(frames), dtype=np.int64), [len(frame.boxes) for frame in frames])
    people = describe_tracks(np.concatenate(tracks), numbers, np.concatenate([frame.features for frame in frames]))
    return {
        "tracks": len(people),
        "returns": len(persons) - len(set(persons.values())),
        "linked": {str(each): recognised(people, each, frames, tracks, truth, persons) for each in THRESHOLDS},
    }


def recognised(
    people: Tracklets,
    threshold: float,
    frames: list[Frame],
    tracks: list[NDArray[np.int64]],
    truth: list[Frame],
    persons: dict[int, int],
) -> dict[str, int]:
    """Returns recognised and confused, and how many identities there are."""
    identities = dict(zip(people.tracks.tolist(), link_tracks(people, threshold).tolist(), strict=True))
    votes: dict[int, Counter[int]] = {}
    for right, frame, numbers in zip(truth, frames, tracks, strict=True):
        overlaps = overlap(right.boxes, frame.boxes)
        for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
            if overlaps[row, column] >= LEAST_OVERLAP and numbers[column] != NO_TRACK:
                votes.setdefault(int(right.tracks[row]), Counter())[identities[int(numbers[column])]] += 1
    result = {"recognised": 0, "confused": 0, "identities": len(set(identities.values()))}
    owners: dict[int, set[int]] = {}
    before: set[int] = set()
    for visit in votes:  # in the order in which they begin
        identity, person = votes[visit].most_common(1)[0][0], persons[visit]
        others = set().union(*(mine for owner, mine in owners.items() if owner != person))
        result["recognised"] += person in before and identity in owners[person]
        result["confused"] += identity in others and identity not in owners.get(person, set())
        owners.setdefault(person, set()).add(identity)
        before.add(person)
    return result


if __name__ == "__main__":
    main()
