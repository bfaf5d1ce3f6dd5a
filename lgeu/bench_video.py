"""`lgeu bench --video`: how fast a video goes through the pipeline here, and which stage the others wait for."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.backend import Device
from runtime.bench_video import PipelineMeasurement, measure_pipeline
from runtime.boxes import read_boxes
from runtime.detector import YoloxDetector
from runtime.embedder import Embedder
from runtime.errors import InputError
from runtime.files import write_json
from runtime.people import FindPeople, detected_by, frames_at_once, given_boxes
from runtime.pipeline import Pipeline
from runtime.progress import progress
from runtime.sources import describe_source, is_stream, open_source
from runtime.spool import EmbeddingsSpool


@dataclass(frozen=True)
class VideoPlan:
    """What to measure with.

    Attributes:
        video: a file or a folder of frames.
        boxes: MOT file with its people.
        detector: YOLOX in ONNX, or an engine of it, that finds them; one of the two.
        frames: to measure over; None for all.
        rounds: how often.
        device: of the detector.

    Raises:
        InputError: neither or both say where people are, or the video is a stream.
    """

    video: str
    boxes: Path | None
    detector: Path | None
    frames: int | None
    rounds: int
    device: Device

    def __post_init__(self) -> None:
        if (self.boxes is None) == (self.detector is None):
            raise InputError("--video needs to know where people are: give either --boxes FILE or --detector YOLOX")
        if is_stream(self.video):
            raise InputError(
                f"{describe_source(self.video)} is a stream, which is as fast as it comes; measure with a video file"
            )

    @contextmanager
    def people(self) -> Iterator[tuple[FindPeople, int]]:
        """How people are found, and on how many frames at once; for the length of the block."""
        if self.detector is None:
            assert self.boxes is not None  # noqa: S101
            yield given_boxes(read_boxes(self.boxes)), 1
            return
        with YoloxDetector(self.detector, device=self.device) as detector:
            yield detected_by(detector), frames_at_once(detector, live=False)


def bench_video(embedder: Embedder, plan: VideoPlan, about: Mapping[str, Any], json: Path | None) -> None:
    """Measure, print a table and write JSON.

    Args:
        embedder: to measure with, at its batch size.
        plan: the video, and how long.
        about: the machine, for the JSON; `not_run`, the backends that would have come before, is printed, too.
        json: where to write the figures; None for nowhere.

    Raises:
        LgeuError: something cannot be opened, or a stage failed.
    """
    size = embedder.manifest.embedding_size

    def make() -> Pipeline:
        return Pipeline(open_source(Path(plan.video)), find, at_once, embedder)

    with (
        plan.people() as (find, at_once),
        tempfile.TemporaryDirectory() as folder,
        EmbeddingsSpool(Path(folder), size) as spool,
        progress(list[int](), "measuring", total=2 * plan.rounds, unit="turn") as bar,
    ):
        measured = measure_pipeline(make, spool.append, rounds=plan.rounds, frames=plan.frames, after_turn=bar.update)
    print(video_table(measured, f"{embedder.backend.name}, batch {embedder.batch_size}"))
    print("".join(f"not run: {reason}\n" for reason in about["not_run"]), end="")
    if json is not None:
        write_json(json, {**about, "video": plan.video, "batch": embedder.batch_size, "pipeline": asdict(measured)})


def video_table(measured: PipelineMeasurement, what: str) -> str:
    """The measurements as plain text."""
    p50, p90, p99 = (f"{value:.0f}" for value in (measured.p50, measured.p90, measured.p99))
    lines = [f"{'stage':<10}{'ms a frame, alone':>19}{'busy':>7}"]
    lines += [f"{stage.name:<10}{stage.alone:>19.2f}{100 * stage.busy:>6.0f}%" for stage in measured.stages]
    return "\n".join(
        [
            *lines,
            f"{measured.frames_per_second:.1f} frames/s, {measured.people_per_second:.1f} people/s with {what}",
            f"one thread for everything: {measured.in_turn:.1f} frames/s; pipeline / one thread: {measured.gain:.2f}",
            f"from a frame to its result: {p50} ms (p50), {p90} ms (p90), {p99} ms (p99)",
            f"bottleneck: {measured.bottleneck}",
        ]
    )
