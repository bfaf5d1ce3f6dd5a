"""`lgeu bench`: how fast a model runs here, on each backend that can run it."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from runtime.backend import BackendName, Device
from runtime.bench import Plan, measure, turns
from runtime.cores import usable_cores
from runtime.embedder import Embedder
from runtime.errors import DeviceError, InputError, MissingDependencyError
from runtime.files import write_json
from runtime.manifest import Precision
from runtime.progress import progress

from .bench_table import table
from .bench_video import VideoPlan, bench_video
from .models import check_model
from .options import DeviceOption, PluginOption
from .outputs import check_outputs

_BATCHES = (1, 8, 32, 64)
# About what a person takes of a video with 1080 lines.
_CROP_SIZE = (128, 64)

Ways = Mapping[str, Callable[[], Embedder]]

logger = logging.getLogger(__name__)


def bench(
    model: Annotated[Path, typer.Argument(help="An .onnx file, an engine or a checkpoint.")],
    backend: Annotated[
        list[str] | None,  # Typer takes no list of literals; the names are checked where they are opened
        typer.Option(
            "--backend", help="Measure this one, or fail; may be repeated. Without it: all that can run here."
        ),
    ] = None,
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
    batch: Annotated[
        list[int] | None,
        typer.Option("--batch", min=1, help="Batch size; may be repeated. Without it: 1, 8, 32, 64 and the largest."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.0, help="About how long to measure a backend at a batch size (4); no videos."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How many turns each of them takes.")] = 5,
    precision: Annotated[Precision, typer.Option("--precision", help="Of a checkpoint; fp16 needs a GPU.")] = "fp32",
    compiled: Annotated[bool, typer.Option("--compile", help="Run a checkpoint through torch.compile.")] = False,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")] = None,
    video: Annotated[
        str | None,
        typer.Option("--video", metavar="FILE", help="Measure a video's way through the pipeline, stage by stage."),
    ] = None,
    boxes: Annotated[Path | None, typer.Option("--boxes", help="Of the video's people, as for infer.")] = None,
    detector: Annotated[Path | None, typer.Option("--detector", help="That finds them, as for infer.")] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Of the video, to measure over; all without it.")
    ] = None,
) -> None:
    """Latencies and images/s here: preprocessing, copies and the network apart where the backend can tell.

    The crops are noise of 128x64: how long they take does not depend on what they show. With --video: the pipeline of
    `lgeu infer` on one backend (--backend, or the best) at one batch size, beside the same work in one thread.
    """
    check_outputs((json,), (model, plugin, Path(video) if video else None, boxes, detector))
    ways = _ways(
        model, cast("list[BackendName] | None", backend), device, plugin, batch, precision=precision, compiled=compiled
    )
    if video is not None:
        if seconds is not None:
            raise InputError("--seconds given with --video, which is measured whole; give --frames and --rounds")
        video_plan = VideoPlan(video, boxes, detector, frames, rounds, device)
        with ExitStack() as resources:
            embedder, not_run = _open_one(ways, resources, backend, batch)
            bench_video(embedder, video_plan, {**_about(model), "not_run": not_run}, json)
        return
    if boxes is not None or detector is not None or frames is not None:
        raise InputError("--boxes, --detector and --frames go with --video")
    plan = Plan(rounds=rounds) if seconds is None else Plan(seconds, rounds)
    with ExitStack() as resources:
        opened, not_run = _open(ways, resources, must=bool(backend))
        embedders = [resources.enter_context(sized) for each in opened for sized in _sizes(each, batch)]
        about = {**_about(model), "crop": list(_CROP_SIZE), "plan": asdict(plan)}
        with progress(list[int](), "measuring", total=turns(embedders, plan), unit="turn") as bar:
            crop = np.random.default_rng(0).integers(0, 256, (*_CROP_SIZE, 3), np.uint8)
            measurements = measure(embedders, crop, plan, bar.update)
    print(table(measurements, about, not_run))
    if json is not None:
        write_json(json, {**about, "not_run": not_run, "measurements": [asdict(each) for each in measurements]})


def _open_one(
    ways: Ways, resources: ExitStack, backends: Sequence[str] | None, batches: Sequence[int] | None
) -> tuple[Embedder, list[str]]:
    """The model on the first backend that can be opened here, at one batch size, and why it is none before that."""
    if len(backends or ()) > 1 or len(batches or ()) > 1:
        raise InputError("--video measures one backend at one batch size; give --backend and --batch once at most")
    (opened,), not_run = _open(ways, resources, must=bool(backends), most=1)
    return (resources.enter_context(Embedder(opened.backend, batches[0])) if batches else opened), not_run


def _ways(
    model: Path,
    backends: Sequence[BackendName] | None,
    device: Device,
    plugin: Path | None,
    batches: Sequence[int] | None,
    *,
    precision: Precision,
    compiled: bool,
) -> Ways:
    """What to try to run the model with."""
    check_model(model, plugin)
    if model.suffix == ".pt":
        if backends:
            raise InputError(f"{model} is a checkpoint, which PyTorch alone runs; leave --backend out")
        from train.embedder import open_checkpoint

        return {"torch": partial(open_checkpoint, model, device, precision=precision, compiled=compiled)}
    if precision != "fp32" or compiled:
        raise InputError(f"--precision and --compile are for checkpoints; {model} is what it was written as")
    names = backends or ["auto"]
    if model.suffix == ".onnx" and not backends:
        names = ["onnxruntime"] if device == "cuda" else ["onnxruntime", "openvino"]
    largest = max(batches or _BATCHES)
    opened = partial(Embedder.open, model, device=device, plugin=plugin)
    # Only this one needs to know: its engine is built for it.
    sizes = {name: largest if name == "onnxruntime-tensorrt" else None for name in names}
    return {name: partial(opened, backend=name, batch_size=size) for name, size in sizes.items()}


def _open(ways: Ways, resources: ExitStack, *, must: bool, most: int | None = None) -> tuple[list[Embedder], list[str]]:
    """Those that can be opened here, at most so many, and why others cannot."""
    opened, not_run = list[Embedder](), list[str]()
    for name, way in ways.items():
        if len(opened) == most:
            break
        try:
            opened.append(resources.enter_context(way()))
        except (DeviceError, MissingDependencyError) as error:
            # With nothing else to run there is nothing to measure.
            if must or len(ways) == 1:
                raise
            not_run.append(f"{name}: {error}")
    if not opened:
        raise MissingDependencyError(f"nothing runs this model here: {'; '.join(not_run)}")
    return opened, not_run


def _sizes(embedder: Embedder, batches: Sequence[int] | None) -> list[Embedder]:
    """An embedder for each batch size, on one backend."""
    backend, limit = embedder.backend, embedder.backend.max_batch
    if batches:
        return [Embedder(backend, size) for size in dict.fromkeys(batches)]
    sizes = sorted({*_BATCHES, limit or 0} - {0})
    if left_out := [size for size in sizes if limit is not None and size > limit]:
        logger.info("%s takes up to %d; left out: %s", backend.name, limit, ", ".join(map(str, left_out)))
    return [Embedder(backend, size) for size in sizes if size not in left_out]


def _about(model: Path) -> dict[str, Any]:
    from eval.machine import describe_machine, installed_versions

    return {
        "model": model.name,
        "machine": describe_machine(),
        "versions": installed_versions(),
        "threads": usable_cores(),
        # What else runs here is in every figure.
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
