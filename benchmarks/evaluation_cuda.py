"""Evaluation and re-ranking on a GPU beside the same on the CPU: seconds, memory, and how far the results differ.

    PYTHONPATH=. python benchmarks/evaluation_cuda.py --size market --out FILE.json
    PYTHONPATH=. python benchmarks/evaluation_cuda.py --size msmt17 --only rerank --out FILE.json

Run from the project's root (PYTHONPATH is not needed where the project is installed). It needs torch with a GPU and
`lgeu-reid[eval]`.

FILE.json is written after every piece, and pieces that are in it already are kept as they are: what was cut off goes on
where it stopped, with the same features, machine and versions only. Both sides start from float32 features that are
where they are worked on (the time of the copy to the GPU is beside them), after a warm-up; GPU times are by the wall
clock, waited for. Memory is what torch had allocated at most on the GPU, the features among it. Without --features they
are made up, the same every time.
"""

import argparse
import json
import logging
import shlex
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from evaluation_features import SIZES, Problem, Size, describe, generate, load
from pieces import done_before

from runtime.console import configure_logging, run_command
from runtime.dependencies import require
from runtime.errors import DeviceError
from runtime.files import check_target, write_json

PIECES = ("metrics", "rerank-metrics", "rerank")

# What is said to differ: elements of re-ranked matrices, and average precisions.
DISTANCE, PRECISION = 1e-5, 1e-9

# Pieces in one file are of the same of these.
SAME = ("features", "gpu", "gpu_mb", "cuda", "machine", "versions")

_WARM_UP = Size(40, 100, 800, 4, distractors=80, junk=40)
_ROWS = 256
_MEGABYTE = 1e6

log = logging.getLogger(__name__)


def main() -> None:
    """Measure piece by piece, and write after each."""
    arguments = parse()
    check_target(arguments.out)
    require("numba", purpose="evaluation, on a GPU, too,", install="pip install 'lgeu-reid[eval]'")
    torch = require("torch", purpose="evaluation on a GPU", install="pip install torch")
    if not torch.cuda.is_available():
        raise DeviceError(f"torch {torch.__version__} finds no GPU; this measures one beside the CPU")
    problem = load(arguments.features) if arguments.features else generate(SIZES[arguments.size])
    report = circumstances(torch, arguments, problem)
    report["pieces"] = done_before(arguments.out, report, SAME)
    wanted = [piece for piece in arguments.only if piece not in report["pieces"]]
    if wanted:
        log.info("warming up")
        warm_up = generate(_WARM_UP)
        for piece in wanted:
            compare(torch, piece, warm_up, 1, 1)
    for piece in wanted:
        report["pieces"][piece] = compare(torch, piece, problem, arguments.rounds, arguments.cpu_rounds)
        write_json(arguments.out, report)
        log.info("%s: %s", piece, json.dumps(report["pieces"][piece]))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--size", choices=SIZES, default="small", help="make features up at this size (default: small)")
    source.add_argument("--features", type=Path, help="a feature set (.npz), as for evaluation.py")
    parser.add_argument("--out", type=Path, required=True, help="the figures (JSON)")
    parser.add_argument("--only", nargs="+", choices=PIECES, default=PIECES, help="some of the pieces")
    parser.add_argument("--rounds", type=int, default=5, help="on the GPU (default: 5)")
    parser.add_argument("--cpu-rounds", type=int, default=1, help="on the CPU (default: 1)")
    return parser.parse_args()


def circumstances(torch: Any, arguments: argparse.Namespace, problem: Problem) -> dict[str, Any]:
    """Where, when, with what and on what."""
    from evaluation_contenders import product_flop

    from eval.machine import describe_machine, installed_versions

    searched = problem.without_junk()
    images, elements = len(searched.query) + len(searched.gallery), searched.query.features.shape[1]
    return {
        "what": "CMC, mAP and mINP, and k-reciprocal re-ranking (d2, k1 20, k2 6, lambda 0.3), on a GPU and on the CPU",
        "date": date.today().isoformat(),
        "command": shlex.join(["python", *(Path(part).name for part in sys.argv)]),
        "gpu": torch.cuda.get_device_name(),
        "gpu_mb": torch.cuda.get_device_properties(0).total_memory / _MEGABYTE,
        "cuda": torch.version.cuda,
        "machine": describe_machine(),
        "versions": installed_versions(),
        "features": {"from": arguments.features.name if arguments.features else f"generated, {arguments.size}"}
        | describe(problem),
        # The GPU makes each product of two images twice.
        "flop": {"queries by gallery": product_flop(searched), "all pairs": 2.0 * images**2 * elements},
    }


def compare(torch: Any, piece: str, problem: Problem, rounds: int, cpu_rounds: int) -> dict[str, Any]:
    """Run one piece on both, and say how the results differ."""
    from eval.features import LabelledFeatures

    if piece == "rerank":
        problem = problem.without_junk()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    sides = [
        LabelledFeatures(torch.from_numpy(side.features).to("cuda"), side.person_ids, side.camera_ids)
        for side in (problem.query, problem.gallery)
    ]
    torch.cuda.synchronize()
    copied = time.perf_counter() - start
    seconds, result = timed(piece, sides, rounds, torch.cuda.synchronize)
    gpu = {**seconds, "copy_seconds": copied, "peak_mb": torch.cuda.max_memory_allocated() / _MEGABYTE}
    if piece == "rerank":
        result = result.cpu().numpy()
    cpu, expected = timed(piece, [problem.query, problem.gallery], cpu_rounds, lambda: None)
    differ = difference_of_rows if piece == "rerank" else difference_of_metrics
    ratio = cpu["median_seconds"] / gpu["median_seconds"]
    return {"gpu": gpu, "cpu": cpu, "cpu / gpu": ratio, **differ(result, expected)}


def timed(piece: str, sides: list[Any], rounds: int, wait: Callable[[], None]) -> tuple[dict[str, Any], Any]:
    """Wall times of all rounds and their median, and the last result."""
    from eval.metrics import evaluate
    from eval.reranking import Reranking, evaluate_reranked, rerank

    query, gallery = sides
    calls: dict[str, Callable[[], Any]] = {
        "metrics": lambda: evaluate(query, gallery),
        "rerank-metrics": lambda: evaluate_reranked(query, gallery, Reranking()),
        "rerank": lambda: rerank(query.features, gallery.features),
    }
    seconds, result = [], None
    for _ in range(rounds):
        result = None
        start = time.perf_counter()
        result = calls[piece]()
        wait()
        seconds.append(time.perf_counter() - start)
    return {"median_seconds": median(seconds), "seconds": seconds}, result


def difference_of_metrics(result: Any, expected: Any) -> dict[str, Any]:
    """Figures of both, their largest difference, and the queries whose results are not the same."""
    from eval.evaluation import figures

    ours, theirs = figures(result), figures(expected)
    one, two = (each.per_query.average_precision[expected.per_query.valid] for each in (result, expected))
    return {
        "figures": {"gpu": ours, "cpu": theirs},
        "largest_difference": max(abs(ours[name] - theirs[name]) for name in ours),
        "queries": expected.queries,
        "queries_of_another_precision": int((np.abs(one - two) > PRECISION).sum()),
        "queries_of_another_nearest": int((result.per_query.nearest != expected.per_query.nearest).sum()),
    }


def difference_of_rows(result: Any, expected: Any) -> dict[str, Any]:
    """The largest difference of two matrices, and the rows with any above what is allowed."""
    largest, elements = np.zeros(len(result)), 0
    for start in range(0, len(result), _ROWS):
        block = np.abs(result[start : start + _ROWS] - expected[start : start + _ROWS])
        largest[start : start + _ROWS] = block.max(axis=1)
        elements += int((block > DISTANCE).sum())
    return {
        "rows": len(result),
        "rows_that_differ": int((largest > DISTANCE).sum()),
        "elements_that_differ": elements,
        "by_more_than": DISTANCE,
        "largest_difference": float(largest.max()),
        "median_of_the_rows_largest": float(np.median(largest)),
    }


if __name__ == "__main__":
    configure_logging()
    sys.exit(run_command("evaluation_cuda.py", main))
