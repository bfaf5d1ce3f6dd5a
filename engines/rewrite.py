"""One ONNX file into another for a runtime that wants its functions, precision, layout or input otherwise."""

import logging
from pathlib import Path
from typing import get_args

from runtime.dependencies import require
from runtime.errors import InputError
from runtime.manifest import Functions, GateLayout, InputFormat, Precision

logger = logging.getLogger(__name__)


def rewrite(
    path: Path,
    out: Path,
    *,
    functions: Functions | None = None,
    precision: Precision | None = None,
    layout: GateLayout | None = None,
    input_format: InputFormat | None = None,
) -> Path:
    """Write `path` anew to `out`, atomically.

    A cast to fp16 runs no images through the network, as `lgeu export` does; what is not checked is said in the log.

    Args:
        path: a file that `lgeu export` or this function wrote.
        out: the file to write; may be `path` itself.
        functions: "keep" StripGate's function body beside the node (ONNX Runtime, TensorRT from 10.7), "strip" it
            (TensorRT up to 10.6), or "inline" it, so that only standard operators remain (OpenVINO). "keep" puts the
            body back into a stripped file; None leaves it as it is.
        precision: "fp16" casts the graph; None leaves it as it is.
        layout: how StripGate reads the feature map, see `engines.gate_layout`; None leaves it as it is.
        input_format: what the file takes as `images`, see `engines.input_format`; None leaves it as it is.

    Returns:
        `out`.

    Raises:
        InputError: `path` is missing, truncated or not ONNX; fp32 is asked of an fp16 file; the graph cannot be cast;
            the node is asked for and was inlined before; or there is no StripGate to read another layout.
        ManifestError: `path` has no manifest, or one that does not match the graph.
        MissingDependencyError: the package onnx is not installed.
    """
    require("onnx", purpose="rewriting an .onnx file", install="pip install 'lgeu-reid[engines]'")
    from .gate_layout import set_gate_layout
    from .graph import load_model, read_manifest, save_model, set_functions
    from .input_format import set_input_format
    from .precision import FP16_MAX, to_fp16

    if precision is not None and precision not in get_args(Precision):
        raise InputError(f"precision is {precision!r}; expected one of {', '.join(get_args(Precision))}")
    model = load_model(path)
    manifest = read_manifest(model, str(path))
    if precision == "fp32" and manifest.precision == "fp16":
        raise InputError(f"{path} is fp16, and what rounding took does not come back; start from the fp32 file")
    try:
        if precision == "fp16":
            model = to_fp16(model)
        if layout is not None:
            model = set_gate_layout(model, layout)
        if input_format is not None:
            model = set_input_format(model, input_format)
        if functions is not None:
            model = set_functions(model, functions)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    save_model(model, out)
    if precision == "fp16" != manifest.precision:
        logger.warning(
            "not checked: that no activation of %s passes %s, where fp16 ends, and how far its embeddings turn; "
            "`lgeu export` checks both on images; `lgeu parity %s ENGINE --data DATASET` compares an engine with it",
            out,
            f"{FP16_MAX:,.0f}",
            path,
        )
    return Path(out)
