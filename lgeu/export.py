"""`lgeu export` and `lgeu rewrite`: a checkpoint to ONNX files, and those to what another runtime wants."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.manifest import Functions, GateLayout, InputFormat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_CROPS = 256

logger = logging.getLogger(__name__)

_LAYOUT = "How StripGate reads the feature map: nchw, or nhwc behind a Transpose."
_INPUT = "What the file takes: uint8-nhwc; float-nchw, planes of 0..255, for DeepStream's nvinfer."


def export(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of `lgeu train`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for model.onnx and model.fp16.onnx.")],
    crops: Annotated[
        Path | None,
        typer.Option(
            "--crops",
            help=f"Folder of real crops to check with: all, or {MOST_CROPS} spread evenly; random noise without it.",
        ),
    ] = None,
    fp16: Annotated[
        bool,
        typer.Option(help="Write model.fp16.onnx, too; --no-fp16 (for a model that overflows) removes an older one."),
    ] = True,
    layout: Annotated[GateLayout, typer.Option("--layout", help=_LAYOUT)] = "nchw",
    input_format: Annotated[
        InputFormat, typer.Option("--input", help=f"{_INPUT} Such files are called model.float-nchw*.onnx.")
    ] = "uint8-nhwc",
) -> None:
    """Export a checkpoint to ONNX in fp32 and fp16, checked against PyTorch."""
    from export.onnx_export import export_checkpoint

    images = read_crops(crops) if crops else None
    report = export_checkpoint(checkpoint, out, images, fp16=fp16, layout=layout, input_format=input_format)
    logger.info("%s", report)


def read_crops(folder: Path) -> list["NDArray[np.uint8]"]:
    """The images of a folder, or `MOST_CROPS` of them from the first to the last: more show little, and take long.

    Returns:
        H x W x 3 uint8 BGR each.

    Raises:
        InputError: there are none, or one that is needed cannot be read.
    """
    from runtime.images import list_images, read_image

    paths = list_images(folder)
    if len(paths) > MOST_CROPS:
        logger.info("checking on %d of the %s images in %s, spread evenly", MOST_CROPS, f"{len(paths):,}", folder)
        paths = [paths[index * (len(paths) - 1) // (MOST_CROPS - 1)] for index in range(MOST_CROPS)]
    return [read_image(path) for path in paths]


def rewrite(
    model: Annotated[Path, typer.Argument(help="An ONNX file of `lgeu export`.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    functions: Annotated[
        Functions | None,
        typer.Option(
            "--functions",
            help="keep StripGate's body, or put it back; strip it (TensorRT <= 10.6); inline it (OpenVINO). "
            "Unchanged without.",
        ),
    ] = None,
    precision: Annotated[Literal["fp16"] | None, typer.Option("--precision", help="Cast an fp32 file.")] = None,
    layout: Annotated[GateLayout | None, typer.Option("--layout", help=f"{_LAYOUT} Unchanged without.")] = None,
    input_format: Annotated[InputFormat | None, typer.Option("--input", help=f"{_INPUT} Unchanged without.")] = None,
) -> None:
    """Rewrite an exported ONNX file for a runtime that needs it otherwise."""
    from engines.rewrite import rewrite as rewrite_file

    rewrite_file(model, out, functions=functions, precision=precision, layout=layout, input_format=input_format)
    logger.info("wrote %s", out)
