"""`lgeu demo`: the whole way from images to the parity report, in one go and on data that needs no download."""

import csv
import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runtime.errors import CheckFailedError, DeviceError, InputError, MissingDependencyError
from runtime.files import write_json
from runtime.manifest import BatchProfile, Flavour

from .models import open_model

if TYPE_CHECKING:
    from eval.datasets import ReidDataset
    from eval.evaluation import Evaluation
    from train.recipe import Recipe

    from .synthetic.video import SyntheticVideo
    from .synthetic.world import World, WorldSize

logger = logging.getLogger(__name__)

SYNTHETIC = "synthetic-pedestrians"
RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "demo.yaml"
SizeName = Literal["tiny", "default"]

_BATCH = BatchProfile(1, 8, 32)
_TARGET_WITHOUT_GPU = "SM86"
_EXPORT_CROPS = 64
_MARK = ".lgeu-demo"


@dataclass(frozen=True)
class DemoSize:
    """How much the demo draws and trains.

    Attributes:
        world: of the synthetic data; unused with a real data set.
        epochs: of training; None takes the recipe's.
        least_map: mAP that training on the synthetic data must reach, in 0..1; 0 for a run too short to promise any.
    """

    world: "WorldSize"
    epochs: int | None
    least_map: float


@dataclass(frozen=True)
class Stage:
    """One stage of the demo: how long it took, or why it was not run, and what came out."""

    name: str
    seconds: float | None
    outcome: str


@dataclass
class DemoResult:
    """What came out.

    Attributes:
        data: name of the data set; has "synthetic" in it where that is what it is.
        stages: in order.
        figures: of the untrained and the trained network, as fractions.
        failures: what was not as it must be; empty where all is well.
    """

    data: str
    stages: list[Stage] = field(default_factory=list)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def table(self) -> str:
        """The stages for a terminal."""
        width = max(len(stage.name) for stage in self.stages)
        lines = []
        for stage in self.stages:
            seconds = "not run" if stage.seconds is None else f"{stage.seconds:.1f} s"
            lines.append(f"{stage.name:<{width}}  {seconds:>8}  {stage.outcome}")
        return "\n".join(lines)


def demo_size(name: SizeName) -> DemoSize:
    """The sizes that the command line offers."""
    from .synthetic.world import WorldSize

    if name == "tiny":
        return DemoSize(WorldSize(48, 12, 12, 3, 4, 8, 4, 40), epochs=12, least_map=0.0)
    return DemoSize(WorldSize(140, 40, 60, 4, 5, 40, 6, 100), epochs=None, least_map=0.6)


def run_demo(
    out: Path, size: DemoSize, data: Path | None = None, split_by: str | None = None, seed: int = 0
) -> DemoResult:
    """Draw, train, export, build, run and prove; writes everything and `demo.json` into `out`.

    Args:
        out: a folder that does not exist or is empty, or an earlier demo's, which is replaced.
        size: how much.
        data: a real data set in place of the synthetic one; there is then no video.
        split_by: for `data`: see `eval.datasets.open_dataset`.
        seed: of the synthetic world.

    Returns:
        What came out; a stage that this machine cannot run is named in it with the reason.

    Raises:
        InputError: `out` holds something already, or `data` cannot be used.
        CheckFailedError: at the end, if training or parity were not as they must be.
        LgeuError: a stage failed.
    """
    _claim(out)
    demo = _Demo(out, size, seed)
    demo.run(data, split_by)
    result = demo.result
    write_json(out / "demo.json", dataclasses.asdict(result))
    print(f"\n{result.table()}\n\ndata: {result.data}\nreport: {out / 'report' / 'report.html'}")
    if result.failures:
        raise CheckFailedError("; ".join(result.failures))
    return result


def _claim(out: Path) -> None:
    """Make `out` an empty folder, unless it holds what no demo wrote."""
    if out.exists() and not (out / _MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} holds something that no demo wrote; name another folder with --out")
    try:
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / _MARK).touch()
    except OSError as error:
        raise InputError(f"cannot write {out}: {error}") from error


class _Demo:
    """The stages, in the order they run; each hands the next a file."""

    def __init__(self, out: Path, size: DemoSize, seed: int) -> None:
        self.out = out
        self.size = size
        self.seed = seed
        self.result = DemoResult(data=SYNTHETIC)
        self.checkpoint = out / "training" / "checkpoint.pt"
        self.onnx = out / "onnx" / "model.onnx"
        self.fp16 = out / "onnx" / "model.fp16.onnx"
        self.engines: list[Path] = []

    def run(self, data: Path | None, split_by: str | None) -> None:
        """All stages."""
        world = self._world() if data is None else None
        dataset = self._open(world, data, split_by)
        self._untrained(dataset)
        self._train(dataset)
        self._export(dataset)
        self._build("tensorrt-rtx")
        self._build("tensorrt")
        self._video(world, dataset)
        self._parity(dataset)

    @contextmanager
    def _stage(self, name: str, *, may_lack: bool = False) -> Iterator[Callable[[str], None]]:
        """Time a stage; what it yields takes the outcome.

        With `may_lack`, a library or device that this machine lacks is no error: the stage was not run.
        """
        logger.info("\n== %s", name)
        outcome: list[str] = []
        started = time.perf_counter()
        try:
            yield outcome.append
        except (MissingDependencyError, DeviceError) as error:
            if not may_lack:
                raise
            self._not_run(name, str(error))
            return
        self.result.stages.append(Stage(name, time.perf_counter() - started, "; ".join(outcome)))
        logger.info("%s: %s", name, "; ".join(outcome))

    def _not_run(self, name: str, reason: str) -> None:
        logger.info("not run: %s", reason)
        self.result.stages.append(Stage(name, None, reason))

    def _world(self) -> "World":
        from .synthetic.world import make_world

        return make_world(self.size.world, self.seed)

    def _open(self, world: "World | None", data: Path | None, split_by: str | None) -> "ReidDataset":
        from eval.datasets import open_dataset

        from .synthetic.dataset import write_dataset

        with self._stage("data") as done:
            path = data if world is None else write_dataset(world, self.out / "data" / SYNTHETIC)
            dataset = open_dataset(path, split_by)  # type: ignore[arg-type]
            dataset.require_test_half()
            done(f"{len(dataset.train)} training, {len(dataset.query)} query, {len(dataset.gallery)} gallery images")
        self.result.data = dataset.name
        return dataset

    def _recipe(self) -> "Recipe":
        from train.recipe import load_recipe

        recipe = load_recipe(RECIPE)
        if self.size.epochs is None:
            return recipe
        shorter = self.size.epochs / recipe.epochs
        milestones = [round(milestone * shorter) for milestone in recipe.milestones]
        return recipe.model_copy(update={"epochs": self.size.epochs, "milestones": milestones})

    def _evaluate(self, name: str, checkpoint: Path, dataset: "ReidDataset") -> "Evaluation":
        from eval.evaluation import evaluate_model, figures

        with open_model(checkpoint) as embedder:
            evaluation = evaluate_model(embedder, dataset, model=checkpoint.name)
        self.result.figures[name] = figures(evaluation.metrics)
        return evaluation

    def _untrained(self, dataset: "ReidDataset") -> None:
        from train.checkpoint import untrained_checkpoint

        with self._stage("untrained network") as done:
            recipe = self._recipe()
            path = untrained_checkpoint(self.out / "untrained.pt", **recipe.architecture(), seed=recipe.seed)
            metrics = self._evaluate("untrained", path, dataset).metrics
            done(f"rank-1 {100 * metrics.rank1:.1f}, mAP {100 * metrics.mAP:.1f}")

    def _train(self, dataset: "ReidDataset") -> None:
        from train.fit import fit

        with self._stage("train") as done:
            fit(self._recipe(), dataset, self.checkpoint.parent)
            metrics = self._evaluate("trained", self.checkpoint, dataset).metrics
            done(f"rank-1 {100 * metrics.rank1:.1f}, mAP {100 * metrics.mAP:.1f}")
        before, after = (self.result.figures[name]["mAP"] for name in ("untrained", "trained"))
        if self.result.data == SYNTHETIC and after < self.size.least_map:
            self.result.failures.append(f"mAP after training is {after:.3f}; expected at least {self.size.least_map}")
        if self.size.least_map and 1 - after > (1 - before) / 2:
            self.result.failures.append(f"1 - mAP went from {1 - before:.3f} to {1 - after:.3f}; expected half of it")

    def _export(self, dataset: "ReidDataset") -> None:
        from export.onnx_export import export_checkpoint

        with self._stage("export") as done:
            crops = [dataset.read(image) for image in dataset.query[:_EXPORT_CROPS]]
            report = export_checkpoint(self.checkpoint, self.onnx.parent, crops)
            logger.info("%s", report)
            done("model.onnx and model.fp16.onnx agree with torch")

    def _build(self, flavour: Flavour) -> None:
        from engines.builder import build_engine
        from runtime.tensorrt_library import current_gpu_architecture, default_plugin, load_tensorrt

        name = f"build ({flavour})"
        with self._stage(name, may_lack=True) as done:
            load_tensorrt(flavour)
            if not default_plugin().is_file():
                raise MissingDependencyError(f"{default_plugin()} does not exist; build it with `make plugin`")
            target = current_gpu_architecture()
            if flavour == "tensorrt-rtx":
                target = target or _TARGET_WITHOUT_GPU
            for onnx in (self.onnx, self.fp16):
                out = self.out / "engines" / f"{onnx.stem}.{flavour}.engine"
                self.engines.append(
                    build_engine(onnx, out, flavour=flavour, plugin=None, profile=_BATCH, target=target)
                )
            done(f"fp32 and fp16 for {target}, StripGate plugin inside")

    def _video(self, world: "World | None", dataset: "ReidDataset") -> None:
        from .synthetic.video import write_video

        if world is None:
            self._not_run("video", "the data set given is images; `lgeu infer` takes a video")
            return
        with self._stage("video") as done:
            files = write_video(world, self.out / "video")
            gallery = self._write_gallery(dataset)
            done(self._infer(files, gallery))

    def _write_gallery(self, dataset: "ReidDataset") -> Path:
        from eval.embedding import embed_images

        path = self.out / "video" / "gallery.npz"
        with open_model(self.onnx) as embedder:
            embed_images(embedder, dataset, dataset.gallery, "embedding gallery").save(path)
        return path

    def _infer(self, files: "SyntheticVideo", gallery: Path) -> str:
        from runtime.embeddings import Embeddings
        from runtime.infer import infer
        from runtime.infer_options import Options

        out = self.out / "video" / "people"
        summary = infer(Options(files.video, self.onnx, out, boxes=files.boxes, gallery=gallery, annotate=True))
        people: dict[str, int] = json.loads(files.tracks.read_text())
        tracks = Embeddings.load(out / "embeddings.npz").tracks
        with (out / "matches.csv").open(newline="") as file:
            found = [int(row["person_id"]) for row in csv.DictReader(file)]
        right = sum(people[str(track)] == person for track, person in zip(tracks, found, strict=True))  # type: ignore[arg-type]
        return f"{summary.embeddings} boxes on {summary.frames} frames, {right} of them named rightly"

    def _parity(self, dataset: "ReidDataset") -> None:
        from eval.parity import Candidate, candidate, compare
        from eval.report import write_report

        with self._stage("parity") as done:
            models = [self.onnx, self.fp16, *self.engines]
            reference = Candidate(self.checkpoint.name, lambda: open_model(self.checkpoint))
            report = compare(reference, [candidate(model, open_model) for model in models], dataset)
            write_report(report, self.out / "report")
            logger.info("%s", report.table())
            self.result.failures.extend(report.failures)
            done(f"{len(report.stages)} compared, {len(report.not_run)} not run, {len(report.failures)} failed")
