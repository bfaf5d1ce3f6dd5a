"""From a torch model to an ONNX model with everything that every exported file has."""

import ast
import dataclasses
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

import onnx
import torch
from onnx import checker

from engines.batch_norm import fold_batch_norms
from engines.gate_layout import check_gate_layout, set_gate_layout
from engines.graph import DESCRIPTOR, EMBEDDINGS, IMAGES, set_functions, write_manifest
from engines.input_format import set_input_format
from engines.strip_gate import IR_VERSION, OPSET, is_strip_gate
from runtime.errors import InputError
from runtime.manifest import GateLayout, InputFormat
from train.checkpoint import Checkpoint

from .network import ExportNet

_SCOPES = "pkg.torch.onnx.name_scopes"
_WRAPPER = "net."


def convert(
    checkpoint: Checkpoint,
    checkpoint_sha256: str,
    *,
    layout: GateLayout = "nchw",
    input_format: InputFormat = "uint8-nhwc",
) -> onnx.ModelProto:
    """Convert a checkpoint to an fp32 ONNX model with manifest and StripGate's body.

    Args:
        checkpoint: of `train.checkpoint.load_checkpoint`.
        checkpoint_sha256: hash of its file.
        layout: how StripGate reads the feature map; "nhwc" puts a Transpose in front of it.
        input_format: what the model takes as `images`.

    Returns:
        A model that has passed ONNX's checker: `images` in, float32 `embeddings` out, any N.

    Raises:
        InputError: torch's exporter does not take the backbone, or `layout` is "nhwc" and there is no StripGate.
    """
    check_gate_layout(layout, checkpoint.manifest)
    model = _trace(checkpoint)
    _tidy(model)
    manifest = dataclasses.replace(
        checkpoint.manifest,
        precision="fp32",
        checkpoint_sha256=checkpoint_sha256,
        opset={entry.domain: entry.version for entry in model.opset_import},
        functions="strip" if checkpoint.manifest.has_strip_gate else None,
        tools={**checkpoint.manifest.tools, **_tools()},
    )
    write_manifest(model, manifest)
    model = fold_batch_norms(set_functions(model, "keep"))
    model = set_input_format(set_gate_layout(model, layout), input_format)
    checker.check_model(model, full_check=True)
    return model


def _trace(checkpoint: Checkpoint) -> onnx.ModelProto:
    manifest = checkpoint.manifest
    # Two images, because torch takes a batch of one in the example for a batch that is always one.
    example = torch.zeros(2, manifest.height, manifest.width, 3, dtype=torch.uint8)
    try:
        with _quiet():
            program = torch.onnx.export(
                ExportNet(checkpoint.model),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[IMAGES],
                output_names=[EMBEDDINGS, DESCRIPTOR],
                dynamic_shapes={IMAGES: {0: torch.export.Dim("N", min=1)}},
                verbose=False,
            )
    except Exception as error:  # the exporter's own errors and whatever a backbone's code raises under it
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"torch's exporter does not take the backbone {manifest.backbone} ({reason}); choose another backbone"
        ) from error
    if program is None:
        raise InputError(
            f"torch's exporter gave no graph for the backbone {manifest.backbone}; choose another backbone"
        )
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what nobody here can act on: deprecations inside torch, and the optimiser's account of each pass."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _tools() -> Mapping[str, str]:
    return {name: version(name) for name in ("lgeu-reid", "torch", "timm", "onnx", "onnxscript")}


def _tidy(model: onnx.ModelProto) -> None:
    """Leave what runs: readable names, and neither stack traces nor paths of the machine that exported."""
    graph = model.graph
    # The descriptor was an output so that it has its name.
    del graph.output[1:]
    del graph.value_info[:]
    names: set[str] = set()
    for node in graph.node:
        node.name = _unique(_node_name(node), names)
        _clear(node)
        node.input[:] = [_weight_name(name) for name in node.input]
    for tensor in graph.initializer:
        tensor.name = _weight_name(tensor.name)
        _clear(tensor)
    for part in (model, graph, *graph.input, *graph.output):
        _clear(part)
    graph.name = "lgeu"
    model.ir_version = IR_VERSION


def _node_name(node: onnx.NodeProto) -> str:
    """The module that a node comes from and its operator, e.g. "backbone.layer1.0.bn1/Conv"."""
    if is_strip_gate(node):
        return "strip_gate"
    scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
    modules = [scope for scope in ast.literal_eval(scopes)[:-1] if scope.startswith(_WRAPPER)]
    return f"{modules[-1].removeprefix(_WRAPPER)}/{node.op_type}" if modules else node.op_type


def _weight_name(name: str) -> str:
    """As in the checkpoint. `net.mean` stays, because a node's output may be called `mean`; none has dots."""
    return name.removeprefix(_WRAPPER) if name.count(".") > 1 else name


def _unique(name: str, taken: set[str]) -> str:
    result, number = name, 1
    while result in taken:
        number += 1
        result = f"{name}_{number}"
    taken.add(result)
    return result


def _clear(part: onnx.ModelProto | onnx.GraphProto | onnx.NodeProto | onnx.TensorProto | onnx.ValueInfoProto) -> None:
    del part.metadata_props[:]
    part.ClearField("doc_string")
