"""Batch norm in inference is a scale and a shift for each channel: folded into the convolution before it."""

from collections import Counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .graph import copy_model, replace_nodes

Arrays = dict[str, NDArray[Any]]


def fold_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold every batch norm into the convolution before it; one without becomes a Mul and an Add.

    The factors are computed in float64 and rounded once. Done before a cast to fp16, this keeps the running variances,
    which may be far below or above fp16's range, out of the fp16 file.

    Args:
        model: a float32 model; it is not changed.

    Returns:
        A new model; equal to `model` where there is no batch norm with constant statistics.
    """
    result = copy_model(model)
    if not any(node.op_type == "BatchNormalization" for node in model.graph.node):
        return result
    graph = result.graph
    arrays: Arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    ranks = _ranks(model)
    uses = Counter(name for node in graph.node for name in node.input) + Counter(output.name for output in graph.output)
    producers = {name: node for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if not _is_constant(node, arrays):
            nodes.append(node)
            continue
        scale, shift = _scale_and_shift(node, arrays)
        conv = producers.get(node.input[0])
        if conv is not None and _can_take(conv, uses, arrays):
            _fold(conv, scale, shift, arrays)
            conv.output[0] = node.output[0]
        else:
            nodes.extend(_mul_add(node, scale, shift, ranks[node.input[0]], arrays))
    _replace(graph, nodes, arrays)
    return result


def _is_constant(node: onnx.NodeProto, arrays: Arrays) -> bool:
    return (
        node.op_type == "BatchNormalization"
        and all(name in arrays for name in node.input[1:5])
        and not any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    )


def _scale_and_shift(node: onnx.NodeProto, arrays: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weight, bias, mean, variance = (arrays[name].astype(np.float64) for name in node.input[1:5])
    epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
    scale = weight / np.sqrt(variance + epsilon)
    return scale, bias - mean * scale


def _can_take(conv: onnx.NodeProto, uses: Counter[str], arrays: Arrays) -> bool:
    # Weights that another node reads too must stay as they are.
    parameters = [name for name in conv.input[1:] if name]
    return (
        conv.op_type == "Conv"
        and uses[conv.output[0]] == 1
        and all(name in arrays and uses[name] == 1 for name in parameters)
    )


def _fold(conv: onnx.NodeProto, scale: NDArray[np.float64], shift: NDArray[np.float64], arrays: Arrays) -> None:
    weight = conv.input[1]
    bias = conv.input[2] if len(conv.input) > 2 else ""
    folded = shift + (arrays[bias].astype(np.float64) * scale if bias else 0)
    arrays[weight] = (arrays[weight] * scale.reshape(-1, *[1] * (arrays[weight].ndim - 1))).astype(np.float32)
    name = bias or f"{weight}.folded_bias"
    arrays[name] = folded.astype(np.float32)
    del conv.input[2:]
    conv.input.append(name)


def _mul_add(
    node: onnx.NodeProto, scale: NDArray[np.float64], shift: NDArray[np.float64], rank: int, arrays: Arrays
) -> list[onnx.NodeProto]:
    y = node.output[0]
    names = [f"{y}.scale", f"{y}.shift"]
    for name, value in zip(names, (scale, shift), strict=True):
        arrays[name] = value.reshape(-1, *[1] * (rank - 2)).astype(np.float32)
    return [
        helper.make_node("Mul", [node.input[0], names[0]], [f"{y}.scaled"], name=f"{node.name}.scale"),
        helper.make_node("Add", [f"{y}.scaled", names[1]], [y], name=f"{node.name}.shift"),
    ]


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    known = [*graph.input, *graph.value_info, *graph.output]
    return {value.name: len(value.type.tensor_type.shape.dim) for value in known}


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], arrays: Arrays) -> None:
    replace_nodes(graph, nodes)
    used = {name for node in graph.node for name in node.input}
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
