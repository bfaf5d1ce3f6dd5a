"""Files that take their images in another format: the same pixels, the same embeddings."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, checker, numpy_helper

from engines.graph import read_manifest, save_model, set_functions, write_manifest
from engines.input_format import set_input_format
from engines.inspect_onnx import OnnxTensor, inspect_onnx
from engines.options import BuildOptions
from engines.precision import to_fp16
from engines.trtexec import trtexec_commands
from runtime.engine_manifest import BatchProfile
from runtime.errors import InputError

Images = NDArray[np.uint8]
MakeModel = Callable[..., onnx.ModelProto]
Run = Callable[[onnx.ModelProto, Images], NDArray[np.float32]]


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("gate", ["strip", "none"])
@pytest.mark.parametrize("functions", ["keep", "inline"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_planes_of_floats_give_equal_embeddings(
    make_model: MakeModel, run_onnx: Run, images: Images, precision: str, functions: str, gate: str
) -> None:
    model = make_model(gate=gate)
    model = set_functions(to_fp16(model) if precision == "fp16" else model, functions)

    planar = set_input_format(model, "float-nchw")

    checker.check_model(planar, full_check=True)
    (value,) = planar.graph.input
    assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] == ["N", 3, 64, 32]
    assert operators(planar)[:4] == ["Div", "Sub", "Div", "Cast" if precision == "fp16" else "Conv"]
    assert read_manifest(planar) == dataclasses.replace(read_manifest(model), input_format="float-nchw")
    session = onnxruntime.InferenceSession(planar.SerializeToString(), providers=["CPUExecutionProvider"])
    planes = images.astype(np.float32).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(session.run(None, {"images": planes})[0], run_onnx(model, images))


def test_and_back(make_model: MakeModel, run_onnx: Run, images: Images) -> None:
    model = make_model()
    back = set_input_format(set_input_format(model, "float-nchw"), "uint8-nhwc")
    checker.check_model(back, full_check=True)
    assert back.graph.input == model.graph.input
    assert read_manifest(back) == read_manifest(model)
    # TensorRT's parser takes nothing but a Cast on uint8.
    assert operators(back)[:2] == ["Cast", "Transpose"]
    assert [node.op_type for node in back.graph.node if "images" in node.input] == ["Cast"]
    np.testing.assert_array_equal(run_onnx(back, images), run_onnx(model, images))
    assert set_input_format(back, "float-nchw") == set_input_format(model, "float-nchw")


def test_the_cast_to_fp16_may_come_first(make_model: MakeModel) -> None:
    model = make_model()
    assert set_input_format(to_fp16(model), "float-nchw") == to_fp16(set_input_format(model, "float-nchw"))


def test_the_model_given_is_not_changed(make_model: MakeModel) -> None:
    model = make_model()
    assert set_input_format(model, "uint8-nhwc") == model
    set_input_format(model, "float-nchw")
    assert model == make_model()


def test_graphs_that_do_not_begin_as_ours(make_model: MakeModel) -> None:
    model = make_model()
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "pixel_scale")
    scale.CopyFrom(numpy_helper.from_array(np.float32([255, 254, 253]), "pixel_scale"))
    with pytest.raises(InputError, match="'unit' treats colours differently before the pixels are made planes"):
        set_input_format(model, "float-nchw")
    model = make_model()
    next(node for node in model.graph.node if node.name == "to_planes").op_type = "Identity"
    with pytest.raises(InputError, match="does not go through a Cast and a Transpose to planes"):
        set_input_format(model, "float-nchw")


def test_unknown_format(make_model: MakeModel) -> None:
    with pytest.raises(InputError, match="'float-nhwc'; expected one of uint8-nhwc, float-nchw"):
        set_input_format(make_model(), "float-nhwc")  # type: ignore[arg-type]


def test_other_tools_are_told(make_model: MakeModel, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save_model(set_input_format(make_model(), "float-nchw"), path)
    commands = trtexec_commands(path, plugin=tmp_path / "lib.so", options=BuildOptions((BatchProfile(1, 8, 16),)))
    assert "--minShapes=images:1x3x64x32 --optShapes=images:8x3x64x32 --maxShapes=images:16x3x64x32" in commands
    report = inspect_onnx(path)
    assert report.inputs == (OnnxTensor("images", "FLOAT", ("N", 3, 64, 32)),)
    assert report.problems == ()
    model = make_model()
    write_manifest(model, dataclasses.replace(read_manifest(model), input_format="float-nchw"))
    save_model(model, path)
    (problem,) = inspect_onnx(path).problems
    assert "images UINT8 (-1, 64, 32, 3)" in problem
    assert "expected images FLOAT (-1, 3, 64, 32)" in problem
