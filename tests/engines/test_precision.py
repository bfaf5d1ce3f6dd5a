"""The cast to fp16: which tensors are half, how near the result is, and what is refused."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference

from engines.graph import read_manifest, set_functions
from engines.precision import to_fp16
from runtime.errors import InputError

Images = NDArray[np.uint8]
MakeModel = Callable[..., onnx.ModelProto]
Run = Callable[[onnx.ModelProto, Images], NDArray[np.float32]]
GATES = [("strip", 4), ("strip", 8), ("se", 1), ("none", 1)]


def types(model: onnx.ModelProto) -> dict[str, int]:
    graph = shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    known = {value.name: value.type.tensor_type.elem_type for value in values}
    return known | {tensor.name: tensor.data_type for tensor in graph.initializer}


def weight(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def put(model: onnx.ModelProto, name: str, value: NDArray[np.float32]) -> None:
    weight(model, name).CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))


def insert_before_x(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Put nodes that read "c3" and write "c3_new" into the middle of the tiny network."""
    place = next(index for index, node in enumerate(model.graph.node) if node.name == "residual")
    model.graph.node[place].input[0] = "c3_new"
    for offset, node in enumerate(nodes):
        model.graph.node.insert(place + offset, node)


@pytest.mark.parametrize(("gate", "strips"), GATES)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("neck", ["none", "bn"])
def test_near_the_fp32_network(
    make_model: MakeModel, run_onnx: Run, images: Images, gate: str, strips: int, channels_last: bool, neck: str
) -> None:
    model = make_model(gate=gate, strips=strips, channels_last=channels_last, neck=neck)
    half = to_fp16(model)
    checker.check_model(half, full_check=True)
    given, expected = run_onnx(half, images), run_onnx(model, images)
    assert given.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(given, axis=1), 1, atol=1e-6)
    assert (given * expected).sum(1).min() > 0.9999
    assert np.abs(given - expected).max() > 0  # it is another network


@pytest.mark.parametrize(("gate", "strips"), GATES)
@pytest.mark.parametrize("neck", ["none", "bn"])
def test_layers_are_half_and_both_ends_float32(make_model: MakeModel, gate: str, strips: int, neck: str) -> None:
    half = to_fp16(make_model(gate=gate, strips=strips, neck=neck))
    kinds = types(half)
    assert kinds["images"] == TensorProto.UINT8
    assert kinds["embeddings"] == TensorProto.FLOAT
    for node in half.graph.node:
        if node.op_type in ("Conv", "Relu", "StripGate"):
            names = [*node.input, *node.output]
            assert {kinds[name] for name in names} == {TensorProto.FLOAT16}, node.name
        if node.op_type in ("ReduceL2", "ReduceMean", "Sub", "Div", "Clip"):
            assert kinds[node.output[0]] == TensorProto.FLOAT, node.name
    in_the_neck = [node for node in half.graph.node if node.name.startswith("neck.")]
    assert [node.op_type for node in in_the_neck] == (["Mul", "Add"] if neck == "bn" else [])
    assert all(kinds[name] == TensorProto.FLOAT for node in in_the_neck for name in (*node.input, *node.output))
    assert half.graph.node[0].op_type == "Cast"  # on the uint8 pixels


@pytest.mark.parametrize(("gate", "strips"), GATES)
@pytest.mark.parametrize("neck", ["none", "bn"])
def test_no_cast_but_the_three(make_model: MakeModel, gate: str, strips: int, neck: str) -> None:
    half = to_fp16(make_model(gate=gate, strips=strips, neck=neck))
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    assert [(node.input[0], helper.get_attribute_value(node.attribute[0])) for node in casts] == [
        ("images", TensorProto.FLOAT),
        ("normalised", TensorProto.FLOAT16),
        ("x" if gate == "none" else "descriptor", TensorProto.FLOAT),
    ]


def test_batch_norm_is_folded_before_the_cast(make_model: MakeModel, run_onnx: Run, images: Images) -> None:
    model = make_model()
    # A variance that is zero in half, and the weights that make up for it.
    put(model, "bn1.running_var", np.full(16, 1e-9))
    put(model, "bn1.weight", np.full(16, 3e-3))
    half = to_fp16(model)
    assert not any(node.op_type == "BatchNormalization" for node in half.graph.node)
    assert (run_onnx(half, images) * run_onnx(model, images)).sum(1).min() > 0.999


def test_the_manifest_says_fp16_and_a_second_cast_does_nothing(make_model: MakeModel) -> None:
    half = to_fp16(make_model())
    assert read_manifest(half).precision == "fp16"
    assert to_fp16(half) == half


@pytest.mark.parametrize("mode", ["keep", "strip"])
def test_functions_stay_as_they_are(make_model: MakeModel, mode: str) -> None:
    half = to_fp16(set_functions(make_model(), mode))
    assert half == set_functions(to_fp16(make_model()), mode)


def test_constants_of_every_kind(make_model: MakeModel, run_onnx: Run, images: Images) -> None:
    model = make_model()
    shape = helper.make_node("Shape", ["c3"], ["shape"])
    fill = numpy_helper.from_array(np.float32([0.5]))
    insert_before_x(
        model,
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2))),
        helper.make_node("Mul", ["c3", "two"], ["doubled"]),
        shape,
        helper.make_node("ConstantOfShape", ["shape"], ["halves"], value=fill),
        helper.make_node("Mul", ["doubled", "halves"], ["restored"]),
        # an integer tensor to float: half, where its reader is
        helper.make_node("Cast", ["shape"], ["sizes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["sizes"], ["least"], keepdims=0),
        helper.make_node("Mul", ["restored", "least"], ["scaled"]),
        helper.make_node("Div", ["scaled", "least"], ["rescaled"]),
        # shared with the pixels' normalisation, which stays in float32
        helper.make_node("Mul", ["rescaled", "pixel_scale"], ["large"]),
        helper.make_node("Div", ["large", "pixel_scale"], ["c3_new"]),
    )
    half = to_fp16(model)
    kinds = types(half)
    assert kinds["halves"] == kinds["sizes"] == kinds["c3_new"] == TensorProto.FLOAT16
    assert Counter(node.op_type for node in half.graph.node)["Cast"] == 4
    assert (run_onnx(half, images) * run_onnx(make_model(), images)).sum(1).min() > 0.9999


def test_integers_are_not_copied(make_model: MakeModel) -> None:
    model = make_model()
    # "features", the axis of the L2 norm in float32, is read by layers in half, too.
    insert_before_x(
        model,
        helper.make_node("Unsqueeze", ["c3", "features"], ["c3_5d"]),
        helper.make_node("Squeeze", ["c3_5d", "features"], ["c3_new"]),
    )
    names = [tensor.name for tensor in to_fp16(model).graph.initializer if tensor.data_type == TensorProto.INT64]
    assert names == ["features"]


def test_inputs_that_are_float32_by_definition(make_model: MakeModel, run_onnx: Run, images: Images) -> None:
    model = make_model()
    for name, factor in (("up", 2), ("down", 0.5)):
        scales = np.float32([1, 1, factor, factor])
        model.graph.initializer.append(numpy_helper.from_array(scales, name))
    insert_before_x(
        model,
        helper.make_node("Resize", ["c3", "", "up"], ["larger"], mode="nearest"),
        helper.make_node("Resize", ["larger", "", "down"], ["c3_new"], mode="nearest"),
    )
    half = to_fp16(model)
    assert weight(half, "up").data_type == TensorProto.FLOAT
    assert types(half)["larger"] == TensorProto.FLOAT16
    assert (run_onnx(half, images) * run_onnx(make_model(), images)).sum(1).min() > 0.9999


@pytest.mark.parametrize("operator", ["ReduceL2", "ReduceSumSquare"])
def test_sums_of_squares_are_float32(make_model: MakeModel, run_onnx: Run, images: Images, operator: str) -> None:
    """A map of 8 x 4 values of 100 has a norm of 566, and a sum of squares that is infinite in half."""
    model = make_model()
    model.graph.initializer.append(numpy_helper.from_array(np.int64([2, 3]), "map"))
    insert_before_x(
        model,
        helper.make_node(operator, ["c3", "map"], ["map_length"], name="norm", keepdims=1),
        helper.make_node("Div", ["c3", "map_length"], ["c3_new"]),
    )
    kinds = types(half := to_fp16(model))
    (norm,) = (node for node in half.graph.node if node.name == "norm")
    assert [kinds[name] for name in (norm.input[0], norm.output[0])] == [TensorProto.FLOAT] * 2
    assert kinds["c3_new"] == TensorProto.FLOAT16
    assert (run_onnx(half, images) * run_onnx(model, images)).sum(1).min() > 0.9999


def test_a_layer_norm_is_float32_between_casts(make_model: MakeModel, run_onnx: Run, images: Images) -> None:
    model = make_model()
    random = np.random.default_rng(3)
    for name in ("norm.weight", "norm.bias"):
        model.graph.initializer.append(numpy_helper.from_array(random.uniform(0.5, 2, 4).astype(np.float32), name))
    norm = helper.make_node("LayerNormalization", ["c3", "norm.weight", "norm.bias"], ["c3_new"], name="norm")
    insert_before_x(model, norm)
    half = to_fp16(model)
    kinds = types(half)
    (norm,) = (node for node in half.graph.node if node.name == "norm")
    assert {kinds[name] for name in (*norm.input, *norm.output)} == {TensorProto.FLOAT}
    (residual,) = (node for node in half.graph.node if node.name == "residual")
    assert {kinds[name] for name in (*residual.input, *residual.output)} == {TensorProto.FLOAT16}
    assert (run_onnx(half, images) * run_onnx(model, images)).sum(1).min() > 0.9999


@pytest.mark.parametrize("value", [65_520.0, -1e9, np.inf, np.nan])
def test_a_weight_beyond_fp16_is_named(make_model: MakeModel, value: float) -> None:
    model = make_model()
    weights = numpy_helper.to_array(weight(model, "conv3.weight")).copy()
    weights[3, 2, 1, 0] = value
    put(model, "conv3.weight", weights)
    with pytest.raises(InputError, match=r"'conv3\.weight' holds .*; fp16 ends at 65,504"):
        to_fp16(model)


def test_a_weight_at_the_end_of_fp16(make_model: MakeModel) -> None:
    model = make_model()
    put(model, "conv3.weight", np.full((16, 16, 3, 3), 65_504))
    assert np.isfinite(numpy_helper.to_array(weight(to_fp16(model), "conv3.weight"))).all()


def test_a_weight_of_which_nothing_would_be_left_is_named(make_model: MakeModel) -> None:
    model = make_model()
    tiny = numpy_helper.to_array(weight(model, "conv3.weight")) * 1e-9
    put(model, "conv3.weight", tiny)
    with pytest.raises(InputError, match=r"all of 'conv3\.weight', up to .*, is zero in fp16"):
        to_fp16(model)
    tiny[0, 0, 0, 0] = 1e-7  # as a channel without effect is in many a trained network
    put(model, "conv3.weight", tiny)
    assert np.count_nonzero(numpy_helper.to_array(weight(to_fp16(model), "conv3.weight"))) == 1


def test_a_constant_that_would_vanish_is_named(make_model: MakeModel) -> None:
    model = make_model()
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1e-12), "tiny"))
    insert_before_x(model, helper.make_node("Add", ["c3", "tiny"], ["c3_new"]))
    with pytest.raises(InputError, match="all of 'tiny', up to 1e-12, is zero in fp16"):
        to_fp16(model)


def test_an_inlined_file(make_model: MakeModel) -> None:
    with pytest.raises(InputError, match="was inlined in this file; cast the file that `lgeu export` wrote"):
        to_fp16(set_functions(make_model(), "inline"))


def test_control_flow(make_model: MakeModel) -> None:
    model = make_model()
    branch = helper.make_graph([helper.make_node("Identity", ["c3"], ["same"])], "branch", [], [])
    branch.output.append(helper.make_tensor_value_info("same", TensorProto.FLOAT, ["N", 16, 8, 4]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    insert_before_x(model, helper.make_node("If", ["yes"], ["c3_new"], then_branch=branch, else_branch=branch))
    with pytest.raises(InputError, match=r"\(If\) is control flow"):
        to_fp16(model)


def test_without_a_descriptor(make_model: MakeModel) -> None:
    model = make_model(gate="none")
    for node in model.graph.node:
        node.input[:] = ["features_1" if name == "descriptor" else name for name in node.input]
        node.output[:] = ["features_1" if name == "descriptor" else name for name in node.output]
    with pytest.raises(InputError, match="no tensor 'descriptor'"):
        to_fp16(model)
