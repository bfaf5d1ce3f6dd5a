"""What an ONNX file is, ours or not: its manifest, its tensors, what it is made of, and where StripGate is."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx
from onnx import shape_inference

from runtime.errors import InputError, ManifestError
from runtime.files import FileIdentity, identify
from runtime.manifest import Functions, Manifest

from .graph import (
    check_functions,
    external_files,
    find_manifest,
    load_model,
    set_functions,
    strip_gate_form,
    tensor_types,
)
from .layers import Tensor, check_tensors
from .onnx_census import UNKNOWN, Operator, Weights, operators, type_name, weights
from .strip_gate import is_strip_gate

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_CONVOLUTION_TYPE = {"fp32": "FLOAT", "fp16": "FLOAT16"}
# TensorRT's names, in which a manifest's tensors are checked.
_TENSORRT_TYPE = {"FLOAT16": "HALF"}


@dataclass(frozen=True)
class OnnxTensor:
    """An input or output.

    Attributes:
        name: of the tensor.
        type: as ONNX names it, e.g. "FLOAT16"; of what is no tensor, its kind.
        shape: sizes, the names of dynamic axes, "?" for one without a name; None where the file does not say.
    """

    name: str
    type: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True)
class FunctionBody:
    """A model-local function."""

    domain: str
    name: str
    nodes: int


@dataclass(frozen=True)
class StripGateNode:
    """A StripGate node.

    Attributes:
        name: of the node.
        position: in the graph's order, from 0.
        inputs: names of X, W1 and W2.
        output: name of Y.
        type: of Y, as ONNX names it.
        attributes: all of them.
    """

    name: str
    position: int
    inputs: tuple[str, ...]
    output: str
    type: str
    attributes: Mapping[str, int | str]


@dataclass(frozen=True)
class OnnxReport:
    """What an ONNX file is.

    Attributes:
        file: which file.
        manifest: None where there is none of ours, or none that can be read.
        manifest_error: why it cannot be read.
        producer: tool and version that wrote the graph, as they call themselves; may be empty.
        ir_version: of the file format.
        opset: operator set versions by domain.
        inputs: without the weights.
        outputs: of the graph.
        functions: what became of StripGate's body; None in a graph without StripGate. "inline" is the manifest's word,
            the graph alone does not show it.
        bodies: the model-local functions inside, StripGate's or others.
        strip_gates: the StripGate nodes.
        operators: the most frequent first.
        weights: the largest part first.
        external_files: files beside this one that hold weights.
        problems: what does not fit together, a sentence each.
    """

    kind: ClassVar[str] = "onnx"

    file: FileIdentity
    manifest: Manifest | None
    manifest_error: str | None
    producer: str
    ir_version: int
    opset: Mapping[str, int]
    inputs: tuple[OnnxTensor, ...]
    outputs: tuple[OnnxTensor, ...]
    functions: Functions | None
    bodies: tuple[FunctionBody, ...]
    strip_gates: tuple[StripGateNode, ...]
    operators: tuple[Operator, ...]
    weights: tuple[Weights, ...]
    external_files: tuple[str, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON's types."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


def inspect_onnx(path: Path) -> OnnxReport:
    """Read what an ONNX file is; nothing is run.

    Raises:
        InputError: it is missing, truncated, or not ONNX.
    """
    model = load_model(path, external=True)
    manifest, manifest_error = None, None
    try:
        manifest = find_manifest(model, str(path))
    except ManifestError as error:
        manifest_error = str(error)
    types = _types(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    form = strip_gate_form(model)
    report = OnnxReport(
        file=identify(path, "model"),
        manifest=manifest,
        manifest_error=manifest_error,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=model.ir_version,
        opset={entry.domain: entry.version for entry in model.opset_import},
        # Files of IR version 3 list their weights among the inputs.
        inputs=tuple(_tensor(value) for value in model.graph.input if value.name not in constants),
        outputs=tuple(_tensor(value) for value in model.graph.output),
        functions="inline" if form is None and manifest is not None and manifest.functions == "inline" else form,
        bodies=tuple(FunctionBody(each.domain, each.name, len(each.node)) for each in model.functions),
        strip_gates=tuple(_strip_gates(model.graph, types)),
        operators=operators(model.graph, types),
        weights=weights(model.graph),
        external_files=external_files(model),
        problems=(),
    )
    return dataclasses.replace(report, problems=tuple(_problems(report, model)))


def _types(model: onnx.ModelProto) -> dict[str, str]:
    """Types of the main graph's tensors; what cannot be inferred is not in it."""
    # Behind a bare node without its body no type would be known. What is not ours, inlined or damaged stays as it is.
    with contextlib.suppress(InputError):
        model = set_functions(model, "keep")
    try:
        known = tensor_types(model, strict=False)
    except (shape_inference.InferenceError, ValueError):
        return {}
    return {name: type_name(number) for name, number in known.items() if number}


def _tensor(value: onnx.ValueInfoProto) -> OnnxTensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return OnnxTensor(value.name, (kind or UNKNOWN).removesuffix("_type"), None)
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(
            axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in tensor.shape.dim
        )
    return OnnxTensor(value.name, type_name(tensor.elem_type), shape)


def _strip_gates(graph: onnx.GraphProto, types: Mapping[str, str]) -> Iterator[StripGateNode]:
    for position, node in enumerate(graph.node):
        if is_strip_gate(node):
            output = node.output[0] if node.output else ""
            attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
            yield StripGateNode(node.name, position, tuple(node.input), output, types.get(output, UNKNOWN), attributes)


def _attribute(attribute: onnx.AttributeProto) -> int | str:
    if attribute.type == onnx.AttributeProto.INT:
        return int(attribute.i)
    if attribute.type == onnx.AttributeProto.STRING:
        return attribute.s.decode(errors="replace")
    # The operator has no other kinds.
    return f"of type {onnx.AttributeProto.AttributeType.Name(attribute.type)}"


def _problems(report: OnnxReport, model: onnx.ModelProto) -> Iterator[str]:
    manifest, source = report.manifest, report.file.path
    if manifest is None:
        return
    try:
        check_functions(model, manifest)
    except ManifestError as error:
        yield str(error)
    inputs, outputs = (tuple(map(_as_tensorrt, each)) for each in (report.inputs, report.outputs))
    try:
        check_tensors(inputs, outputs, manifest, source)
    except InputError as error:
        yield str(error)
    if dict(manifest.opset) != dict(report.opset):
        yield f"the manifest says operator sets {dict(manifest.opset)}, the graph imports {dict(report.opset)}"
    wanted = _CONVOLUTION_TYPE[manifest.precision]
    for operator in report.operators:
        wrong = {kind: count for kind, count in operator.types.items() if kind not in (wanted, UNKNOWN)}
        if operator.domain == "" and operator.name in _CONVOLUTIONS and wrong:
            kinds = ", ".join(f"{count} in {kind}" for kind, count in wrong.items())
            yield (
                f"the manifest says {manifest.precision}, and of {operator.count} {operator.name} nodes would run "
                f"{kinds}: write the file again with `lgeu export` or `lgeu rewrite --precision`"
            )


def _as_tensorrt(tensor: OnnxTensor) -> Tensor:
    shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape or ())
    return Tensor(tensor.name, _TENSORRT_TYPE.get(tensor.type, tensor.type), shape)
