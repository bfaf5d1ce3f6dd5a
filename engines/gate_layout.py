"""How StripGate reads the feature map: as (N, C, H, W), or as (N, H, W, C) behind a Transpose.

Behind the Transpose a builder may let the last convolution write what StripGate reads; without, it may have to insert a
transposing kernel between the two. Which is faster depends on the library and the GPU.
"""

import dataclasses
from typing import get_args

import onnx
from onnx import helper

from runtime.errors import InputError
from runtime.manifest import GateLayout, Manifest

from .graph import (
    attach_body,
    check_functions,
    copy_model,
    detach_body,
    read_manifest,
    replace_nodes,
    transposes,
    write_manifest,
)
from .strip_gate import is_strip_gate

_TO_LAST = [0, 2, 3, 1]
_TO_FIRST = [0, 3, 1, 2]


def set_gate_layout(model: onnx.ModelProto, layout: GateLayout) -> onnx.ModelProto:
    """Let StripGate read the feature map in another layout, and say so in the manifest. Results are equal.

    Args:
        model: a model with a manifest, of any precision, functions kept or stripped; it is not changed. One whose
            StripGate reads `layout` already comes back equal.
        layout: "nchw" or "nhwc".

    Returns:
        A new model; its functions are as `model`'s.

    Raises:
        InputError: `layout` is neither, there is no StripGate, or it was inlined.
        ManifestError: no manifest, or one that does not match the graph.
    """
    manifest = read_manifest(model)
    check_gate_layout(layout, manifest)
    check_functions(model, manifest)
    result = copy_model(model)
    if manifest.gate_layout == layout:
        return result
    if manifest.functions == "inline":
        raise InputError(
            f"layout {layout!r} needs the StripGate node, which was inlined in this file; start from the file that "
            "`lgeu export` wrote"
        )
    replace_nodes(result.graph, _transposed(result.graph, channels_last=layout == "nhwc"))
    if manifest.functions == "keep":
        detach_body(result)
        attach_body(result)
    write_manifest(result, dataclasses.replace(manifest, gate_layout=layout))
    return result


def check_gate_layout(layout: GateLayout, manifest: Manifest) -> None:
    """Refuse a layout that a model cannot have.

    Raises:
        InputError: `layout` is none, or is "nhwc" and the model has no StripGate.
    """
    if layout not in get_args(GateLayout):
        raise InputError(f"layout is {layout!r}; expected one of {', '.join(get_args(GateLayout))}")
    if layout != "nchw" and not manifest.has_strip_gate:
        raise InputError(
            f"layout {layout!r} is how StripGate reads, and this model has none (gate {manifest.gate!r}); leave it out"
        )


def _transposed(graph: onnx.GraphProto, *, channels_last: bool) -> list[onnx.NodeProto]:
    """The nodes, with every StripGate reading its X transposed."""
    perm, inverse = (_TO_LAST, _TO_FIRST) if channels_last else (_TO_FIRST, _TO_LAST)
    producers = {name: node for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if is_strip_gate(node):
            x = node.input[0]
            before = producers.get(x)
            if before is not None and transposes(before, inverse):
                # Two that cancel: ours, or the one behind a network that computes channels-last.
                node.input[0] = before.input[0]
            else:
                node.input[0] = f"{x}.{'nhwc' if channels_last else 'nchw'}"
                nodes.append(
                    helper.make_node("Transpose", [x], [node.input[0]], name=f"{node.name}/Transpose", perm=perm)
                )
            _set_channels_last(node, channels_last)
        nodes.append(node)
    return _without_unread_transposes(nodes, graph)


def _set_channels_last(node: onnx.NodeProto, channels_last: bool) -> None:
    for attribute in node.attribute:
        if attribute.name == "channels_last":
            attribute.i = int(channels_last)
            return
    node.attribute.append(helper.make_attribute("channels_last", int(channels_last)))


def _without_unread_transposes(nodes: list[onnx.NodeProto], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    read = {name for node in nodes for name in node.input} | {output.name for output in graph.output}
    return [node for node in nodes if node.op_type != "Transpose" or read.intersection(node.output)]
