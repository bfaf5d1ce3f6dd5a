"""The function body of StripGate against the paper's equations, written as loops in float64."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper

from engines.strip_gate import DOMAIN, IR_VERSION, OPSET, is_channels_last, strip_gate_function, strip_gate_node

Array = NDArray[np.floating]


def equations(x: Array, w1: Array, w2: Array) -> Array:
    """(1) to (4), element by element where it matters: X is (N, C, H, W)."""
    n, c, h, w = x.shape
    k, r, _ = w1.shape
    rows = h // k
    gated = np.zeros((n, c, h, w))
    for image in range(n):
        for strip in range(k):
            part = slice(strip * rows, (strip + 1) * rows)
            local = np.array([x[image, channel, part].astype(np.float64).mean() for channel in range(c)])
            squeezed = [max(0.0, sum(float(w1[strip, i, j]) * local[j] for j in range(c))) for i in range(r)]
            for channel in range(c):
                logit = sum(float(w2[strip, channel, i]) * squeezed[i] for i in range(r))
                gated[image, channel, part] = x[image, channel, part] / (1 + np.exp(-logit))
    return gated.mean((2, 3))


def bare_model(kind: int, strips: int, channels_last: bool) -> onnx.ModelProto:
    """StripGate alone, with weights as inputs and every size but K dynamic."""
    node = strip_gate_node("X", "W1", "W2", "Y", num_strips=strips, channels_last=channels_last)
    graph = helper.make_graph(
        [node],
        "gate",
        [
            helper.make_tensor_value_info("X", kind, list("abcd")),
            helper.make_tensor_value_info("W1", kind, list("efg")),
            helper.make_tensor_value_info("W2", kind, list("hij")),
        ],
        [helper.make_tensor_value_info("Y", kind, list("kl"))],
    )
    return helper.make_model(
        graph,
        functions=[strip_gate_function(channels_last=channels_last)],
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
    )


def run(model: onnx.ModelProto, x: Array, w1: Array, w2: Array) -> Array:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"X": x, "W1": w1, "W2": w2})[0]
    return result


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("strips", [1, 2, 4, 8])
@pytest.mark.parametrize(("kind", "tolerance"), [(np.float32, 2e-6), (np.float16, 2e-3)])
def test_body_is_the_papers_equations(
    kind: type[np.floating], tolerance: float, strips: int, channels_last: bool
) -> None:
    random = np.random.default_rng(strips)
    x = random.normal(0, 2, (3, 12, 16, 5)).astype(kind)
    w1 = random.normal(0, 0.5, (strips, 6, 12)).astype(kind)
    w2 = random.normal(0, 0.5, (strips, 12, 6)).astype(kind)
    model = bare_model(helper.np_dtype_to_tensor_dtype(np.dtype(kind)), strips, channels_last)
    checker.check_model(model, full_check=True)

    given = run(model, x.transpose(0, 2, 3, 1).copy() if channels_last else x, w1, w2)

    assert given.dtype == kind
    assert given.shape == (3, 12)
    np.testing.assert_allclose(given.astype(np.float64), equations(x, w1, w2), atol=tolerance, rtol=0)


@pytest.mark.parametrize("batch", [1, 2, 33])
def test_any_batch(batch: int) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, 8, 4, 2)).astype(np.float32)
    w1, w2 = (random.normal(size=size).astype(np.float32) for size in ((2, 3, 8), (2, 8, 3)))
    np.testing.assert_allclose(
        run(bare_model(TensorProto.FLOAT, 2, False), x, w1, w2), equations(x, w1, w2), atol=2e-6, rtol=0
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_half_input_is_accumulated_in_float32(channels_last: bool) -> None:
    # The sum of a strip is 120,000, beyond half's 65,504, and adding 1 to 2,048 does nothing in half.
    x = np.full((1, 2, 4, 1000), 60, np.float16)
    x[0, 1] = 1
    w1, w2 = np.zeros((2, 1, 2), np.float16), np.zeros((2, 2, 1), np.float16)  # every gate is sigmoid(0)
    model = bare_model(TensorProto.FLOAT16, 2, channels_last)
    given = run(model, x.transpose(0, 2, 3, 1).copy() if channels_last else x, w1, w2)
    np.testing.assert_array_equal(given, np.float16([[30, 0.5]]))


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_height_that_does_not_divide_is_an_error_and_not_a_wrong_result(channels_last: bool) -> None:
    # 6 rows of 4: 24 elements do divide into 4 parts, 6 rows do not.
    x = np.zeros((1, 4, 6, 4), np.float32)
    model = bare_model(TensorProto.FLOAT, 4, channels_last)
    if channels_last:
        x = x.transpose(0, 2, 3, 1).copy()
    with pytest.raises(Exception, match="Reshape"):
        run(model, x, np.zeros((4, 2, 4), np.float32), np.zeros((4, 4, 2), np.float32))


def test_node_says_all_that_a_plugin_is_found_by() -> None:
    node = strip_gate_node("X", "W1", "W2", "Y", num_strips=4)
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert (node.domain, node.op_type) == ("lgeu", "StripGate")
    assert values == {"num_strips": 4, "channels_last": 0, "plugin_namespace": b"lgeu", "plugin_version": b"1"}


def test_layout_defaults_to_channels_first() -> None:
    node = strip_gate_node("X", "W1", "W2", "Y", num_strips=4, channels_last=True)
    assert is_channels_last(node)
    del node.attribute[:]
    assert not is_channels_last(node)


def test_names_in_the_body_meet_none_of_a_graph() -> None:
    function = strip_gate_function()
    names = [*function.input, *function.output, *(name for node in function.node for name in node.output)]
    assert all(name.startswith("strip_gate_") for name in names)
