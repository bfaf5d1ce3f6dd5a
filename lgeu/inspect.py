"""`lgeu inspect`: what a checkpoint, an ONNX file or an engine is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Union

import typer

from runtime.errors import InputError
from runtime.files import check_target, write_json
from runtime.manifest import manifest_path

from .models import MODEL_SUFFIXES
from .options import PluginOption

if TYPE_CHECKING:
    from engines.inspect_engine import EngineReport
    from engines.inspect_onnx import OnnxReport
    from train.inspect_checkpoint import CheckpointReport


def inspect(
    file: Annotated[Path, typer.Argument(help="A checkpoint, an ONNX file (of ours or not) or an engine.")],
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write it all here, every layer included.")
    ] = None,
    plugin: PluginOption = None,
) -> None:
    """What a file is: manifest, inputs and outputs, layers and their types, StripGate's place, size, hashes.

    Ends with status 0 whatever it lists under problems and under not known here. An engine for this machine's GPU is
    opened, which runs the code of the StripGate library beside it or inside it: inspect engines of your own only.
    """
    if plugin is not None and file.suffix != ".engine":
        raise InputError("--plugin is for opening an engine; leave it out")
    if json is not None:
        _check_output(json, file, plugin)
    from .inspect_table import table

    report = _report(file, plugin)
    print(table(report))
    if json is not None:
        write_json(json, report.to_json())


def _check_output(json: Path, file: Path, plugin: Path | None) -> None:
    from engines.layers import layers_path

    check_target(json)
    read = {file, *((manifest_path(file), layers_path(file), plugin) if file.suffix == ".engine" else ())}
    if json.resolve() in {path.resolve() for path in read if path is not None}:
        raise InputError(f"{json} is read by this very command; name another file")


def _report(file: Path, plugin: Path | None) -> Union["OnnxReport", "EngineReport", "CheckpointReport"]:
    if file.suffix == ".onnx":
        from engines.inspect_onnx import inspect_onnx

        return inspect_onnx(file)
    if file.suffix == ".engine":
        from engines.inspect_engine import inspect_engine

        return inspect_engine(file, plugin)
    if file.suffix == ".pt":
        from train.inspect_checkpoint import inspect_checkpoint

        return inspect_checkpoint(file)
    raise InputError(f"{file} is not a model; expected a file ending in {', '.join(MODEL_SUFFIXES)}")
