"""Names while a video runs, on PETS 2009 S2.L1: by each crop alone, and by its track so far.

    python benchmarks/names_in_video.py --data FOLDER --model model.onnx --out FILE.json

FOLDER holds `vtest.avi`, `gt.txt` (MOT format) and `persons.json`, which says what tracks are the same person coming
back. Boxes and tracks are the ground truth's. The gallery has one descriptor of each person, of the first visit; named
are the people on every frame of the later visits. A change is a frame on which a visit's name is another one than on
the frame before, or is lost or found.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pets2009 import person_of_track

from eval.machine import describe_machine, installed_versions
from runtime.boxes import FrameBoxes, cut, read_boxes
from runtime.console import configure_logging
from runtime.embedder import Embedder
from runtime.embeddings import UNKNOWN_PERSON, Embeddings
from runtime.files import sha256, write_json
from runtime.gallery import Gallery
from runtime.identities import describe_tracks, open_set
from runtime.progress import progress
from runtime.track_means import TrackMeans
from runtime.video import read_frames

THRESHOLDS = (0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class Sightings:
    """N boxes, frame by frame: embeddings of the crops (N, D) and of tracks so far (N, D), tracks and frames (N,)."""

    crops: NDArray[np.float32]
    so_far: NDArray[np.float32]
    tracks: NDArray[np.int64]
    frames: NDArray[np.int64]


def main() -> None:
    """Embed all boxes, make the gallery, name, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--model", "--out"):
        parser.add_argument(name, type=Path, required=True)
    arguments = parser.parse_args()
    configure_logging()
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with Embedder.open(arguments.model, device="cpu") as embedder:
        sightings = embed_video(arguments.data, embedder)
    person_of = person_of_track(arguments.data)
    gallery, returns = first_visits(sightings, person_of)
    right = np.array([person_of[track] for track in sightings.tracks[returns].tolist()])
    result = {
        "what": "PETS 2009 S2.L1, view 1: names of people who came back, on every frame",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": installed_versions(),
        "model": {"name": arguments.model.name, "sha256": sha256(arguments.model)},
        "known_people": len(set(person_of.values())),
        "visits": len(set(sightings.tracks[returns].tolist())),
        "sightings": len(right),
        "thresholds": {
            str(threshold): {
                way: figures(gallery, threshold, features[returns], right, sightings.tracks[returns])
                for way, features in (("crop", sightings.crops), ("track_so_far", sightings.so_far))
            }
            for threshold in THRESHOLDS
        },
    }
    write_json(arguments.out, result)


def embed_video(data: Path, embedder: Embedder) -> Sightings:
    """Everybody in the ground truth."""
    truth, means = read_boxes(data / "gt.txt"), TrackMeans()

    def frames() -> Iterator[Sightings]:
        for index, image in enumerate(progress(read_frames(data / "vtest.avi"), "embedding", unit="frame")):
            people = truth.get(index, FrameBoxes.nobody()).clipped(image.shape[1], image.shape[0])
            crops = embedder.embed([cut(image, box) for box in people.boxes], colour_order="BGR")
            so_far = means.add(people.tracks, crops)
            yield Sightings(crops, so_far, people.tracks, np.full(len(crops), index, np.int64))

    each = list(frames())
    return Sightings(
        np.concatenate([frame.crops for frame in each]),
        np.concatenate([frame.so_far for frame in each]),
        np.concatenate([frame.tracks for frame in each]),
        np.concatenate([frame.frames for frame in each]),
    )


def first_visits(sightings: Sightings, person_of: dict[int, int]) -> tuple[Gallery, NDArray[np.bool_]]:
    """A gallery of each person's first visit, and which sightings are of later ones."""
    people = describe_tracks(sightings.tracks, sightings.frames, sightings.crops)
    rows: dict[int, int] = {}
    for row in np.argsort(people.first, kind="stable").tolist():
        rows.setdefault(person_of[int(people.tracks[row])], row)
    chosen = list(rows.values())
    names = np.array([f"visit {track}" for track in people.tracks[chosen]])
    entries = Embeddings(people.descriptors[chosen], np.array(list(rows)), np.ones(len(rows), np.int64), names)
    return Gallery(entries, "first visits"), ~np.isin(sightings.tracks, people.tracks[chosen])


def figures(
    gallery: Gallery,
    threshold: float,
    features: NDArray[np.float32],
    right: NDArray[np.int64],
    tracks: NDArray[np.int64],
) -> dict[str, Any]:
    """Shares of sightings with the right name, a wrong one and none, and changes of name within visits."""
    known = open_set(gallery, threshold)
    assert known is not None
    named = known.nearest(features).person_ids
    changes = sum(int((named[tracks == track][1:] != named[tracks == track][:-1]).sum()) for track in np.unique(tracks))
    return {
        "right": float((named == right).mean()),
        "wrong": float(((named != right) & (named != UNKNOWN_PERSON)).mean()),
        "unknown": float((named == UNKNOWN_PERSON).mean()),
        "changes": changes,
    }


if __name__ == "__main__":
    main()
