"""StripGate reading the feature map in another layout: the same embeddings, whatever was done to the file before."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import checker, helper

from engines.builder import build_engine
from engines.gate_layout import set_gate_layout
from engines.graph import check_functions, read_manifest, save_model, set_functions, write_manifest
from engines.input_format import set_input_format
from engines.layers import layers_path, load_layers
from engines.options import BuildOptions
from engines.precision import to_fp16
from engines.strip_gate import is_channels_last, is_strip_gate
from runtime.engine_manifest import BatchProfile
from runtime.errors import InputError, ManifestError
from runtime.manifest import read_engine_manifest

Images = NDArray[np.uint8]
MakeModel = Callable[..., onnx.ModelProto]
Run = Callable[[onnx.ModelProto, Images], NDArray[np.float32]]


def gate_of(model: onnx.ModelProto) -> onnx.NodeProto:
    (gate,) = filter(is_strip_gate, model.graph.node)
    return gate


def producer_of_x(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if gate_of(model).input[0] in node.output)


@pytest.mark.parametrize("functions", ["keep", "strip"])
@pytest.mark.parametrize("strips", [1, 2, 4, 8])
def test_nhwc_reads_behind_a_transpose_and_gives_equal_embeddings(
    make_model: MakeModel, run_onnx: Run, images: Images, strips: int, functions: str
) -> None:
    model = set_functions(make_model(strips=strips), functions)

    last = set_gate_layout(model, "nhwc")

    checker.check_model(last, full_check=True)
    assert is_channels_last(gate_of(last))
    assert (producer_of_x(last).op_type, list(producer_of_x(last).attribute[0].ints)) == ("Transpose", [0, 2, 3, 1])
    assert read_manifest(last) == dataclasses.replace(read_manifest(model), gate_layout="nhwc")
    given, expected = (run_onnx(set_functions(each, "keep"), images) for each in (last, model))
    np.testing.assert_allclose(given, expected, atol=1e-6, rtol=0)


def test_there_and_back_is_the_same_file(make_model: MakeModel) -> None:
    model = make_model()
    assert set_gate_layout(set_gate_layout(model, "nhwc"), "nchw") == model
    assert set_gate_layout(model, "nchw") == model
    assert model == make_model()


def test_the_cast_to_fp16_may_come_first(make_model: MakeModel) -> None:
    model = make_model()
    assert set_gate_layout(to_fp16(model), "nhwc") == to_fp16(set_gate_layout(model, "nhwc"))


def test_a_network_that_computes_channels_last_loses_its_transpose(
    make_model: MakeModel, run_onnx: Run, images: Images
) -> None:
    """As ConvNeXt ends: a layer in (N, H, W, C), and a Transpose behind it for what reads (N, C, H, W)."""
    model = make_model()
    place = next(index for index, node in enumerate(model.graph.node) if is_strip_gate(node))
    for node in (
        helper.make_node("Transpose", ["doubled"], ["x_first"], name="to_first", perm=[0, 3, 1, 2]),
        helper.make_node("Add", ["x_last", "x_last"], ["doubled"], name="double"),
        helper.make_node("Transpose", ["x"], ["x_last"], name="to_last", perm=[0, 2, 3, 1]),
    ):
        model.graph.node.insert(place, node)
    gate_of(model).input[0] = "x_first"

    last = set_gate_layout(model, "nhwc")

    assert gate_of(last).input[0] == "doubled"
    assert [node.name for node in last.graph.node if node.op_type == "Transpose"] == ["to_planes", "to_last"]
    np.testing.assert_allclose(run_onnx(last, images), run_onnx(model, images), atol=1e-6, rtol=0)


def test_a_transpose_that_something_else_reads_stays(make_model: MakeModel) -> None:
    model = make_model(channels_last=True)
    model.graph.node.append(helper.make_node("Identity", ["x_last"], ["shown"], name="show"))
    first = set_gate_layout(model, "nchw")
    assert gate_of(first).input[0] == "x"
    assert "to_last" in [node.name for node in first.graph.node]


def test_models_without_the_node(make_model: MakeModel) -> None:
    plain = make_model(gate="none")
    assert set_gate_layout(plain, "nchw") == plain
    with pytest.raises(InputError, match="'nhwc' is how StripGate reads, and this model has none"):
        set_gate_layout(plain, "nhwc")
    inlined = set_functions(make_model(), "inline")
    assert set_gate_layout(inlined, "nchw") == inlined
    with pytest.raises(InputError, match="was inlined in this file; start from"):
        set_gate_layout(inlined, "nhwc")
    with pytest.raises(InputError, match="'NHWC'; expected one of nchw, nhwc"):
        set_gate_layout(make_model(), "NHWC")  # type: ignore[arg-type]


def test_a_manifest_that_says_another_layout(make_model: MakeModel) -> None:
    model = make_model()
    write_manifest(model, dataclasses.replace(read_manifest(model), gate_layout="nhwc"))
    with pytest.raises(ManifestError, match="StripGate reads nchw, and the manifest says nhwc"):
        check_functions(model, read_manifest(model))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_rtx_takes_nhwc_and_planes_of_floats(
    make_model: MakeModel, plugin_library: Path, tmp_path: Path, precision: str
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    model = set_input_format(set_gate_layout(make_model(), "nhwc"), "float-nchw")
    save_model(to_fp16(model) if precision == "fp16" else model, tmp_path / "model.onnx")

    engine = build_engine(
        tmp_path / "model.onnx",
        flavour="tensorrt-rtx",
        plugin=plugin_library,
        options=BuildOptions((BatchProfile(1, 4, 8),), targets=("SM86",)),
    )

    assert b'custom_layer={ name="strip_gate"' in engine.read_bytes()
    manifest = read_engine_manifest(engine)
    assert (manifest.gate_layout, manifest.input_format) == ("nhwc", "float-nchw")
    _, layers = load_layers(layers_path(engine))
    shapes = {layer.name: layer.outputs[0].shape for layer in layers}
    assert shapes["strip_gate/Transpose"] == (-1, 8, 4, 16)
    assert shapes["strip_gate"] == (-1, 16)
    assert "to_planes" not in shapes
