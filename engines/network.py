"""From an ONNX file to TensorRT's network, which is checked before hours are spent on building it."""

from typing import Any

import onnx

from runtime.errors import InputError
from runtime.manifest import Manifest
from runtime.tensorrt_library import TensorRTLibrary
from runtime.tensorrt_log import complaint

from .graph import set_functions
from .layers import Layer, check_plugin_layers, check_precision, check_tensors, read_layers, read_tensor
from .strip_gate import is_strip_gate


def parse_network(
    builder: Any, logger: Any, library: TensorRTLibrary, model: onnx.ModelProto, manifest: Manifest, source: str
) -> Any:
    """A strongly typed `INetworkDefinition`; a StripGate plugin must be loaded if the model needs it.

    Raises:
        InputError: the parser cannot read the model.
    """
    network = builder.create_network(1 << int(library.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.trt.OnnxParser(network, logger)
    if manifest.has_strip_gate:
        # The bare node: TensorRT up to 10.6 prefers a function body to the plugin, and later ones fall back to it.
        model = set_functions(model, "strip")
    if not parser.parse(model.SerializeToString()):
        nodes = [parser.get_error(index).node_name() for index in range(parser.num_errors)]
        at = f" at node {nodes[0]!r}" if nodes and nodes[0] else ""
        raise InputError(f"{library.flavour} cannot read {source}{at}: {complaint(logger.errors)}")
    return network


def check_network(network: Any, model: onnx.ModelProto, manifest: Manifest, source: str) -> tuple[Layer, ...]:
    """The layers of a parsed network, which is what the manifest says.

    Raises:
        InputError: inputs, outputs or types are not.
        CheckFailedError: StripGate did not become the plugin.
    """
    layers = read_layers(network)
    inputs = [read_tensor(network.get_input(index)) for index in range(network.num_inputs)]
    outputs = [read_tensor(network.get_output(index)) for index in range(network.num_outputs)]
    check_tensors(inputs, outputs, manifest, source)
    check_precision(layers, manifest, source)
    if manifest.has_strip_gate:
        check_plugin_layers(layers, [node.output[0] for node in model.graph.node if is_strip_gate(node)], source)
    return layers
