"""Evaluation and re-ranking beside the bare matrix products that they need, and beside other toolboxes.

    python benchmarks/evaluation.py --size market --out FILE.json --torchreid FOLDER --fast-reid FOLDER
    python benchmarks/evaluation.py --features FILE.npz --out FILE.json
    python benchmarks/evaluation.py --size msmt17 --growth 10000 20000 40000 80000 --out FILE.json

The toolboxes are checkouts of their repositories that whoever measures makes, with the Cython evaluators compiled
(`python setup.py build_ext --inplace` in `rank_cylib`); those not given are left out. Every run of every contender is a
process of its own, and the contenders take turns, so that a machine whose speed drifts treats them alike: look at
ratios. FILE.json is written again after the metrics, after re-ranking and after each size of `--growth`, so that an
interrupt leaves what was done by then. Linux only, for how memory is measured. FILE.npz holds float `qf` and `gf` and
integer `q_pids`, `q_cams`, `g_pids` and `g_cams`; without it features are made up.
"""

import argparse
import json
import logging
import os
import shlex
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from evaluation_contenders import CONTENDERS, Contender, contender_named, pairs_flop, problem_for, product_flop
from evaluation_features import SIZES, describe, generate, load, save
from evaluation_process import measure
from evaluation_report import Run, growth, summarise

from eval.machine import describe_machine, installed_versions
from runtime.console import configure_logging, run_command
from runtime.errors import InputError
from runtime.files import check_target, require_file, sha256, write_json

# What is used of each peer.
PEERS = {
    "torchreid": (
        "torchreid/metrics/distance.py",
        "torchreid/metrics/rank_cylib/rank_cy.pyx",
        "torchreid/utils/rerank.py",
    ),
    "fast-reid": ("fastreid/evaluation/rank_cylib/rank_cy.pyx", "fastreid/evaluation/rerank.py"),
    "transreid": ("utils/metrics.py", "utils/reranking.py"),
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GROWING = ("product", "metrics", "pairs-product", "rerank-metrics")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runner:
    """Runs contenders, each in a process of its own.

    Attributes:
        features: the feature set's file.
        folders: of the peers.
        temporary: a folder for what the processes hand back.
        kept: where the first rows of re-ranked matrices go.
        queries: how many are used; None for all.
    """

    features: Path
    folders: dict[str, Path]
    temporary: Path
    kept: Path
    queries: int | None

    def run(self, contender: Contender, gallery: int | None = None, look: bool = False) -> Run:
        """One run; with `look` a re-ranked matrix's figures too."""
        report = self.temporary / "run.json"
        command: list[str | Path] = [
            sys.executable,
            __file__,
            "--contender",
            contender.name,
            "--features",
            self.features,
        ]
        command += ["--out", report, *_options(self.folders)]
        for option, value in (("--queries", self.queries), ("--gallery", gallery)):
            command += [] if value is None else [option, str(value)]
        command += ["--rows", self.kept / f"{contender.name}.npz"] if look else []
        # Some peers print; what they say is shown if they fail.
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise InputError(f"{contender.name} ended with status {done.returncode}: {done.stdout.strip()[-2000:]}")
        run: Run = json.loads(report.read_text())
        size = "" if gallery is None else f" with {gallery} gallery images"
        log.info("%s%s: %.4g s, %.0f MB", contender.name, size, run["seconds"], run["peak_mb"])
        return run

    def take_turns(
        self, contenders: Iterable[tuple[Contender, int]], gallery: int | None = None
    ) -> dict[str, list[Run]]:
        """Rounds in which each contender with rounds left runs once."""
        left = list(contenders)
        runs: dict[str, list[Run]] = defaultdict(list)
        for done in range(max((rounds for _, rounds in left), default=0)):
            for contender, rounds in left:
                if done < rounds:
                    runs[contender.name].append(self.run(contender, gallery, look=done == 0 and gallery is None))
        return dict(runs)


def main() -> None:
    """Measure one contender, or start the processes that do and write what they found."""
    arguments = parse()
    check_target(arguments.out)
    folders = {name: path.resolve() for name in PEERS if (path := getattr(arguments, name.replace("-", "_")))}
    if arguments.contender:
        run = measure(
            arguments.contender, arguments.features, folders, arguments.queries, arguments.gallery, arguments.rows
        )
        write_json(arguments.out, run)
        return
    with tempfile.TemporaryDirectory() as temporary:
        features = arguments.features or Path(temporary) / "features.npz"
        if not arguments.features:
            save(generate(SIZES[arguments.size]), features)
        kept = arguments.keep or Path(temporary)
        kept.mkdir(parents=True, exist_ok=True)
        runner = Runner(features, folders, Path(temporary), kept, arguments.queries)
        report = circumstances(arguments, features, folders)
        for so_far in results(arguments, runner):
            write_json(arguments.out, report | so_far)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--size", choices=SIZES, default="small", help="make features up at this size (default: small)")
    source.add_argument("--features", type=Path, help="a feature set (.npz)")
    parser.add_argument("--out", type=Path, required=True, help="the figures (JSON)")
    for name in PEERS:
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help="a checkout of its repository")
    names = [contender.name for contender in CONTENDERS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=5, help="of the metrics (default: 5)")
    parser.add_argument("--rerank-rounds", type=int, default=3, help="of re-ranking (default: 3)")
    parser.add_argument("--slow-rounds", type=int, default=1, help="of the peers' re-ranking (default: 1)")
    parser.add_argument("--queries", type=int, metavar="N", help="only the first N queries")
    parser.add_argument("--growth", type=int, nargs="+", metavar="N", help="ours at these gallery sizes, no peers")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the first 200 rows of re-ranked matrices there"
    )
    for hidden, kind in (("--contender", str), ("--gallery", int), ("--rows", Path)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


def circumstances(arguments: argparse.Namespace, features: Path, folders: dict[str, Path]) -> dict[str, Any]:
    """Where, when, with what and on what."""
    problem = load(features).subset(arguments.queries, None)
    searched = problem_for(contender_named("product"), problem)
    return {
        "what": "CMC, mAP and mINP, and k-reciprocal re-ranking: seconds, and memory in 10^6 bytes above the features",
        "date": date.today().isoformat(),
        "command": shlex.join(["python", *map(_last_part, sys.argv)]),
        "machine": describe_machine(),
        "versions": installed_versions(),
        "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
        "features": {"from": arguments.features.name if arguments.features else f"generated, {arguments.size}"}
        | describe(problem),
        "flop": {"product": product_flop(searched), "pairs-product": pairs_flop(searched)},
        "peers": {name: hashes(name, folder) for name, folder in folders.items()},
        "left_out": [name for name in PEERS if name not in folders],
    }


def hashes(peer: str, folder: Path) -> dict[str, str]:
    """Which version of a peer it is: a SHA-256 of each file that is used."""
    return {name: sha256(require_file(folder / name, f"{peer}'s file")) for name in PEERS[peer]}


def results(arguments: argparse.Namespace, runner: Runner) -> Iterator[dict[str, Any]]:
    """The measurements so far: after the metrics and after re-ranking, or after each size of the gallery."""
    return _growth(arguments, runner) if arguments.growth else _comparison(arguments, runner)


def _growth(arguments: argparse.Namespace, runner: Runner) -> Iterator[dict[str, Any]]:
    contenders = [(contender_named(name), arguments.rounds) for name in GROWING]
    queries = len(load(runner.features).subset(arguments.queries, None).query)
    runs: dict[int, dict[str, list[Run]]] = {}
    for size in arguments.growth:
        runs[size] = runner.take_turns(contenders, size)
        yield {"growth": growth(runs, queries)}


def _comparison(arguments: argparse.Namespace, runner: Runner) -> Iterator[dict[str, Any]]:
    rounds = {
        contender.name: (arguments.slow_rounds if contender.peer else arguments.rerank_rounds)
        if contender.reranks
        else arguments.rounds
        for contender in CONTENDERS
    }
    chosen = [
        contender
        for contender in CONTENDERS
        if (contender.peer is None or contender.peer in runner.folders)
        and (not arguments.only or contender.name in arguments.only)
    ]
    runs: dict[str, list[Run]] = {}
    for reranks in (False, True):
        turn = [(contender, rounds[contender.name]) for contender in chosen if contender.reranks is reranks]
        runs |= runner.take_turns(turn)
        yield summarise(runs, runner.kept)


def _last_part(argument: str) -> str:
    """A path without its folders, which are nobody else's; anything else as it is."""
    return Path(argument).name if os.sep in argument else argument


def _options(folders: dict[str, Path]) -> list[str | Path]:
    return [part for name, folder in folders.items() for part in (f"--{name}", folder)]


if __name__ == "__main__":
    configure_logging()
    sys.exit(run_command("evaluation.py", main))
