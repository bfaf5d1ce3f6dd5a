"""`lgeu demo`: the whole way in one go, on synthetic pedestrians or on a data set that is given."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.builder import build_engine
from engines.options import BuildOptions
from engines.targets import rtx_targets
from eval.datasets import ReidDataset, open_dataset
from eval.embedding import embed_images
from eval.evaluation import Evaluation, evaluate_model, figures
from eval.machine import describe_machine, installed_versions
from eval.parity import Candidate, ParityReport, candidate, compare
from eval.report import write_report
from export.onnx_export import export_checkpoint
from runtime.embedder import Embedder
from runtime.embeddings import Embeddings, save_manifest
from runtime.engine_manifest import BatchProfile, Flavour
from runtime.errors import CheckFailedError, DeviceError, InputError, MissingDependencyError
from runtime.files import write_json, write_text
from runtime.gallery import Gallery
from runtime.infer import infer_command
from runtime.tensorrt_library import current_gpu_architecture, default_plugin, load_tensorrt
from train.checkpoint import untrained_checkpoint
from train.embedder import open_checkpoint
from train.fit import fit
from train.recipe import Recipe, load_recipe

from .demo_size import SIZES, DemoSize
from .journal import Journal, StageRecord
from .models import open_model
from .synthetic.dataset import write_dataset
from .synthetic.video import SyntheticVideo, write_video
from .synthetic.world import World, make_world

# A network that has learnt the synthetic identities reaches these; real data have no such figures.
LEAST_MAP = 0.60
LARGEST_SHARE_OF_ERROR = 0.5

_MARKER = "made-by-lgeu-demo.txt"
_MARKER_TEXT = "`lgeu demo` made this folder and empties it when it runs again.\n"
_BATCHES = BatchProfile(1, 16, 32)
_EXPORT_CROPS = 64
# TensorRT-RTX builds for GPUs that are not there, too; this is a desktop one.
_RTX_TARGET = "SM86"


@dataclass(frozen=True)
class DemoResult:
    """What came out.

    Attributes:
        out: the folder with everything.
        data: name of the data set.
        synthetic: whether its people were drawn.
        untrained: figures of the network with random weights, fractions by name.
        trained: likewise after training.
        video_rank1: share of the video's boxes whose nearest gallery image is of the right person; None without video.
        stages: what was run and what was not.
        failures: what is outside its tolerance, a line each.
    """

    out: Path
    data: str
    synthetic: bool
    untrained: dict[str, float]
    trained: dict[str, float]
    video_rank1: float | None
    stages: tuple[StageRecord, ...]
    failures: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON's types, with the machine it ran on."""
        content = dataclasses.asdict(self)
        del content["out"]
        return {**content, "machine": describe_machine(), "versions": installed_versions()}


def run_demo(
    out: Path, *, size: str | DemoSize = "default", data: Path | None = None, split_by: str | None = None, seed: int = 0
) -> DemoResult:
    """Generate, train, export, build, run and prove.

    Args:
        out: folder for everything; new, empty, or of an earlier demo, which is then replaced.
        size: "tiny", "default", or sizes of one's own.
        data: a data set in place of the synthetic one; there is no video then.
        split_by: see `open_dataset`; for `data` only.
        seed: of the synthetic data.

    Returns:
        The result, which is also in `out`/demo.json.

    Raises:
        InputError: `out` holds something else or the data set, or that cannot be read; what `out` holds is left then.
        CheckFailedError: mAP or parity is outside its tolerance; everything was run and written nevertheless.
    """
    size = SIZES[size] if isinstance(size, str) else size
    if split_by is not None and data is None:
        raise InputError("a split was given without a data set; name one with --data")
    out, recipe, world = Path(out), load_recipe(size.recipe), make_world(size.world, seed)
    given = _open_given(data, split_by, out) if data is not None else None
    _prepare(out)
    result = _Demo(out, size, recipe, world, given).run()
    write_json(out / "demo.json", result.to_json())
    if result.failures:
        raise CheckFailedError(f"{len(result.failures)} checks failed: {'; '.join(result.failures)}")
    return result


def _open_given(data: Path, split_by: str | None, out: Path) -> ReidDataset:
    """The data set that was given, which must not lie where the demo empties a folder."""
    data, emptied = data.absolute(), out.resolve()
    # By whichever links it is reached: an emptied folder loses its links, too.
    if emptied in {each.resolve() for path in (data, data.resolve()) for each in (path, *path.parents)}:
        raise InputError(f"the data set {data} lies in {out}, which the demo empties; name another folder with --out")
    dataset = open_dataset(data, split_by)
    dataset.require_test_half()
    return dataset


def _prepare(out: Path) -> None:
    """An empty folder with the demo's marker in it."""
    try:
        entries = list(out.iterdir()) if out.exists() else []
        if entries and not (out / _MARKER).exists():
            raise InputError(f"{out} is not empty and not of an earlier demo; name another folder with --out")
        for entry in entries:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    except OSError as error:
        raise InputError(f"cannot empty {out}: {error}; name another folder with --out") from error
    write_text(out / _MARKER, _MARKER_TEXT)


class _Demo:
    """One run; each stage takes files and leaves files, as on the command line."""

    def __init__(self, out: Path, size: DemoSize, recipe: Recipe, world: World, given: ReidDataset | None) -> None:
        self.out, self.size, self.recipe, self.world, self.given = out, size, recipe, world, given
        self.journal = Journal()

    def run(self) -> DemoResult:
        """All stages in order."""
        dataset = self.make_data()
        untrained = self.evaluate_untrained(dataset)
        checkpoint = self.train(dataset)
        trained = self.evaluate_trained(checkpoint, dataset)
        models = self.export(checkpoint, dataset)
        engines = self.build_engines(models)
        video_rank1 = self.infer(models[0], dataset)
        report = self.prove(checkpoint, [*models, *engines], dataset)
        learning = check_learning(untrained.metrics.mAP, trained.metrics.mAP) if self.given is None else []
        result = DemoResult(
            out=self.out,
            data=dataset.name,
            synthetic=dataset.synthetic,
            untrained=figures(untrained.metrics),
            trained=figures(trained.metrics),
            video_rank1=video_rank1,
            stages=tuple(self.journal.records),
            failures=(*learning, *report.failures),
        )
        print(f"\n{summary(result)}\n\n{self.journal.table()}\n\nreport: {self.out / 'report' / 'report.html'}")
        return result

    def make_data(self) -> ReidDataset:
        """The data set: drawn, or the one that was given."""

        def work() -> ReidDataset:
            if self.given is not None:
                return self.given
            return open_dataset(write_dataset(self.world, self.out / "synthetic-pedestrians"))

        def describe(dataset: ReidDataset) -> str:
            return (
                f"{dataset.name}: {len(dataset.train):,} images to train on, {len(dataset.query):,} queries, "
                f"{len(dataset.gallery):,} in the gallery"
            )

        return self.journal.run("draw the data set" if self.given is None else "data set", work, describe)

    def evaluate_untrained(self, dataset: ReidDataset) -> Evaluation:
        """What random weights reach: where training starts from."""

        def work() -> Evaluation:
            path = self.out / "untrained.pt"
            untrained_checkpoint(path, **self.recipe.architecture(), seed=self.recipe.seed)
            with open_checkpoint(path) as embedder:
                return evaluate_model(embedder, dataset)

        return self.journal.run("evaluate untrained", work, describe_figures)

    def train(self, dataset: ReidDataset) -> Path:
        """Train with the size's recipe."""
        recipe = self.recipe
        return self.journal.run(
            "train",
            # Measured in the next stage, once.
            lambda: fit(recipe, dataclasses.replace(dataset, query=(), gallery=()), self.out / "training"),
            lambda path: f"{recipe.backbone}, gate {recipe.gate}, {recipe.epochs} epochs: {path}",
        )

    def evaluate_trained(self, checkpoint: Path, dataset: ReidDataset) -> Evaluation:
        """What the trained weights reach."""

        def work() -> Evaluation:
            with open_checkpoint(checkpoint) as embedder:
                return evaluate_model(embedder, dataset)

        return self.journal.run("evaluate trained", work, describe_figures)

    def export(self, checkpoint: Path, dataset: ReidDataset) -> list[Path]:
        """Both ONNX files; the fp32 one first."""
        crops = [dataset.read(image) for image in dataset.query[:_EXPORT_CROPS]]
        report = self.journal.run(
            "export",
            lambda: export_checkpoint(checkpoint, self.out / "export", crops),
            lambda report: "; ".join(str(report).splitlines()[:1]),
        )
        return [path for path in (report.fp32, report.fp16) if path is not None]

    def build_engines(self, models: list[Path]) -> list[Path]:
        """An engine of each file by each library that can build here."""
        return [*self._build(models, "tensorrt-rtx"), *self._build(models, "tensorrt")]

    def _build(self, models: list[Path], flavour: Flavour) -> list[Path]:
        name = f"build with {flavour}"
        if self.recipe.gate != "none" and not default_plugin().is_file():
            self.journal.skip(name, "the StripGate plugin is not built; `make plugin` builds it, with nvcc and CMake")
            return []

        outs = [self.out / "engines" / f"{model.stem}.{flavour}.engine" for model in models]

        def work() -> list[Path]:
            return [
                build_engine(model, out, flavour=flavour, plugin=None, options=options)
                for model, out in zip(models, outs, strict=True)
            ]

        def describe(engines: list[Path]) -> str:
            return f"{', '.join(engine.name for engine in engines)} for {target or 'the GPU here'}"

        try:
            target = rtx_target() if flavour == "tensorrt-rtx" else None
            options = BuildOptions((_BATCHES,), targets=(target,) if target else ())
            return self.journal.run(name, work, describe)
        except (DeviceError, MissingDependencyError) as error:
            self.journal.skip(name, str(error))
            return []

    def infer(self, model: Path, dataset: ReidDataset) -> float | None:
        """Embed everybody in the video and look them up among the test half's images."""
        if self.given is not None:
            for name in ("draw the video", "infer on the video"):
                self.journal.skip(name, "a data set was given, and no video belongs to it; `lgeu infer` takes one")
            return None
        video = self.journal.run(
            "draw the video",
            lambda: write_video(self.world, self.out / "video"),
            lambda video: f"{video.video}: {self.size.world.video_people} people, synthetic",
        )
        gallery = self.out / "gallery.npz"

        def work() -> float:
            with Embedder.open(model) as embedder:
                embed_images(embedder, dataset, dataset.gallery, "embedding gallery").save(gallery)
                save_manifest(self.out, embedder.manifest)
            return infer_on_video(video, model, gallery, self.out / "inference")

        return self.journal.run(
            "infer on the video",
            work,
            lambda rank1: (
                f"{self.out / 'inference' / 'annotated.mp4'}; {100 * rank1:.1f} % of the boxes find their person"
            ),
        )

    def prove(self, checkpoint: Path, candidates: list[Path], dataset: ReidDataset) -> ParityReport:
        """The parity report over all that was made."""

        def work() -> ParityReport:
            report = compare(
                Candidate(checkpoint.name, lambda: open_model(checkpoint)),
                [candidate(path, open_model) for path in candidates],
                dataset,
            )
            write_report(report, self.out / "report")
            print(report.table())
            return report

        report = self.journal.run("parity report", work, describe_parity)
        for missing in report.not_run:
            self.journal.skip(f"run {missing.name}", missing.reason)
        return report


def rtx_target() -> str:
    """The GPU here where TensorRT-RTX builds for it, else one that it builds for without its being here.

    Raises:
        MissingDependencyError: TensorRT-RTX is not installed.
    """
    known, at_hand = rtx_targets(load_tensorrt("tensorrt-rtx")), current_gpu_architecture()
    return at_hand if at_hand in known else _RTX_TARGET


def infer_on_video(video: SyntheticVideo, model: Path, gallery: Path, out: Path) -> float:
    """Run `lgeu infer` on the video with its ground-truth boxes.

    Returns:
        The share of the boxes whose nearest gallery image is of the person that the box is of.

    Raises:
        LgeuError: inference failed.
    """
    arguments = [str(video.video), "--model", str(model), "--boxes", str(video.boxes), "--gallery", str(gallery)]
    infer_command([*arguments, "--annotate", "--out", str(out)])
    embeddings = Embeddings.load(out / "embeddings.npz")
    if embeddings.tracks is None:
        raise InputError(f"{out / 'embeddings.npz'} names no tracks, though {video.boxes} does")
    right = np.array([video.people[int(track)] for track in embeddings.tracks])
    return float(np.mean(Gallery.load(gallery).nearest(embeddings.features).person_ids == right))


def check_learning(before: float, after: float) -> list[str]:
    """What training on the synthetic people did not reach.

    Args:
        before: mAP of the untrained network, 0 to 1.
        after: mAP of the trained one.

    Returns:
        A line for each condition that is not met.
    """
    failures = []
    if after < LEAST_MAP:
        failures.append(f"mAP after training is {after:.3f}; expected at least {LEAST_MAP:.2f}")
    if 1 - after > LARGEST_SHARE_OF_ERROR * (1 - before):
        failures.append(
            f"1 - mAP is {1 - after:.3f} after training and {1 - before:.3f} before; expected at most "
            f"{LARGEST_SHARE_OF_ERROR:g} of it"
        )
    return failures


def summary(result: DemoResult) -> str:
    """The figures that count, and what they are figures of."""
    before, after = result.untrained["mAP"], result.trained["mAP"]
    what = "synthetic pedestrians: these figures say that the way works, nothing about real people"
    return (
        f"data: {result.data}{f' ({what})' if result.synthetic else ''}\n"
        f"mAP: {before:.3f} untrained, {after:.3f} trained\n"
        f"1 - mAP: {1 - before:.3f} untrained, {1 - after:.3f} trained, {(1 - after) / max(1 - before, 1e-9):.2f} of it"
    )


def describe_figures(evaluation: Evaluation) -> str:
    """Rank-1 and mAP in one line."""
    return f"rank-1 {evaluation.metrics.rank1:.3f}, mAP {evaluation.metrics.mAP:.3f}"


def describe_parity(report: ParityReport) -> str:
    """How many passed, in one line."""
    failed = sum(bool(stage.comparison and stage.comparison.failures) for stage in report.stages)
    return f"{len(report.stages) - failed} passed, {failed} failed, {len(report.not_run)} not run here"
