"""An ONNX file of ours in memory: reading, writing, its manifest and what becomes of StripGate's function body."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper, inliner, shape_inference

from runtime.errors import InputError, ManifestError
from runtime.files import require_file, write_bytes
from runtime.manifest import METADATA_KEY, Functions, Manifest

from .strip_gate import DOMAIN, OPERATOR, OPERATOR_VERSION, is_channels_last, is_strip_gate, strip_gate_function

# Tensors that every file of ours names so: the input, what the pooling gives (before neck and L2 norm), and the output.
IMAGES = "images"
DESCRIPTOR = "descriptor"
EMBEDDINGS = "embeddings"


def load_model(path: Path, *, external: bool = False) -> onnx.ModelProto:
    """Read an ONNX file with its weights inside.

    Args:
        path: the file.
        external: take one whose weights lie in files beside it, too; they are not read. Such a model is good for being
            looked at only: parsers that are given it without its path look for the weights in the current folder.

    Raises:
        InputError: it is missing, truncated, or not ONNX; or weights lie beside it.
    """
    require_file(path, "model")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(Path(path).read_bytes())
    except DecodeError as error:
        raise InputError(f"{path} is not a readable ONNX file ({error}); it is truncated or something else") from error
    if not model.graph.node:
        raise InputError(f"{path} holds no ONNX graph; it is truncated or something else")
    # protobuf gives text that is not UTF-8 as bytes, over which everything later would stumble.
    if any(isinstance(text, bytes) for text in _texts(model)):
        raise InputError(f"{path} holds names that are not UTF-8; it is damaged: export or copy it again")
    if not external and (files := external_files(model)):
        raise InputError(
            f"{path} keeps weights in {', '.join(files)}; expected one file with all of them inside, as `lgeu export` "
            f"writes it; put them in: python -c \"import onnx; onnx.save(onnx.load('{path}'), 'whole.onnx')\""
        )
    return model


def external_files(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the files that hold weights of a model, relative to its own folder."""
    outside = onnx.TensorProto.EXTERNAL
    tensors = (each for each in _messages(model) if isinstance(each, onnx.TensorProto))
    entries = (entry for tensor in tensors if tensor.data_location == outside for entry in tensor.external_data)
    return tuple(sorted({entry.value for entry in entries if entry.key == "location"}))


def _messages(message: Any) -> Iterator[Any]:
    """A message and every one inside it."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(inner)


def _texts(message: Any) -> Iterator[str | bytes]:
    """Every text in a message and those inside it."""
    for each in _messages(message):
        for field, value in each.ListFields():
            if field.type == field.TYPE_STRING:
                yield from [value] if isinstance(value, (str, bytes)) else value


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model to one file, atomically."""
    write_bytes(path, model.SerializeToString(deterministic=True))


def read_manifest(model: onnx.ModelProto, source: str = "the ONNX model") -> Manifest:
    """The manifest in a model's metadata.

    Args:
        model: an ONNX model.
        source: where it came from, for error messages.

    Raises:
        ManifestError: there is none, or it is not valid.
    """
    manifest = find_manifest(model, source)
    if manifest is None:
        raise ManifestError(
            f"{source} has no manifest (metadata property {METADATA_KEY!r}); use a file that `lgeu export` wrote"
        )
    return manifest


def find_manifest(model: onnx.ModelProto, source: str) -> Manifest | None:
    """The manifest in a model's metadata; None where there is none.

    Raises:
        ManifestError: it is not valid.
    """
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            return Manifest.from_json(entry.value, source)
    return None


def write_manifest(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Put `manifest` into a model's metadata, in place of one that is there."""
    others = {entry.key: entry.value for entry in model.metadata_props if entry.key != METADATA_KEY}
    helper.set_model_props(model, others | {METADATA_KEY: manifest.to_json()})


def set_functions(model: onnx.ModelProto, mode: Functions) -> onnx.ModelProto:
    """Keep, strip or inline StripGate's function body, and say so in the manifest.

    Args:
        model: a model with a manifest; it is not changed. One without StripGate (gate "none") comes back equal.
        mode: "keep": node and body, for ONNX Runtime and TensorRT from 10.7; "strip": the node alone, for TensorRT up
            to 10.6, which would take the body where it should take the plugin; "inline": standard operators only, for
            OpenVINO.

    Returns:
        A new model.

    Raises:
        InputError: `mode` is none of these, or the node is asked for and was inlined before.
        ManifestError: no manifest, or one that does not match the graph.
    """
    if mode not in get_args(Functions):
        raise InputError(f"functions is {mode!r}; expected one of {', '.join(get_args(Functions))}")
    manifest = read_manifest(model)
    check_functions(model, manifest)
    result = copy_model(model)
    if not manifest.has_strip_gate or manifest.functions == mode:
        return result
    if manifest.functions == "inline":
        raise InputError(
            f"functions {mode!r} needs the StripGate node, which was inlined in this file; start from the file that "
            "`lgeu export` wrote"
        )
    detach_body(result)
    if mode != "strip":
        attach_body(result)
    if mode == "inline":
        result = inliner.inline_local_functions(result)
    opset = {entry.domain: entry.version for entry in result.opset_import if mode != "inline" or entry.domain != DOMAIN}
    del result.opset_import[:]
    result.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in opset.items())
    write_manifest(result, dataclasses.replace(manifest, functions=mode, opset=opset))
    return result


def check_functions(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Refuse a graph whose StripGate is not what its manifest says.

    Raises:
        ManifestError: the node or the body is missing, or is there and should not be, or the node reads another layout.
    """
    found = strip_gate_form(model)
    expected = None if manifest.functions == "inline" else manifest.functions
    if found != expected or (manifest.functions is not None) != manifest.has_strip_gate:
        described = {"keep": "has StripGate's body", "strip": "has a bare StripGate node", None: "has no StripGate"}
        raise ManifestError(
            f"the graph {described[found]}, and its manifest says gate {manifest.gate!r} with functions "
            f"{manifest.functions!r}; the file is damaged or was changed by another tool: export it again"
        )
    layouts = {"nhwc" if is_channels_last(node) else "nchw" for node in model.graph.node if is_strip_gate(node)}
    if layouts - {manifest.gate_layout}:
        raise ManifestError(
            f"StripGate reads {' and '.join(sorted(layouts))}, and the manifest says {manifest.gate_layout}; the file "
            "was changed by another tool: export it again"
        )


def strip_gate_form(model: onnx.ModelProto) -> Literal["keep", "strip"] | None:
    """What a graph has of StripGate: its body, the bare node, or nothing (gate "none", or inlined)."""
    if _has_body(model):
        return "keep"
    return "strip" if any(map(is_strip_gate, model.graph.node)) else None


def tensor_types(model: onnx.ModelProto, *, strict: bool = True) -> dict[str, int]:
    """ONNX's numbers of the types of the main graph's inputs, outputs and what lies between, by name.

    Args:
        model: a bare StripGate node ends what can be inferred; its body is needed.
        strict: raise for a graph that is not consistent; else leave out what is not known.

    Raises:
        onnx.shape_inference.InferenceError: types contradict each other.
    """
    graph = shape_inference.infer_shapes(model, check_type=strict, strict_mode=strict).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}


def copy_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that can be changed."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Put `nodes`, some of which may be the graph's own, in the place of its nodes; forget the types between them."""
    # Copies, because clearing the field empties the ones that stay.
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.value_info[:]


def transposes(node: onnx.NodeProto, perm: Sequence[int]) -> bool:
    """Whether a node is a Transpose by `perm`."""
    return node.op_type == "Transpose" and any(
        attribute.name == "perm" and list(attribute.ints) == list(perm) for attribute in node.attribute
    )


def _has_body(model: onnx.ModelProto) -> bool:
    return any(function.domain == DOMAIN and function.name == OPERATOR for function in model.functions)


def detach_body(model: onnx.ModelProto) -> None:
    """Take StripGate's function body out, if it is there; the manifest is not changed."""
    others = [f for f in model.functions if (f.domain, f.name) != (DOMAIN, OPERATOR)]
    del model.functions[:]
    model.functions.extend(others)


def attach_body(model: onnx.ModelProto) -> None:
    """Put StripGate's function body in, for the layout that the nodes read; the manifest is not changed.

    Raises:
        InputError: two nodes read different layouts.
    """
    layouts = {is_channels_last(node) for node in model.graph.node if is_strip_gate(node)}
    if len(layouts) > 1:
        raise InputError("StripGate nodes read X in two layouts; one function body serves one: export them alike")
    opset = {entry.domain: entry.version for entry in model.opset_import}
    model.functions.append(strip_gate_function(channels_last=layouts.pop(), opset=opset[""]))
    if DOMAIN not in opset:
        model.opset_import.append(helper.make_opsetid(DOMAIN, OPERATOR_VERSION))
