"""What a graph takes as `images`: uint8 pixels as images are stored, or planes of floats as DeepStream makes them."""

import dataclasses
from collections.abc import Sequence
from typing import get_args

import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.errors import InputError
from runtime.manifest import InputFormat, Manifest

from .graph import IMAGES, copy_model, read_manifest, replace_nodes, transposes, write_manifest

# What may stand between the pixels and the first layer with weights: their normalisation.
_PIXEL_OPERATORS = {"Cast", "Transpose", "Add", "Sub", "Mul", "Div"}
_TO_PLANES = [0, 3, 1, 2]
_TYPE = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def set_input_format(model: onnx.ModelProto, input_format: InputFormat) -> onnx.ModelProto:
    """Let a graph take its images in another format, and say so in the manifest.

    Either format holds pixel values of 0..255, RGB; the normalisation stays in the graph, and results are equal.

    Args:
        model: a model with a manifest, of any precision and with its functions kept, stripped or inlined; it is not
            changed. One that takes `input_format` already comes back equal.
        input_format: "uint8-nhwc": (N, H, W, 3) uint8; "float-nchw": (N, 3, H, W) float32.

    Returns:
        A new model.

    Raises:
        InputError: `input_format` is neither, or the graph does not begin as an exported one does.
        ManifestError: no manifest.
    """
    if input_format not in get_args(InputFormat):
        raise InputError(f"input format is {input_format!r}; expected one of {', '.join(get_args(InputFormat))}")
    manifest = read_manifest(model)
    result = copy_model(model)
    if manifest.input_format == input_format:
        return result
    rewritten = dataclasses.replace(manifest, input_format=input_format)
    nodes = _take_planes(result.graph) if input_format == "float-nchw" else _take_pixels(result.graph)
    replace_nodes(result.graph, nodes)
    _declare_input(result.graph, rewritten)
    write_manifest(result, rewritten)
    return result


def pixel_nodes(graph: onnx.GraphProto) -> set[int]:
    """Indices of the nodes between the images and the first layer: their conversion and normalisation."""
    pixels = {IMAGES}
    constants = {tensor.name for tensor in graph.initializer}
    found = set()
    for index, node in enumerate(graph.node):
        inputs = set(node.input)
        if node.op_type in _PIXEL_OPERATORS and inputs & pixels and inputs <= pixels | constants:
            found.add(index)
            pixels.update(node.output)
    return found


def _take_planes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Without the Cast and the Transpose that made planes of floats from uint8 pixels."""
    chain = [graph.node[index] for index in sorted(pixel_nodes(graph))]
    places = [place for place, node in enumerate(chain) if transposes(node, _TO_PLANES)]
    if not chain or chain[0].op_type != "Cast" or not places:
        raise InputError(
            f"{IMAGES!r} does not go through a Cast and a Transpose to planes before the first layer; use a file that "
            "`lgeu export` wrote"
        )
    transpose = chain[places[0]]
    _check_constants(graph, chain[: places[0]])
    sources = {node.output[0]: node.input[0] for node in (chain[0], transpose)}
    nodes = [node for node in graph.node if node.output[0] not in sources]
    for node in nodes:
        node.input[:] = [_resolve(name, sources) for name in node.input]
    return nodes


def _take_pixels(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """With a Cast, which must come first on uint8, and a Transpose in front."""
    pixels, planes = f"{IMAGES}.float", f"{IMAGES}.planes"
    for node in graph.node:
        node.input[:] = [planes if name == IMAGES else name for name in node.input]
    return [
        helper.make_node("Cast", [IMAGES], [pixels], name=f"{IMAGES}/Cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", [pixels], [planes], name=f"{IMAGES}/Transpose", perm=_TO_PLANES),
        *graph.node,
    ]


def _check_constants(graph: onnx.GraphProto, chain: Sequence[onnx.NodeProto]) -> None:
    """Refuse constants that were shaped for (N, H, W, 3): on planes they would meet another axis."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in chain:
        for name in node.input:
            if name in constants and numpy_helper.to_array(constants[name]).size != 1:
                raise InputError(
                    f"node {node.name!r} treats colours differently before the pixels are made planes; use a file that "
                    "`lgeu export` wrote"
                )


def _resolve(name: str, sources: dict[str, str]) -> str:
    while name in sources:
        name = sources[name]
    return name


def _declare_input(graph: onnx.GraphProto, manifest: Manifest) -> None:
    (value,) = (value for value in graph.input if value.name == IMAGES)
    batch = value.type.tensor_type.shape.dim[0].dim_param
    kind = _TYPE[manifest.input_type]
    value.CopyFrom(helper.make_tensor_value_info(IMAGES, kind, [batch, *manifest.input_shape]))
