"""The layers of a parsed network: what TensorRT was really asked to build, and whether that is what was meant."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.errors import CheckFailedError, InputError
from runtime.files import require_file, write_json
from runtime.manifest import Manifest

PLUGIN_LAYER = "PLUGIN_V3"
# Layers with weights, by which a network's precision goes: ConvNeXt's pointwise layers are matrix products.
_HEAVY = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM")
_TYPE = {"fp32": "FLOAT", "fp16": "HALF"}
_INPUT_TYPE = {"uint8": "UINT8", "float32": "FLOAT"}


@dataclass(frozen=True)
class Tensor:
    """A tensor of the network.

    Attributes:
        name: unique in the network.
        type: as TensorRT names it, e.g. "HALF".
        shape: -1 where it depends on the batch.
    """

    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A layer of the network.

    Attributes:
        name: the ONNX node's, where it came from one.
        type: as TensorRT names it, e.g. "CONVOLUTION".
        outputs: what it computes.
    """

    name: str
    type: str
    outputs: tuple[Tensor, ...]


def layers_path(engine: Path) -> Path:
    """Where the dump of the layers lies: `<engine>.layers.json`."""
    return engine.with_name(engine.name + ".layers.json")


def read_layers(network: Any) -> tuple[Layer, ...]:
    """The layers of an `INetworkDefinition`, in its order."""
    layers = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = tuple(read_tensor(layer.get_output(place)) for place in range(layer.num_outputs))
        layers.append(Layer(layer.name, layer.type.name, outputs))
    return tuple(layers)


def read_tensor(tensor: Any) -> Tensor:
    """An `ITensor` of the network."""
    return Tensor(tensor.name, tensor.dtype.name, tuple(tensor.shape))


def read_engine_tensor(engine: Any, name: str) -> Tensor:
    """An input or output of an `ICudaEngine`."""
    return Tensor(name, engine.get_tensor_dtype(name).name, tuple(engine.get_tensor_shape(name)))


def write_layers(path: Path, layers: Sequence[Layer], engine_sha256: str) -> None:
    """Write the dump, atomically, with the hash of the engine it belongs to."""
    write_json(path, {"engine_sha256": engine_sha256, "layers": [asdict(layer) for layer in layers]})


def load_layers(path: Path) -> tuple[str, tuple[Layer, ...]]:
    """Read a dump: the hash of the engine it belongs to, and the layers of the network that engine was built from.

    Raises:
        InputError: it is missing, or not such a file.
    """
    try:
        content = json.loads(require_file(path, "list of layers").read_bytes())
        return str(content["engine_sha256"]), tuple(_layer(entry) for entry in content["layers"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a list of layers that `lgeu build` wrote ({type(error).__name__}: {error}); build the "
            "engine again"
        ) from error


def _layer(entry: Any) -> Layer:
    outputs = ((str(each["name"]), str(each["type"]), each["shape"]) for each in entry["outputs"])
    return Layer(
        str(entry["name"]),
        str(entry["type"]),
        tuple(Tensor(name, kind, tuple(int(size) for size in shape)) for name, kind, shape in outputs),
    )


def check_plugin_layers(layers: Iterable[Layer], outputs: Iterable[str], source: str) -> None:
    """Refuse a network in which a StripGate node did not become the plugin.

    Without the plugin some versions of the parser expand the node's function body, and say nothing.

    Args:
        layers: of the parsed network.
        outputs: names of the StripGate nodes' outputs in the ONNX file.
        source: the ONNX file, for the message.

    Raises:
        CheckFailedError: an output is not computed by a plugin layer, or there is none to compute.
    """
    computed = {tensor.name for layer in layers if layer.type == PLUGIN_LAYER for tensor in layer.outputs}
    names = list(outputs)
    if not names or not computed.issuperset(names):
        raise CheckFailedError(
            f"StripGate is not a plugin layer in the network that TensorRT read from {source} (plugins compute "
            f"{', '.join(sorted(computed)) or 'nothing'}; expected {', '.join(names) or 'a StripGate node'}): "
            "the parser took the node's function body; nothing was built"
        )


def check_precision(layers: Iterable[Layer], manifest: Manifest, source: str) -> None:
    """Refuse a network whose convolutions or matrix products are not of the type that the file's manifest promises.

    Raises:
        InputError: one is not.
    """
    expected = _TYPE[manifest.precision]
    heavy = [layer for layer in layers if layer.type in _HEAVY]
    wrong = [layer for layer in heavy if layer.outputs[0].type != expected]
    if wrong:
        first = wrong[0]
        raise InputError(
            f"{source} is {manifest.precision} by its manifest, but {len(wrong)} of its {len(heavy)} convolutions and "
            f"matrix products would run in another type, the first {first.name!r} ({first.type}) in "
            f"{first.outputs[0].type}; write the file again with `lgeu export` or `lgeu rewrite --precision`"
        )


def check_tensors(inputs: Sequence[Tensor], outputs: Sequence[Tensor], manifest: Manifest, source: str) -> None:
    """Refuse a network whose input and output are not `images` and `embeddings` as the manifest describes them.

    Raises:
        InputError: they are not.
    """
    expected = (
        [Tensor("images", _INPUT_TYPE[manifest.input_type], (-1, *manifest.input_shape))],
        [Tensor("embeddings", "FLOAT", (-1, manifest.embedding_size))],
    )
    if (list(inputs), list(outputs)) != expected:
        given, wanted = (", ".join(map(_describe, (*a, *b))) for a, b in ((inputs, outputs), expected))
        raise InputError(f"{source} has the tensors {given}; expected {wanted}: export it again")


def _describe(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.type} {tensor.shape}"
