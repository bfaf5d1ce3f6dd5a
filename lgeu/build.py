"""`lgeu build`: a TensorRT engine of an ONNX file, by us or by trtexec."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.engine_manifest import BatchProfile, Flavour, HardwareCompatibility
from runtime.errors import InputError
from runtime.manifest import Precision

from .options import PluginOption
from .sizes import parse_size

if TYPE_CHECKING:
    from engines.options import BuildOptions

logger = logging.getLogger(__name__)

_DEFAULT_BATCH = "1:32:64"


def build(
    model: Annotated[Path | None, typer.Argument(help="An ONNX file of `lgeu export` or `lgeu rewrite`.")] = None,
    flavour: Annotated[Flavour, typer.Option("--flavour", help="The library to build with.")] = "tensorrt",
    plugin: PluginOption = None,
    batch: Annotated[
        list[str] | None,
        typer.Option(
            "--batch",
            metavar="MIN:OPT:MAX",
            help=f"Batch sizes to accept, and the one to optimise for; {_DEFAULT_BATCH} without it. Several times for "
            "several profiles, e.g. 1:1:1 and 1:32:64.",
        ),
    ] = None,
    allow_min_batch: Annotated[
        bool, typer.Option("--allow-min-batch", help="Accept profiles none of which takes a single crop.")
    ] = False,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="SM86",
            help="GPU architecture; the GPU at hand without it. TensorRT-RTX builds for several, one --target each.",
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option("--precision", help="Refuse a file of another precision; no build changes what the file is."),
    ] = None,
    optimization_level: Annotated[
        int | None,
        typer.Option("--optimization-level", metavar="0-5", help="How long to search; the library's own is 3."),
    ] = None,
    workspace: Annotated[
        str | None,
        typer.Option("--workspace", metavar="SIZE", help="Most device memory for one layer, e.g. 2GiB; else all."),
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option("--timing-cache", metavar="FILE", help="Keep kernel timings here, for later builds to be quick."),
    ] = None,
    hardware_compatibility: Annotated[
        HardwareCompatibility,
        typer.Option("--hardware-compatibility", help="Other GPUs that are to run it, at a cost in speed."),
    ] = "none",
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="Later TensorRT versions run it; the plugin is put inside, too."),
    ] = False,
    embed_plugin: Annotated[
        bool,
        typer.Option("--embed-plugin", help="Put the StripGate library into the engine, which then needs no file."),
    ] = False,
    dla_core: Annotated[int | None, typer.Option("--use-dla-core", hidden=True)] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The engine; the model's name with .engine without it.")
    ] = None,
    print_trtexec: Annotated[
        bool, typer.Option("--print-trtexec", help="Print the equivalent trtexec commands and build nothing.")
    ] = False,
    release: Annotated[
        str | None,
        typer.Option("--release", metavar="10.3", help="With --print-trtexec: for this TensorRT only, as a script."),
    ] = None,
    adopt: Annotated[
        Path | None, typer.Option("--adopt", metavar="E.engine", help="Write the manifest of an engine from trtexec.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option("--onnx", help="With --adopt: the file it was built from.")] = None,
) -> None:
    """Build a TensorRT engine with the StripGate plugin inside, and its manifest beside it."""
    if dla_core is not None:
        raise InputError(
            "the StripGate plugin is CUDA code, which a DLA cannot run, and engines are built for the GPU alone; leave "
            "--use-dla-core out"
        )
    from engines.options import BuildOptions

    options = BuildOptions(
        profiles=tuple(BatchProfile.parse(text) for text in batch or [_DEFAULT_BATCH]),
        targets=tuple(target or ()),
        precision=precision,
        optimization_level=optimization_level,
        workspace=None if workspace is None else parse_size(workspace),
        timing_cache=timing_cache,
        hardware_compatibility=hardware_compatibility,
        version_compatible=version_compatible,
        embed_plugin=embed_plugin,
        allow_min_batch=allow_min_batch,
    )
    if adopt is not None:
        if out is not None or print_trtexec:
            raise InputError(
                "--adopt takes the ONNX file and what it was built with; leave --out and --print-trtexec out"
            )
        if onnx is not None and model is not None:
            raise InputError(f"two ONNX files are given, {model} and {onnx}; name the one it was built from")
        _adopt(adopt, onnx or model, plugin, flavour, options, release)
        return
    if model is None or onnx is not None:
        raise InputError("expected one ONNX file to build from, as an argument (--onnx goes with --adopt)")
    if print_trtexec:
        if flavour != "tensorrt" or target:
            raise InputError("trtexec builds with TensorRT for the GPU at hand; leave --flavour and --target out")
        _print_trtexec(model, out, plugin, options, release)
        return
    if release is not None:
        raise InputError("--release goes with --print-trtexec; a build takes the TensorRT that is installed")
    from engines.builder import build_engine

    engine = build_engine(model, out, flavour=flavour, plugin=plugin, options=options)
    logger.info("wrote %s", engine)


def _adopt(
    engine: Path, onnx: Path | None, plugin: Path | None, flavour: Flavour, options: "BuildOptions", release: str | None
) -> None:
    from engines.adopt import adopt_engine

    if onnx is None:
        raise InputError("--adopt needs the ONNX file that the engine was built from; name it with --onnx")
    unused = {
        "--optimization-level": options.optimization_level,
        "--workspace": options.workspace,
        "--timing-cache": options.timing_cache,
        "--release": release,
    }
    for name, value in unused.items():
        if value is not None:
            raise InputError(f"--adopt builds nothing; leave {name} out")
    adopt_engine(engine, onnx, plugin, flavour=flavour, options=options)


def _print_trtexec(
    model: Path, out: Path | None, plugin: Path | None, options: "BuildOptions", release: str | None
) -> None:
    from engines.trtexec import parse_release, trtexec_commands

    parsed = None if release is None else parse_release(release)
    print(trtexec_commands(model, out, plugin=plugin, options=options, release=parsed))
