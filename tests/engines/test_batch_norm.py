"""Folding batch norm: the graph computes what it did, and no batch norm is left."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper

from engines.batch_norm import fold_batch_norms

NORM = ["scale", "bias", "mean", "variance"]


def model_of(nodes: Sequence[onnx.NodeProto], shape: Sequence[int | str], conv_bias: bool = False) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(4, 4, 3, 3)),
        "scale": random.uniform(0.5, 2, 4),
        "bias": random.normal(size=4),
        "mean": random.normal(size=4),
        "variance": np.array([1e-9, 0.1, 1, 1e6]),
    }
    weights |= {"b": random.normal(size=4)} if conv_bias else {}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    # ONNX Runtime folds batch norm itself; here it must not.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(["y"], {"x": x})[0]
    return result


def conv(output: str, inputs: Sequence[str] = ("x", "w")) -> onnx.NodeProto:
    return helper.make_node("Conv", inputs, [output], name=f"conv_{output}", pads=[1] * 4)


def norm(x: str, y: str) -> onnx.NodeProto:
    return helper.make_node("BatchNormalization", [x, *NORM], [y], name=f"norm_{y}", epsilon=1e-3)


@pytest.mark.parametrize(
    ("nodes", "operators"),
    [
        ([conv("c"), norm("c", "y")], ["Conv"]),
        ([conv("c", ["x", "w", "b"]), norm("c", "y")], ["Conv"]),
        # the convolution's output is read elsewhere, too
        ([conv("c"), norm("c", "n"), helper.make_node("Add", ["c", "n"], ["y"])], ["Conv", "Mul", "Add", "Add"]),
        # its weights are
        (
            [conv("c"), norm("c", "n"), conv("d"), helper.make_node("Add", ["d", "n"], ["y"])],
            ["Conv", "Mul", "Add", "Conv", "Add"],
        ),
        ([norm("x", "n"), conv("y", ["n", "w"])], ["Mul", "Add", "Conv"]),
        # one behind the other: the second has no convolution directly before it until the first is folded
        ([conv("c"), norm("c", "n"), norm("n", "y")], ["Conv", "Mul", "Add"]),
    ],
)
def test_same_result_without_batch_norm(nodes: list[onnx.NodeProto], operators: list[str]) -> None:
    model = model_of(nodes, ["N", 4, 6, 5], conv_bias="b" in {name for node in nodes for name in node.input})
    x = np.random.default_rng(1).normal(size=(2, 4, 6, 5)).astype(np.float32)
    folded = fold_batch_norms(model)
    checker.check_model(folded, full_check=True)
    assert [node.op_type for node in folded.graph.node] == operators
    np.testing.assert_allclose(run(folded, x), run(model, x), rtol=1e-5, atol=1e-5)


def test_features_of_two_dimensions() -> None:
    model = model_of([norm("x", "y")], ["N", 4])
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    folded = fold_batch_norms(model)
    assert run(folded, x).shape == (5, 4)
    np.testing.assert_allclose(run(folded, x), run(model, x), rtol=1e-5, atol=1e-5)


def test_training_mode_is_left_alone() -> None:
    node = norm("x", "y")
    node.attribute.append(helper.make_attribute("training_mode", 1))
    node.output.extend(["running_mean", "running_variance"])
    model = model_of([node], ["N", 4, 6, 5])
    assert [node.op_type for node in fold_batch_norms(model).graph.node] == ["BatchNormalization"]


def test_the_real_network(make_model: Callable[..., onnx.ModelProto]) -> None:
    folded = fold_batch_norms(make_model())
    assert "BatchNormalization" not in {node.op_type for node in folded.graph.node}
    assert not any("running" in tensor.name for tensor in folded.graph.initializer)
