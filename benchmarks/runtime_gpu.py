"""The runtime on a GPU: what a model's speed is there, what the pipeline leaves of it, and whether memory stays flat.

    PYTHONPATH=. python benchmarks/runtime_gpu.py
    PYTHONPATH=. python benchmarks/runtime_gpu.py --only batch 32
    PYTHONPATH=. python benchmarks/runtime_gpu.py --only pipeline torch-fp16-compiled --out FILE.json

Run from the project's root (PYTHONPATH is not needed where the project is installed). It needs torch with a GPU, timm,
OpenCV and tqdm; ONNX Runtime and TensorRT are measured where they are installed, and named with the reason where they
are not. Without --checkpoint the model is LGEU-ResNet50 at 256x128 with random weights: what it computes takes the
same time whatever its weights are.

The pieces are
  batch N                    latencies and images/s of all contenders in turn, preprocessing and copies apart
  pipeline CONTENDER         people/s of the video pipeline on frames in memory, with their boxes given, as a share of
                             the model's own speed on images that are ready; and the share on a video that is decoded
  memory CONTENDER           memory in use over 10,000 batches of changing sizes
  copies cuda-python|pycuda  the same for copies alone, on one package and then the other

Frames are made up unless a --video with its --boxes is given. The results are written after every piece, and pieces
that are in the file already are kept as they are: a run that was cut off, by --seconds or otherwise, goes on where it
stopped, with the same settings, GPU and versions only; what could not be run is tried again. The ONNX file and the
engine are made by the first piece that needs them, which takes so much longer, and kept in --work. --device cpu shows
that all of this runs, and nothing else.
"""

import argparse
import json
import logging
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pieces import done_before

from eval.machine import describe_machine, installed_versions
from runtime.console import configure_logging, run_command
from runtime.dependencies import require, require_base
from runtime.errors import CheckFailedError, DeviceError, InputError, MissingDependencyError
from runtime.files import check_target, require_file, sha256, write_json

if TYPE_CHECKING:
    from runtime_gpu_models import Models
    from runtime_gpu_pieces import GivenVideo, Settings

SAME = ("what", "device", "machine", "versions", "model", "frames", "settings")
CONTENDERS = ("torch-fp32", "torch-fp16", "torch-fp16-compiled", "onnxruntime", "tensorrt")
POSITIVE = (
    *("batch", "rounds", "pipeline_batch", "input", "frames", "frame_size", "people"),
    *("memory_batches", "memory_largest"),
)
RESULTS = Path(__file__).parent / "results"

log = logging.getLogger(__name__)


class Measures(Protocol):
    """What measures a piece."""

    def measure(self, piece: str) -> dict[str, Any]:
        """The figures of the piece of that name."""
        ...


def main() -> None:
    """Measure piece by piece, and write after each."""
    arguments = parse()
    torch = require_packages(arguments.device)
    from runtime_gpu_pieces import Bench

    settings, video = settings_of(arguments), given_video(arguments)
    wanted = chosen(settings.pieces(), arguments.only)
    check_files(arguments)
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    out = arguments.out or RESULTS / f"runtime-gpu-{short_name(device)}.json"
    check_target(out)
    report = circumstances(torch, device, arguments, settings)
    report["pieces"] = done_before(out, report, SAME)
    report["not_run"] = json.loads(out.read_text()).get("not_run", {}) if out.exists() else {}
    left = [piece for piece in wanted if piece not in report["pieces"]]
    must = [piece for piece in left if settings.must and not piece.startswith("copies ")]
    bench = Bench(models_of(arguments, settings), settings, video)
    measure_all(bench, left, report, out, seconds=arguments.seconds, must=must)


def require_packages(device: str) -> Any:
    """Torch, once all that every piece needs is here.

    Raises:
        MissingDependencyError: a package is not.
        DeviceError: a GPU is to be measured, and torch finds none.
    """
    require_base()
    torch = require("torch", purpose="this benchmark", install="pip install torch")
    require("timm", purpose="the model", install="pip install timm")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"torch {torch.__version__} finds no GPU; this measures one (--device cpu shows that it runs, and no more)"
        )
    return torch


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", default=[], metavar="WORD", help="pieces whose names have all of these words")
    add("--seconds", type=float, default=420.0, help="begin no piece after this long (default: 420)")
    add("--out", type=Path, help="default: benchmarks/results/runtime-gpu-<gpu>.json")
    add("--work", type=Path, default=Path("runs/runtime-gpu"), help="folder for what is made (default: %(default)s)")
    add("--device", choices=["cuda", "cpu"], default="cuda")
    add("--checkpoint", type=Path, help="a model of your own")
    add("--backbone", default="resnet50", help="timm's, of a model with random weights (default: resnet50)")
    add("--input", type=int, nargs=2, default=[256, 128], metavar=("H", "W"), help="its input (default: 256 128)")
    add("--onnx", type=Path, help="a file exported from the checkpoint; without it one is exported")
    add("--engine", type=Path, help="an engine of that file; without it one is built where TensorRT is installed")
    add("--contenders", nargs="+", choices=CONTENDERS, help="these, or fail (default: all that run here)")
    add("--batch", type=int, nargs="+", default=[1, 8, 32, 128])
    add("--plan-seconds", type=float, default=6.0, help="to spend on a contender at a batch size (default: 6)")
    add("--rounds", type=int, default=7, help="turns of each (default: 7)")
    add("--pipeline-batch", type=int, default=32)
    add("--video", type=Path, help="a video for the pipeline, in place of one that is made up")
    add("--boxes", type=Path, help="MOT file with its people")
    add("--frames", type=int, default=600, help="of the video; all of them are kept in memory (default: 600)")
    add("--frame-size", type=int, nargs=2, default=[1280, 720], metavar=("W", "H"), help="where it is made up")
    add("--people", type=int, default=16, help="on a frame where it is made up (default: 16)")
    add("--memory-batches", type=int, default=10_000)
    add("--memory-largest", type=int, default=32, help="batch of these (default: 32)")
    return parser.parse_args()


def settings_of(arguments: argparse.Namespace) -> "Settings":
    """What the command line asks for.

    Raises:
        InputError: a number that has to be positive is not.
    """
    from runtime_gpu_frames import Scene
    from runtime_gpu_pieces import Settings

    for name in POSITIVE:
        value = getattr(arguments, name)
        if min(value if isinstance(value, list) else [value]) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {value}; expected at least 1")
    width, height = arguments.frame_size
    return Settings(
        contenders=tuple(arguments.contenders or CONTENDERS),
        must=arguments.contenders is not None,
        batches=tuple(arguments.batch),
        plan_seconds=arguments.plan_seconds,
        rounds=arguments.rounds,
        pipeline_batch=arguments.pipeline_batch,
        scene=Scene(width, height, arguments.frames, arguments.people),
        memory_batches=arguments.memory_batches,
        memory_largest=arguments.memory_largest,
    )


def given_video(arguments: argparse.Namespace) -> "GivenVideo | None":
    """The video of the command line, and its people.

    Raises:
        InputError: one without the other, or a file that is not there.
    """
    from runtime_gpu_pieces import GivenVideo

    if (arguments.video is None) != (arguments.boxes is None):
        raise InputError("--video and --boxes go together: the pipeline is measured on people whose places are known")
    if arguments.video is None:
        return None
    return GivenVideo(require_file(arguments.video, "video"), require_file(arguments.boxes, "boxes file"))


def chosen(pieces: list[str], words: list[str]) -> list[str]:
    """The pieces whose names have all of the words.

    Raises:
        InputError: none has.
    """
    found = [piece for piece in pieces if set(words) <= set(piece.split())]
    if not found:
        raise InputError(f"no piece has all of: {' '.join(words)}; the pieces are: {', '.join(pieces)}")
    return found


def check_files(arguments: argparse.Namespace) -> None:
    """Refuse a model's file that is not there."""
    given = {"checkpoint": arguments.checkpoint, "ONNX file": arguments.onnx, "engine": arguments.engine}
    for what, path in given.items():
        if path is not None:
            require_file(path, what)


def models_of(arguments: argparse.Namespace, settings: "Settings") -> "Models":
    """The model of the command line; one with random weights is made unless it is there."""
    from runtime_gpu_models import Models

    from train.checkpoint import untrained_checkpoint

    height, width = arguments.input
    random: Path = arguments.work / f"{arguments.backbone}-{height}x{width}.pt"
    if arguments.checkpoint is None and not random.exists():
        untrained_checkpoint(random, backbone=arguments.backbone, height=height, width=width)
    return Models(
        checkpoint=arguments.checkpoint or random,
        work=arguments.work,
        device=arguments.device,
        onnx=arguments.onnx,
        engine=arguments.engine,
        largest=max(*settings.batches, settings.pipeline_batch, settings.memory_largest),
    )


def described_model(arguments: argparse.Namespace) -> dict[str, Any]:
    """What runs, by the hashes of what was given."""
    given = {"checkpoint": arguments.checkpoint, "onnx": arguments.onnx, "engine": arguments.engine}
    hashes = {f"{what}_sha256": sha256(path) for what, path in given.items() if path is not None}
    if arguments.checkpoint is not None:
        return hashes
    return {"backbone": arguments.backbone, "input": arguments.input, "weights": "random", **hashes}


def circumstances(torch: Any, device: str, arguments: argparse.Namespace, settings: "Settings") -> dict[str, Any]:
    """Where, when, with what and on what."""
    return {
        "what": "the runtime on a GPU: contenders by batch size, the pipeline as a share of the model alone, memory",
        "date": date.today().isoformat(),
        "command": shlex.join(["python", *(Path(part).name for part in sys.argv)]),
        "device": device,
        "machine": describe_machine(),
        "versions": installed_versions() | {"cuda": torch.version.cuda},
        "model": described_model(arguments),
        "frames": "synthetic"
        if arguments.video is None
        else {"video_sha256": sha256(arguments.video), "boxes_sha256": sha256(arguments.boxes)},
        "settings": json.loads(json.dumps(asdict(settings))),
    }


def measure_all(
    bench: Measures, pieces: list[str], report: dict[str, Any], out: Path, *, seconds: float, must: Sequence[str]
) -> None:
    """Every piece, each written when it is done; one of `must` that cannot be measured is an error.

    Raises:
        CheckFailedError: the time was up before the last.
    """
    start = time.monotonic()
    for number, piece in enumerate(pieces):
        if time.monotonic() - start > seconds:
            raise CheckFailedError(f"{len(pieces) - number} pieces are left after {seconds:.0f} s; run again for them")
        begin = time.monotonic()
        try:
            report["pieces"][piece] = bench.measure(piece) | {"took_seconds": time.monotonic() - begin}
            report["not_run"].pop(piece, None)
            log.info("%s: %s", piece, json.dumps(report["pieces"][piece]))
        except (DeviceError, InputError, MissingDependencyError) as error:
            if piece in must:
                raise
            report["not_run"][piece] = str(error)
            log.warning("%s is not run: %s", piece, error)
        write_json(out, report)


def short_name(device: str) -> str:
    """For a file: "NVIDIA H200" is h200."""
    return "-".join(word for word in re.split(r"[^a-z0-9]+", device.lower()) if word not in ("", "nvidia"))


if __name__ == "__main__":
    configure_logging()
    sys.exit(run_command("runtime_gpu", main))
