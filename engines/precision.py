"""The cast of a graph to fp16: layers in half, the two ends and StripGate's accumulation in float32."""

import dataclasses

import numpy as np
import onnx
from onnx import TensorProto, checker, defs, helper, numpy_helper, shape_inference

from runtime.errors import InputError

from .batch_norm import fold_batch_norms
from .graph import (
    DESCRIPTOR,
    check_functions,
    copy_model,
    read_manifest,
    replace_nodes,
    set_functions,
    tensor_types,
    write_manifest,
)
from .input_format import pixel_nodes
from .strip_gate import is_strip_gate

FP16_MAX = float(np.finfo(np.float16).max)

# The squares inside may be beyond fp16 where neither what these read nor what they give is, and a strongly typed engine
# computes them in the type that it reads: parsers up to TensorRT 10.1 at least make three layers of a ReduceL2.
_SQUARING = {"ReduceL2", "ReduceSumSquare", "LayerNormalization", "GroupNormalization", "InstanceNormalization"}


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Cast a model to fp16, so that a strongly typed engine or ONNX Runtime runs its layers in half.

    Batch norm is folded in float32 first. The normalisation of the pixels, the neck and the L2 norm stay in float32,
    with one Cast behind the first and one before the neck; StripGate takes and gives half. A plain mean (gate "none")
    is taken in float32, as StripGate's is; norms and sums of squares inside the network are, too, between Casts.

    Args:
        model: a float32 model with a manifest, functions kept or stripped; it is not changed. One that is fp16 already
            comes back equal.

    Returns:
        A new model; its functions are as `model`'s.

    Raises:
        InputError: StripGate was inlined, the graph has control flow, a weight is beyond fp16's largest number or not
            finite, or all of a weight or constant would become zero.
        ManifestError: no manifest, or one that does not match the graph.
    """
    manifest = read_manifest(model)
    check_functions(model, manifest)
    if manifest.precision == "fp16":
        return copy_model(model)
    if manifest.functions == "inline":
        raise InputError("StripGate was inlined in this file; cast the file that `lgeu export` wrote, then inline it")
    result = fold_batch_norms(set_functions(model, "keep"))
    _refuse_control_flow(result.graph)
    _constants_to_initialisers(result.graph)
    _Cast(result).run()
    write_manifest(result, dataclasses.replace(read_manifest(result), precision="fp16"))
    try:
        checker.check_model(result, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise InputError(f"this graph cannot be cast to fp16 ({error}); use this model in fp32") from error
    return set_functions(result, manifest.functions or "keep")


def float32_nodes(graph: onnx.GraphProto) -> set[int]:
    """Indices of the nodes that the cast leaves in float32: the pixels' normalisation, the neck and the L2 norm.

    Raises:
        InputError: the graph has no tensor "descriptor", by which the neck and the L2 norm are found.
    """
    return pixel_nodes(graph) | _tail_nodes(graph)


class _Cast:
    """One walk over a graph in its order of execution, which writes the cast graph in its place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.opset = {entry.domain: entry.version for entry in model.opset_import}
        self.floats = _float_tensors(model)
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer if tensor.name in self.floats}
        self.nodes: list[onnx.NodeProto] = []
        self.tensors = {tensor.name: tensor for tensor in self.graph.initializer if tensor.name not in self.floats}
        # Float tensors that are half where they are made, and the name of each tensor in either type.
        self.made_half: set[str] = set()
        self.names: dict[tuple[str, bool], str] = {}

    def run(self) -> None:
        """Cast the graph in place."""
        single = float32_nodes(self.graph)
        single |= {index for index, node in enumerate(self.graph.node) if node.op_type in _SQUARING}
        for index, original in enumerate(self.graph.node):
            node = onnx.NodeProto.FromString(original.SerializeToString())
            half = index not in single
            for place, name in enumerate(original.input):
                if name in self.floats:
                    node.input[place] = self._read(name, half and self._takes_half(node, place))
            if half:
                _make_half(node)
                self.made_half.update(name for name in node.output if name in self.floats)
            self.nodes.append(node)
        if wrong := [output.name for output in self.graph.output if output.name in self.made_half]:
            raise InputError(
                f"output {wrong[0]!r} would be fp16; expected an L2 norm behind {DESCRIPTOR!r}: export it again"
            )
        replace_nodes(self.graph, self.nodes)
        del self.graph.initializer[:]
        self.graph.initializer.extend(self.tensors.values())

    def _read(self, name: str, half: bool) -> str:
        """The name under which a node reads `name` in the type it wants; a Cast or a constant is made when needed."""
        if name not in self.constants and (name in self.made_half) == half:
            return name
        if (name, half) not in self.names:
            suffix = "fp16" if half else "fp32"
            if name in self.constants:
                copy = name if name not in self.tensors else f"{name}.{suffix}"
                self.tensors[copy] = _tensor(self.constants[name], copy, half)
            else:
                copy = f"{name}.{suffix}"
                kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
                self.nodes.append(helper.make_node("Cast", [name], [copy], name=f"to_{suffix}.{name}", to=kind))
            self.names[name, half] = copy
        return self.names[name, half]

    def _takes_half(self, node: onnx.NodeProto, place: int) -> bool:
        # Some inputs are float32 by definition, such as Resize's scales.
        if is_strip_gate(node):
            return True
        inputs = defs.get_schema(node.op_type, self.opset[node.domain], node.domain).inputs
        return "tensor(float16)" in inputs[min(place, len(inputs) - 1)].types


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    known = tensor_types(model)
    graph = model.graph
    for node in graph.node:
        if unknown := [name for name in node.output if name and name not in known]:
            raise InputError(f"the type of {unknown[0]!r} ({node.op_type}) is not known; this graph cannot be cast")
    constants = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    return constants | {name for name, kind in known.items() if kind == TensorProto.FLOAT}


def _tail_nodes(graph: onnx.GraphProto) -> set[int]:
    """The neck, the L2 norm, and the pooling unless that is StripGate, which accumulates in float32 by itself."""
    behind: set[str] = set()
    found = set()
    for index, node in enumerate(graph.node):
        if DESCRIPTOR in node.output:
            behind.add(DESCRIPTOR)
            if not is_strip_gate(node):
                found.add(index)
        elif behind & set(node.input):
            found.add(index)
            behind.update(node.output)
    if not behind:
        raise InputError(f"the graph has no tensor {DESCRIPTOR!r}, before the L2 norm; use a file from `lgeu export`")
    return found


def _tensor(tensor: onnx.TensorProto, name: str, half: bool) -> onnx.TensorProto:
    array = numpy_helper.to_array(tensor)
    if not half:
        return numpy_helper.from_array(array, name)
    largest = np.abs(array).max(initial=0)
    if not largest <= FP16_MAX:
        raise InputError(
            f"weight {tensor.name!r} holds {largest:g}; fp16 ends at {FP16_MAX:,.0f}; use this model in fp32"
        )
    with np.errstate(under="ignore"):
        cast = array.astype(np.float16)
    if array.any() and not cast.any():
        # Of a single number: a constant of the arithmetic, most often what keeps a divisor from zero.
        raise InputError(f"all of {tensor.name!r}, up to {largest:g}, is zero in fp16; use this model in fp32")
    return numpy_helper.from_array(cast, name)


def _make_half(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif node.op_type == "ConstantOfShape" and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_tensor(attribute.t, attribute.t.name, half=True))


def _constants_to_initialisers(graph: onnx.GraphProto) -> None:
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensor), node.output[0]))
        else:
            nodes.append(node)
    replace_nodes(graph, nodes)


def _refuse_control_flow(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if any(
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in node.attribute
        ):
            raise InputError(
                f"node {node.name!r} ({node.op_type}) is control flow, which the cast to fp16 does not take"
            )
