"""The StripGate kernel on a GPU: time and bytes per second, beside a plain copy, torch eager and torch.compile.

    {BUILD}
    PYTHONPATH=. python benchmarks/strip_gate.py
    PYTHONPATH=. python benchmarks/strip_gate.py --only half nchw 8x4 1
    PYTHONPATH=. python benchmarks/strip_gate.py --sweep --only half nchw 8x4 --out FILE.json

Run from the project's root (PYTHONPATH is not needed where the project is installed). It needs torch with a GPU, CUDA's
nvcc for the library, and nothing of TensorRT.

C = 2048, K = 4 and R = 16. Every result is held against float64 first, from outputs that were NaN. Then CUDA graphs of
many launches are replayed, the contenders in turn, and events say how long a launch takes; the median of the rounds
counts. Launches go through copies of X, W and Y of more than 100 MB together, so that nothing is in the cache. Bytes
are those of X, W1, W2 and Y; of the copy, of 256 MB, those read and those written.
"StripGate, two kernels" is how a GPU without clusters would go about it, on this one.

The results are written after every piece, and pieces that are in the file already are kept as they are: a run that was
cut off, by --seconds or otherwise, goes on where it stopped, with the same kernel, GPU and versions only. --sweep
measures other plans of the kernel (slices, images of a tile, threads, blocks, cluster or two kernels) in place of the
contenders.
"""

import argparse
import json
import logging
import re
import shlex
import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pieces import done_before
from strip_gate_cases import Case, chosen
from strip_gate_library import BUILD, LIBRARY, StripGateLibrary, build_library, kernel_hash

from eval.machine import describe_machine, installed_versions
from runtime.console import configure_logging, run_command
from runtime.dependencies import require
from runtime.errors import CheckFailedError, DeviceError, InputError
from runtime.files import check_target, write_json

if TYPE_CHECKING:
    from strip_gate_pieces import Bench

SAME = ("what", "gpu", "machine", "versions", "kernel")

log = logging.getLogger(__name__)


def main() -> None:
    """Measure piece by piece, and write after each."""
    arguments = parse()
    cases = chosen(arguments.only)
    if not cases:
        raise InputError(f"no case has all of: {' '.join(arguments.only)}; see --help for the words")
    if arguments.out is not None:
        check_target(arguments.out)
    torch = require("torch", purpose="this benchmark", install="pip install torch")
    if not torch.cuda.is_available():
        raise DeviceError(f"torch {torch.__version__} finds no GPU; this measures one")
    from strip_gate_pieces import Bench

    if arguments.build:
        build_library()
    bench = Bench(StripGateLibrary(LIBRARY), arguments.rounds)
    report = circumstances(torch, arguments)
    out = arguments.out or default_out(report["gpu"], arguments.sweep)
    check_target(out)
    report["pieces"] = done_before(out, report, SAME)
    measure_all(bench, [case for case in cases if case.name not in report["pieces"]], arguments, report, out)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.replace("{BUILD}", BUILD), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="WORD",
        help="cases that are all of these: half, float, nchw, nhwc, 8x4, 16x8, or a batch (1, 8, 32, 128, 512)",
    )
    parser.add_argument("--sweep", action="store_true", help="measure other plans of the kernel, not the contenders")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/strip_gate-<gpu>.json")
    parser.add_argument("--build", action="store_true", help="run the first command above, where there is need")
    parser.add_argument("--rounds", type=int, default=15, help="default: 15")
    parser.add_argument(
        "--seconds",
        type=float,
        default=420.0,
        help="begin no piece after this long (default: 420); run again for the rest",
    )
    return parser.parse_args()


def measure_all(
    bench: "Bench", cases: list[Case], arguments: argparse.Namespace, report: dict[str, Any], out: Path
) -> None:
    """Every case that is not in the report, each written when it is done.

    Raises:
        CheckFailedError: the time was up before the last; or a result is wrong, which is then not in the report.
    """
    start = time.monotonic()
    for number, case in enumerate(cases):
        if time.monotonic() - start > arguments.seconds:
            left = len(cases) - number
            raise CheckFailedError(f"{left} pieces are left after {arguments.seconds:.0f} s; run again for them")
        piece = bench.sweep(case) if arguments.sweep else bench.compare(case)
        report["pieces"][case.name] = piece
        write_json(out, report)
        log.info("%s: %s", case.name, json.dumps(piece if not arguments.sweep else piece["fastest"]))


def circumstances(torch: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Where, when, with what and on what."""
    what = "other plans of the StripGate kernel" if arguments.sweep else "the StripGate kernel beside torch and a copy"
    return {
        "what": what,
        "date": date.today().isoformat(),
        "command": shlex.join(["python", *(Path(part).name for part in sys.argv)]),
        "gpu": torch.cuda.get_device_name(),
        "machine": describe_machine(),
        "versions": installed_versions() | {"cuda": torch.version.cuda},
        "kernel": kernel_hash(),
    }


def default_out(gpu: str, sweep: bool) -> Path:
    """Named by the GPU, e.g. "NVIDIA H200" makes strip_gate-h200.json."""
    words = [word for word in re.split(r"[^a-z0-9]+", gpu.lower()) if word not in ("", "nvidia")]
    name = "-".join(["strip_gate-sweep" if sweep else "strip_gate", *words])
    return Path(__file__).parent / "results" / f"{name}.json"


if __name__ == "__main__":
    configure_logging()
    sys.exit(run_command("strip_gate", main))
