"""The pieces of `runtime_gpu.py`."""

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from runtime_gpu_frames import DecodedFrames, Scene, write_video
from runtime_gpu_memory import COPIERS, copies, growth_of_batches
from runtime_gpu_models import Models, opened

from runtime.backend import Backend, PendingEmbeddings, QueueingBackend
from runtime.bench import Plan, measure
from runtime.boxes import FrameBoxes, read_boxes
from runtime.embedder import Embedder
from runtime.errors import DeviceError
from runtime.opencv_threads import one_opencv_thread
from runtime.people import given_boxes
from runtime.pipeline import Pipeline
from runtime.sources import Source, VideoFile
from runtime.video import Frame

WANTED_SHARE = 0.9

BARE, DECODED, VIDEO = "bare model", "pipeline, decoded frames", "pipeline, video"
# torch compiles anew for sizes that change.
_NOT_IN_MEMORY = "torch-fp16-compiled"
_CROP = (128, 64)
# After so long no other round begins.
_PIPELINE_SECONDS = 90.0


@dataclass(frozen=True)
class Settings:
    """What is measured, and for how long.

    Attributes:
        contenders: what runs the model.
        must: whether one that cannot run is an error.
        batches: batch sizes that are measured alone.
        plan_seconds: for a contender at a batch size.
        rounds: that all contenders take their turns in.
        pipeline_batch: of the model in the pipeline, and bare beside it.
        scene: made up for the pipeline.
        memory_batches: so many batches must not make memory grow.
        memory_largest: of these batches.
    """

    contenders: tuple[str, ...]
    must: bool
    batches: tuple[int, ...]
    plan_seconds: float
    rounds: int
    pipeline_batch: int
    scene: Scene
    memory_batches: int
    memory_largest: int

    def pieces(self) -> list[str]:
        """All, in the order in which they are measured."""
        of_contenders = [
            f"{kind} {name}"
            for kind in ("pipeline", "memory")
            for name in self.contenders
            if (kind, name) != ("memory", _NOT_IN_MEMORY)
        ]
        return [*(f"batch {size}" for size in self.batches), *of_contenders, *(f"copies {name}" for name in COPIERS)]


@dataclass(frozen=True)
class GivenVideo:
    """A video, and a MOT file with its people."""

    path: Path
    boxes: Path


class Bench:
    """Measures a piece by its name."""

    def __init__(self, models: Models, settings: Settings, video: GivenVideo | None) -> None:
        """Nothing is measured yet.

        Args:
            models: the model's files.
            settings: what is measured.
            video: for the pipeline; None makes one up.
        """
        self._models = models
        self._settings = settings
        self._video = video

    def measure(self, piece: str) -> dict[str, Any]:
        """One piece.

        Raises:
            DeviceError: the GPU failed, or there is none.
            MissingDependencyError: what it measures is not installed.
        """
        kind, _, what = piece.partition(" ")
        load = os.getloadavg()[0]
        measures: dict[str, Callable[[str], dict[str, Any]]] = {
            "batch": lambda size: self._speeds(int(size)),
            "pipeline": self._pipeline,
            "memory": self._memory,
            "copies": self._copies,
        }
        try:
            return measures[kind](what) | {"load": load}
        finally:
            # The next piece has the GPU for itself.
            gc.collect()
            torch.cuda.empty_cache()

    def _speeds(self, size: int) -> dict[str, Any]:
        settings = self._settings
        crop = np.random.default_rng(0).integers(0, 256, (*_CROP, 3), np.uint8)
        plan = Plan(settings.plan_seconds, settings.rounds)
        with opened(self._models, settings.contenders, size, must=settings.must) as (embedders, not_run):
            measured = measure(list(embedders.values()), crop, plan)
        return {
            "measurements": {name: asdict(each) for name, each in zip(embedders, measured, strict=True)},
            "not_run": not_run,
        }

    def _pipeline(self, contender: str) -> dict[str, Any]:
        with self._embedder(contender, self._settings.pipeline_batch) as embedder, one_opencv_thread():
            return shares(embedder, *self._footage, self._settings.rounds)

    def _memory(self, contender: str) -> dict[str, Any]:
        settings = self._settings
        with self._embedder(contender, settings.memory_largest) as embedder:
            return growth_of_batches(
                embedder.backend, self._models.device, settings.memory_batches, settings.memory_largest
            )

    def _copies(self, package: str) -> dict[str, Any]:
        if self._models.device == "cpu":
            raise DeviceError("copies are of a GPU; leave out --device cpu")
        return copies(package, self._settings.memory_batches, self._settings.memory_largest)

    @contextmanager
    def _embedder(self, contender: str, batch: int) -> Iterator[Embedder]:
        with self._models.open(contender, batch) as embedder:
            yield embedder

    @cached_property
    def _footage(self) -> tuple[Path, list[Frame], Mapping[int, FrameBoxes]]:
        """The video, its frames, and the people on them."""
        scene = self._settings.scene
        if self._video is not None:
            path, boxes = self._video.path, read_boxes(self._video.boxes)
        else:
            name = f"synthetic-{scene.width}x{scene.height}-{scene.people}-people-{scene.frames}-frames.mp4"
            path, boxes = self._models.work / name, scene.boxes()
            if not path.exists():
                write_video(scene, path)
        frames = list(islice(VideoFile(path).frames(Event()), scene.frames))
        return path, frames, boxes


def shares(
    embedder: Embedder, video: Path, frames: list[Frame], boxes: Mapping[int, FrameBoxes], rounds: int
) -> dict[str, Any]:
    """The pipeline's speed on frames in memory and on the video, as shares of the model's on images that are ready.

    All three take turns in every round, after one that does not count; shares are medians of the rounds' ratios. The
    model's own speed includes the copies to and from the GPU, with one batch ahead where the backend takes it.
    """
    batch, limit = embedder.batch_size, len(frames)
    busy: dict[str, Mapping[str, float]] = {}

    def bare() -> int:
        return run_bare(embedder.backend, batch, -(-people_on(frames, boxes) // batch))

    def through(name: str, source: Callable[[], Source]) -> Callable[[], int]:
        def run() -> int:
            with Pipeline(source(), given_boxes(boxes), 1, embedder).start() as runner:
                people = sum(len(frame.features) for frame in islice(runner, limit))
                busy[name] = runner.busy()
            return people

        return run

    ways = {
        BARE: bare,
        DECODED: through(DECODED, lambda: DecodedFrames(frames)),
        VIDEO: through(VIDEO, lambda: VideoFile(video)),
    }
    rates = in_rounds(ways, rounds)
    return {
        "batch": batch,
        "frames": len(frames),
        "frame_size": list(frames[0].pixels.shape[1::-1]),
        "people": people_on(frames, boxes),
        "images_per_second": {name: median(values) for name, values in rates.items()},
        "share": median(a / b for a, b in zip(rates[DECODED], rates[BARE], strict=True)),
        "share_with_decoding": median(a / b for a, b in zip(rates[VIDEO], rates[BARE], strict=True)),
        "wanted_share": WANTED_SHARE,
        "busy": {name: dict(stages) for name, stages in busy.items()},
        "rounds": rates,
    }


def in_rounds(ways: Mapping[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Images a second of each way in each round; a slow machine gets fewer rounds, and one at least."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    begin = time.perf_counter()
    for number in range(-1, rounds):
        if number > 0 and time.perf_counter() - begin > _PIPELINE_SECONDS:
            break
        for name in list(ways)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            images = ways[name]()
            if number >= 0:
                rates[name].append(images / (time.perf_counter() - start))
    return rates


def people_on(frames: list[Frame], boxes: Mapping[int, FrameBoxes]) -> int:
    """How many people the pipeline embeds."""
    return sum(
        len(boxes[frame.index].clipped(frame.pixels.shape[1], frame.pixels.shape[0]))
        for frame in frames
        if frame.index in boxes
    )


def run_bare(backend: Backend, batch: int, batches: int) -> int:
    """Run images that are ready, batch after batch, and say how many."""
    images: NDArray[np.uint8] = np.zeros((batch, backend.manifest.height, backend.manifest.width, 3), np.uint8)
    ahead: PendingEmbeddings | None = None
    for _ in range(batches):
        if not isinstance(backend, QueueingBackend):
            backend.run(images)
            continue
        following = backend.submit(images)
        if ahead is not None:
            ahead.result()
        ahead = following
    if ahead is not None:
        ahead.result()
    return batch * batches
