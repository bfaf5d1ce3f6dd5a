"""What is done to exported files, on three kinds of backbone, and two with a neck, with gates of 1, 2, 4 and 8 strips.

Each backbone is exported once, by the fixture; the gates, with random weights, are put behind it here.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import checker, helper, numpy_helper

from engines.builder import build_engine
from engines.gate_layout import set_gate_layout
from engines.graph import (
    DESCRIPTOR,
    load_model,
    read_manifest,
    replace_nodes,
    save_model,
    set_functions,
    write_manifest,
)
from engines.input_format import set_input_format
from engines.layers import layers_path, load_layers
from engines.options import BuildOptions
from engines.precision import to_fp16
from engines.strip_gate import DOMAIN, OPERATOR_VERSION, is_strip_gate, strip_gate_node
from runtime.engine_manifest import BatchProfile
from runtime.manifest import GateLayout, InputFormat
from runtime.preprocess import network_input
from runtime.tensorrt_library import default_plugin
from train.checkpoint import load_checkpoint
from train.neck import CentringNeck

from .conftest import NETWORKS, Exported

HEIGHT, WIDTH, REDUCTION = 256, 64, 8
# Every pair of values occurs.
SETTINGS: list[tuple[int, GateLayout, InputFormat]] = [
    (1, "nchw", "uint8-nhwc"),
    (1, "nhwc", "float-nchw"),
    (2, "nchw", "float-nchw"),
    (2, "nhwc", "uint8-nhwc"),
    (4, "nchw", "uint8-nhwc"),
    (4, "nhwc", "float-nchw"),
    (8, "nchw", "float-nchw"),
    (8, "nhwc", "uint8-nhwc"),
]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)


def run(
    model: onnx.ModelProto, images: NDArray[np.uint8], output: str = "embeddings", *, optimised: bool = True
) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    batch = network_input(images, read_manifest(model).input_format)
    result: NDArray[np.float32] = session.run([output], {"images": batch})[0]
    return result


class Backbone:
    """An exported backbone at a larger input, whose feature map has 8 or 16 rows; it is convolutional throughout."""

    def __init__(self, path: Path) -> None:
        self.model = load_model(path)
        place = next(index for index, node in enumerate(self.model.graph.node) if DESCRIPTOR in node.output)
        self.x = self.model.graph.node[place].input[0]
        self.before, self.behind = self.model.graph.node[:place], self.model.graph.node[place + 1 :]
        del self.model.functions[:]

    def with_gate(self, strips: int, seed: int) -> tuple[onnx.ModelProto, NDArray[np.float32], NDArray[np.float32]]:
        """The network with a gate of its own in the place of the exported one, and the gate's weights."""
        manifest = read_manifest(self.model)
        channels, random = manifest.embedding_size, np.random.default_rng(seed)
        w1 = random.normal(0, 0.5, (strips, REDUCTION, channels)).astype(np.float32)
        w2 = random.normal(0, 2.0, (strips, channels, REDUCTION)).astype(np.float32)
        result = onnx.ModelProto()
        result.CopyFrom(self.model)
        gate = strip_gate_node(self.x, "pool.w1", "pool.w2", DESCRIPTOR, num_strips=strips)
        replace_nodes(result.graph, [*self.before, gate, *self.behind])
        weights = [tensor for tensor in self.model.graph.initializer if not tensor.name.startswith("pool.")]
        del result.graph.initializer[:]
        result.graph.initializer.extend(weights)
        result.graph.initializer.extend(map(numpy_helper.from_array, (w1, w2), ("pool.w1", "pool.w2")))
        for axis, size in zip(result.graph.input[0].type.tensor_type.shape.dim[1:3], (HEIGHT, WIDTH), strict=True):
            axis.dim_value = size
        opset = dict(manifest.opset) | {DOMAIN: OPERATOR_VERSION}
        del result.opset_import[:]
        result.opset_import.extend(helper.make_opsetid(*entry) for entry in opset.items())
        changed = {"gate": "strip" if strips > 1 else "se", "strips": strips, "reduction": REDUCTION, "opset": opset}
        size = {"height": HEIGHT, "width": WIDTH, "functions": "strip"}
        write_manifest(result, dataclasses.replace(manifest, **changed, **size))
        return set_functions(result, "keep"), w1, w2

    def feature_map(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(N, C, 8 or 16, W) of ONNX Runtime."""
        model, _, _ = self.with_gate(1, 0)
        model.graph.output.append(helper.make_empty_tensor_value_info(self.x))
        return run(model, images, self.x).astype(np.float64)


@pytest.fixture(scope="module")
def backbone(exported: Exported) -> Backbone:
    return Backbone(exported.report.fp32)


@pytest.fixture(scope="module")
def feature_map(backbone: Backbone, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    return backbone.feature_map(images)


def gated_mean(x: NDArray[np.float64], w1: NDArray[np.float32], w2: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, C) by equations (1) to (4)."""
    gated = np.empty_like(x)
    for strip, rows in enumerate(np.split(np.arange(x.shape[2]), len(w1))):
        local = x[:, :, rows].mean((2, 3))
        logits = np.maximum(local @ w1[strip].T, 0) @ w2[strip].T
        gated[:, :, rows] = x[:, :, rows] / (1 + np.exp(-logits))[..., None, None]
    means: NDArray[np.float64] = gated.mean((2, 3))
    return means


@pytest.fixture(scope="module")
def embed(exported: Exported) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Neck and L2 norm, by the checkpoint's own statistics."""
    neck = load_checkpoint(exported.checkpoint).model.neck

    def embed(pooled: NDArray[np.float64]) -> NDArray[np.float64]:
        if isinstance(neck, CentringNeck):
            pooled = pooled - np.asarray(neck.running_mean, np.float64)
        elif isinstance(neck, torch.nn.BatchNorm1d):
            mean, variance, weight = (
                np.asarray(values.detach(), np.float64) for values in (neck.running_mean, neck.running_var, neck.weight)
            )
            pooled = (pooled - mean) / np.sqrt(variance + neck.eps) * weight
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    return embed


@pytest.mark.parametrize(("strips", "layout", "input_format"), SETTINGS)
def test_every_rewriting_gives_the_network_back(
    backbone: Backbone,
    feature_map: NDArray[np.float64],
    embed: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    images: NDArray[np.uint8],
    strips: int,
    layout: GateLayout,
    input_format: InputFormat,
) -> None:
    model, w1, w2 = backbone.with_gate(strips, seed=strips)
    expected = embed(gated_mean(feature_map, w1, w2))
    kept = set_input_format(set_gate_layout(model, layout), input_format)
    half = to_fp16(kept)
    np.testing.assert_allclose(run(kept, images), expected, atol=1e-5, rtol=0)
    assert (run(half, images) * expected).sum(1).min() > 0.9999
    # The order in which things are done to a file does not matter.
    assert set_input_format(set_gate_layout(to_fp16(model), layout), input_format) == half
    assert to_fp16(set_functions(kept, "strip")) == set_functions(half, "strip")
    for each in (kept, half):
        stripped, inlined = set_functions(each, "strip"), set_functions(each, "inline")
        for written in (each, stripped, inlined):
            checker.check_model(written, full_check=True)
        assert set_functions(stripped, "keep") == each
        # On a CPU the optimiser leaves out roundings to half, and not the same ones in both files.
        given, kept_gives = (run(written, images, optimised=False) for written in (inlined, each))
        np.testing.assert_array_equal(given, kept_gives)


@pytest.mark.parametrize(
    "exported", [network for network in NETWORKS if "convnext" in network["backbone"]], indirect=True
)
def test_tensorrt_rtx_takes_a_convnext_without_its_last_transpose(exported: Exported, tmp_path: Path) -> None:
    """Which computes channels-last before it: StripGate then reads the last layer norm itself."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    if not default_plugin().is_file():
        pytest.skip("the StripGate plugin is not built: make plugin")
    model, _, _ = Backbone(exported.report.fp32).with_gate(4, seed=0)
    last = set_gate_layout(model, "nhwc")
    gate = next(node for node in last.graph.node if is_strip_gate(node))
    (before,) = (node for node in last.graph.node if gate.input[0] in node.output)
    assert before.op_type == "LayerNormalization"
    save_model(to_fp16(last), tmp_path / "model.onnx")

    options = BuildOptions((BatchProfile(1, 2, 4),), targets=("SM86",))
    engine = build_engine(tmp_path / "model.onnx", flavour="tensorrt-rtx", plugin=None, options=options)

    _, layers = load_layers(layers_path(engine))
    kinds = {layer.type: layer.outputs[0].type for layer in layers if layer.type in ("NORMALIZATION", "PLUGIN_V3")}
    assert kinds == {"NORMALIZATION": "FLOAT", "PLUGIN_V3": "HALF"}
    assert b'custom_layer={ name="strip_gate"' in engine.read_bytes()
