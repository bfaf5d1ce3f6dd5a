"""What several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from runtime.backend import BackendName, Device

DataOption = Annotated[
    Path,
    typer.Option("--data", help="Data set: a folder or a zip, laid out as Market-1501, MSMT17 or person/camera_*."),
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split-by", metavar="person%N", help="Hold out the persons whose id is divisible by N."),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="auto: the GPU where it can be used.")]
BackendOption = Annotated[
    BackendName,
    typer.Option(
        "--backend",
        help="What runs an .onnx file; auto: the first installed of onnxruntime, openvino, on the GPU if any.",
    ),
]
PluginOption = Annotated[Path | None, typer.Option("--plugin", metavar="LIB.SO", help="The StripGate library.")]


def print_help(context: typer.Context) -> None:
    """Print the help of a group of commands where none of them was named."""
    if context.invoked_subcommand is None:
        print(context.get_help())
