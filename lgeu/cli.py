"""The `lgeu` command line. Each command is a thin layer over a room, imported when the command runs."""

import logging
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.console import INTERRUPTED, configure_logging, run_command
from runtime.embedder import Embedder
from runtime.errors import CheckFailedError, InputError, MissingDependencyError
from runtime.manifest import read_engine_manifest

from .bench import bench
from .build import build
from .dataset import dataset
from .evaluate import evaluate
from .export import export, rewrite
from .find import find
from .gallery import gallery
from .inspect import inspect
from .models import open_model
from .options import BackendOption, DataOption, DeviceOption, PluginOption, SplitOption, print_help
from .visualise import visualise

if TYPE_CHECKING:
    from eval.datasets import ReidDataset

logger = logging.getLogger(__name__)

app = typer.Typer(
    help="Person re-identification with the Local-Global Extraction Unit: train, export, build, run and prove it.",
    epilog="With LGEU_TRACEBACK=1 in the environment an error shows where it came from.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


DemoSize = Literal["tiny", "default"]

_ROOMS = ("lgeu", "train", "export", "engines", "eval", "runtime")


def _print_version(asked_for: bool) -> None:
    if not asked_for:
        return
    try:
        print(f"lgeu {metadata.version('lgeu-reid')}")
    except metadata.PackageNotFoundError as error:
        raise InputError("lgeu-reid is not installed, so it has no version; install it with: pip install .") from error
    raise typer.Exit


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also print what is only of interest when debugging.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    configure_logging(verbose)
    print_help(context)


@app.command()
def train(
    recipe: Annotated[Path, typer.Option("--recipe", help="Recipe (YAML); see recipes/.")],
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for the checkpoint and the logs.")],
    split_by: SplitOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last epoch that was finished in --out.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the recipe; can be given repeatedly."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Folder to keep the decoded images (of people) in, for this run and others."),
    ] = None,
) -> None:
    """Train a model from a recipe; writes checkpoint.pt."""
    from eval.datasets import open_dataset
    from train.fit import fit
    from train.processes import leave_processes
    from train.recipe import load_recipe

    settings, dataset = load_recipe(recipe, changes or ()), open_dataset(data, split_by)
    checkpoint = fit(settings, dataset, out, resume=resume, cache=cache)
    leave_processes()
    logger.info("wrote %s", checkpoint)


app.command(short_help="Export a checkpoint to ONNX in fp32 and fp16, checked.")(export)
app.command(short_help="Rewrite an exported ONNX file for another runtime.")(rewrite)


app.command(short_help="Build a TensorRT engine with the StripGate plugin inside.")(build)
app.command(short_help="What a checkpoint, an ONNX file or an engine is.")(inspect)


@app.command(
    short_help="Embed the people of a video, a folder of crops or an image.",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def infer(context: typer.Context) -> None:
    """Embed the people of a video, a folder of crops or an image (`lgeu infer --help`)."""
    from runtime.infer import infer_command

    infer_command(context.args, program="lgeu infer", open_model=open_model)


app.command(short_help="What a data set holds, and whether it is as published.")(dataset)
app.command(short_help="CMC, mAP and mINP of embeddings, or of a model.")(evaluate)
app.command(short_help="What a model finds and what its gates do, as pictures.")(visualise)
app.command(short_help="Latencies and images/s here, on each backend.")(bench)
app.command(short_help="Where somebody is in the videos that infer embedded.")(find)
app.add_typer(gallery, name="gallery", short_help="Known people, searched by cosine similarity.")


@app.command(short_help="Prove that what is deployed has lost nothing.")
def parity(
    reference: Annotated[Path, typer.Argument(help="The model that counts as right, usually checkpoint.pt.")],
    data: DataOption,
    candidates: Annotated[
        list[Path] | None,
        typer.Argument(
            help="ONNX files, engines, folders of `lgeu evaluate --embeddings`, or what trtexec exported (a .json, or "
            "the folder of --trtexec-inputs)."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.json and report.html.")] = None,
    split_by: SplitOption = None,
    backend: BackendOption = "auto",
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
    trtexec_inputs: Annotated[
        Path | None,
        typer.Option(
            "--trtexec-inputs",
            metavar="DIR",
            help="Compare nothing: write the images (of people) as trtexec reads them, for the one candidate (the "
            "reference without one), and print its arguments.",
        ),
    ] = None,
) -> None:
    """Prove that nothing was lost between a checkpoint and what is deployed; status 1 if it was, or nothing ran."""
    from eval.datasets import open_dataset

    def open_here(path: Path) -> Embedder:
        # The reference may be a checkpoint, and an engine may be among the candidates.
        runs_on = backend if path.suffix == ".onnx" else "auto"
        return open_model(path, backend=runs_on, device=device, plugin=plugin if path.suffix == ".engine" else None)

    if plugin is not None and ".engine" not in {path.suffix for path in (reference, *(candidates or ()))}:
        raise InputError("--plugin given without an engine to compare; leave it out")

    dataset = open_dataset(data, split_by)
    if trtexec_inputs is not None:
        if out is not None:
            raise InputError("--trtexec-inputs compares nothing and writes no report; leave --out out")
        _write_trtexec_inputs(candidates or [reference], dataset, trtexec_inputs, open_here)
        return
    if not candidates or out is None:
        raise InputError("expected at least one candidate to compare with the reference, and --out for the report")
    _report_parity(reference, candidates, dataset, out, open_here)


def _write_trtexec_inputs(
    models: list[Path], dataset: "ReidDataset", out: Path, open_here: Callable[[Path], Embedder]
) -> None:
    from eval.trtexec_inputs import write_trtexec_inputs

    if len(models) > 1:
        raise InputError(f"--trtexec-inputs writes what one model reads, and {len(models)} candidates were given")
    if models[0].suffix == ".engine":
        # Its GPU is elsewhere, or trtexec would not be needed.
        manifest = read_engine_manifest(models[0])
    else:
        with open_here(models[0]) as embedder:
            manifest = embedder.manifest
    print("\n".join(write_trtexec_inputs(dataset, manifest, out)))


def _report_parity(
    reference: Path, candidates: list[Path], dataset: "ReidDataset", out: Path, open_here: Callable[[Path], Embedder]
) -> None:
    from eval.parity import Candidate, candidate, compare, distinct_names
    from eval.report import check_report, write_report

    check_report(out)
    name, *names = distinct_names([reference, *candidates])
    report = compare(
        Candidate(name, lambda: open_here(reference)),
        [candidate(path, open_here, each) for path, each in zip(candidates, names, strict=True)],
        dataset,
    )
    print(report.table())
    logger.info("wrote %s", write_report(report, out))
    if not report.stages:
        raise CheckFailedError("nothing was compared: no candidate could be opened here, so nothing is proven")
    if report.failures:
        raise CheckFailedError(f"{len(report.failures)} checks failed: {'; '.join(report.failures)}")


@app.command(short_help="The whole way in one go, on synthetic pedestrians.")
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything the demo makes.")] = Path("demo"),
    size: Annotated[DemoSize, typer.Option("--size", help="tiny trains on 80 people in place of 180.")] = "default",
    data: Annotated[Path | None, typer.Option("--data", help="A real data set in place of the synthetic one.")] = None,
    split_by: SplitOption = None,
) -> None:
    """The whole way in one go, on synthetic pedestrians: train, export, build, run, prove."""
    from .demo import run_demo

    run_demo(out, size=size, data=data, split_by=split_by)


def _run(arguments: list[str]) -> Callable[[], None]:
    def command() -> None:
        try:
            status = app(arguments, prog_name="lgeu", standalone_mode=False)
        except typer.TyperException as error:
            context: typer.Context | None = getattr(error, "ctx", None)
            message, where = error.format_message().rstrip("."), context.command_path if context else "lgeu"
            see = " See" if message.endswith("?") else "; see"
            raise InputError(f"{message}{see} `{where} --help`") from error
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        except SystemExit as error:  # Typer's own, where nobody reads what is printed any more
            if isinstance(error.__context__, BrokenPipeError):
                raise error.__context__ from None
            raise
        if status == INTERRUPTED:  # Typer swallows Ctrl-C and returns what a shell would see
            raise KeyboardInterrupt

    return command


def _missing(error: ModuleNotFoundError) -> Exception:
    """A package that an extra of ours installs; anything else is a fault of this program and stays what it is."""
    package = (error.name or "").partition(".")[0]
    if package in _ROOMS:
        return error
    return MissingDependencyError(
        f"this command needs the Python package {package!r}, which is not installed; install what all commands need "
        "with: pip install 'lgeu-reid[all]', or one room's alone: train, export, engines, eval, report, gallery"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command("lgeu", _run(sys.argv[1:] if arguments is None else arguments))
