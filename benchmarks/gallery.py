"""A gallery of a million descriptors against exact search: built, saved, reopened and searched.

    python benchmarks/gallery.py --work FOLDER --out FILE.json

The descriptors are made up (clustered by identity, as hard to tell apart as a good model's): recall here says how much
of exact search's answer is found, and nothing about people. FOLDER gets the descriptors (8 GB) and the gallery
(4.4 GB), and keeps them. Exact search is FAISS's, over blocks of float32 rows in memory; only its comparing is timed,
not the reading of blocks. Both sides run in one process, in turn, on the same number of threads; beside the wall time
stands the processor time, which other programs on the machine change less.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from gallery_descriptors import PEOPLE_EACH, load, make
from numpy.typing import NDArray

from eval.machine import describe_machine, installed_versions
from runtime.console import configure_logging
from runtime.dependencies import require
from runtime.files import write_json
from runtime.gallery_changes import build_gallery
from runtime.gallery_entries import GalleryEntries
from runtime.gallery_index import GalleryIndex
from runtime.gallery_manifest import ModelIdentity

NEIGHBOURS = 10
BLOCK = 65_536
BATCHES = (1, 32, 500)
# Single queries are so slow to search for exactly that a few must do.
REPEATS = {1: 5, 32: 2, 500: 1}
GIGABYTE = 1e9

faiss = require("faiss", purpose="this benchmark", install="pip install 'lgeu-reid[gallery]'")


def main() -> None:
    """Run what is asked for; the building runs in a process of its own, whose memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--build-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    configure_logging()
    require("threadpoolctl", purpose="this benchmark", install="pip install threadpoolctl").threadpool_limits(
        arguments.threads
    )
    faiss.omp_set_num_threads(arguments.threads)
    if arguments.build_only:
        print(json.dumps(build(arguments.work)))
        return
    make(arguments.work, arguments.entries, max(BATCHES))
    command = [sys.executable, *sys.argv, "--build-only"]
    built = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    result = {
        "what": "synthetic descriptors, clustered by identity: LGEU's gallery against FAISS's exact search",
        "date": date.today().isoformat(),
        "machine": describe_machine(),
        "versions": installed_versions() | {"faiss-cpu": faiss.__version__},
        "threads": arguments.threads,
        "build": built,
        "search": search(arguments.work, arguments.rounds),
    }
    write_json(arguments.out, result)


def build(work: Path) -> dict[str, Any]:
    """Build and save the gallery, and say what that took."""
    descriptors, _ = load(work)
    count, size = descriptors.shape
    people = np.arange(count, dtype=np.int64) // PEOPLE_EACH + 1
    entries = GalleryEntries(
        person_ids=people,
        person_names=np.full(count, "", np.str_),
        camera_ids=np.full(count, -1, np.int64),
        names=np.char.add(np.arange(count).astype(np.str_), ".jpg"),
        times=np.full(count, np.nan),
    )
    folder = work / "gallery"
    for path in folder.glob("*"):
        path.unlink()
    took = clock(lambda: build_gallery(folder, descriptors, entries, ModelIdentity("0" * 64, size, 256, 128, "none")))
    return took | {
        "entries": count,
        "elements": size,
        "float32_gigabytes": descriptors.nbytes / GIGABYTE,
        "stored_gigabytes": sum(path.stat().st_size for path in folder.iterdir()) / GIGABYTE,
        "peak_gigabytes": status("VmHWM"),
        "peak_note": "pages of the memory-mapped descriptors that were read are in it",
    }


def search(work: Path, rounds: int) -> dict[str, Any]:
    """Open the gallery and search it in turn with exact search."""
    descriptors, queries = load(work)
    anonymous = status("RssAnon")
    started = time.perf_counter()
    gallery = GalleryIndex.open(work / "gallery")
    opened = time.perf_counter() - started
    first = clock(lambda: gallery.search(queries[:1], NEIGHBOURS))
    found = gallery.search(queries, NEIGHBOURS)
    times: dict[str, dict[int, list[dict[str, float]]]] = {"gallery": {}, "exact": {}}
    best = None
    for _ in range(rounds):
        exact_times, best = exact(descriptors, queries)
        for batch in BATCHES:
            times["exact"].setdefault(batch, []).append(exact_times[batch])
            times["gallery"].setdefault(batch, []).append(ours(gallery, queries, batch))
    assert best is not None
    hits = sum(len(set(left) & set(right)) for left, right in zip(found.rows.tolist(), best[1].tolist(), strict=True))
    shared = found.rows == best[1]
    return {
        "lists": vars(gallery.manifest.lists) if gallery.manifest.lists else None,
        "open_seconds": opened,
        "first_query": first,
        "recall_at_10": hits / best[1].size,
        "largest_score_difference": float(np.abs(found.scores - best[0])[shared].max()),
        "memory_of_the_program_grew_gigabytes": status("RssAnon") - anonymous,
        "milliseconds_per_query": {
            name: {str(batch): summary(each) for batch, each in batches.items()} for name, batches in times.items()
        },
        "exact_over_gallery": {
            str(batch): {
                kind: median(each[kind] for each in times["exact"][batch])
                / median(each[kind] for each in times["gallery"][batch])
                for kind in ("wall", "processor")
            }
            for batch in BATCHES
        },
    }


def exact(
    descriptors: NDArray[np.float32], queries: NDArray[np.float32]
) -> tuple[dict[int, dict[str, float]], tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Milliseconds per query by batch size, and the exact neighbours of all queries."""
    totals = {batch: {"wall": 0.0, "processor": 0.0} for batch in BATCHES}
    parts = []
    for start, block in blocks_of(descriptors):
        for batch in BATCHES:
            for repeat in range(REPEATS[batch]):
                chunk = queries[repeat * batch : (repeat + 1) * batch]
                took = clock(lambda chunk=chunk, block=block: nearest(chunk, block))  # type: ignore[misc]
                for kind, seconds in took.items():
                    totals[batch][kind] += 1000 * seconds / (batch * REPEATS[batch])
        scores, rows = nearest(queries, block)
        parts.append((scores, rows + start))
    scores, rows = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    kept = np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS]
    return totals, (np.take_along_axis(scores, kept, 1), np.take_along_axis(rows, kept, 1))


def nearest(queries: NDArray[np.float32], block: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """FAISS's exact search in one block."""
    scores, rows = faiss.knn(queries, block, NEIGHBOURS, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, rows


def blocks_of(descriptors: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Blocks of rows, read into memory."""
    for start in range(0, len(descriptors), BLOCK):
        yield start, np.array(descriptors[start : start + BLOCK])


def ours(gallery: GalleryIndex, queries: NDArray[np.float32], batch: int) -> dict[str, float]:
    """Milliseconds per query: the median over all batches of the queries."""
    took = [
        clock(lambda start=start: gallery.search(queries[start : start + batch], NEIGHBOURS))  # type: ignore[misc]
        for start in range(0, len(queries) - batch + 1, batch)
    ]
    return {kind: 1000 * median(each[kind] for each in took) / batch for kind in ("wall", "processor")}


def clock(work: Callable[[], object]) -> dict[str, float]:
    """Wall and processor seconds of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}


def summary(each: list[dict[str, float]]) -> dict[str, Any]:
    """Medians over the rounds, and all of them."""
    return {
        kind: {"median": median(one[kind] for one in each), "rounds": [one[kind] for one in each]} for kind in each[0]
    }


def status(field: str) -> float:
    """`VmHWM` or `RssAnon` of this process, in 10^9 bytes."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / GIGABYTE for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
