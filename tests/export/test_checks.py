"""The checks themselves: what they measure and what they let through."""

import math
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.checks import Activation, BatchCheck, batches_of, compare, largest_activation
from export.report import check_fp16, check_fp32
from runtime.errors import CheckFailedError

Images = NDArray[np.uint8]
Embeddings = NDArray[np.float32]
SMALL = Activation(10.0, "layer")


def network(gain: float, back: float | None = None) -> onnx.ModelProto:
    """Mean colour, scaled up and back: 255 * gain is the largest value between the two."""
    weights = {"gain": np.full((3, 3, 1, 1), 0), "back": np.float64(back or 1 / gain), "axes": np.int64([2, 3])}
    weights["gain"] = np.eye(3).reshape(3, 3, 1, 1) * gain
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], name="planes", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "gain"], ["loud"], name="up"),
        helper.make_node("Neg", ["loud"], ["negative"], name="negative"),
        helper.make_node("Abs", ["negative"], ["positive"], name="positive"),
        helper.make_node("Mul", ["positive", "back"], ["quiet"], name="down"),
        helper.make_node("ReduceMean", ["quiet", "axes"], ["descriptor"], name="pool", keepdims=0),
        helper.make_node("LpNormalization", ["descriptor"], ["embeddings"], name="l2", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 4, 2, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", 3])],
        [
            numpy_helper.from_array(value if value.dtype == np.int64 else value.astype(np.float32), name)
            for name, value in weights.items()
        ],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def embed(images: Images) -> Embeddings:
    colours = images.astype(np.float64).mean((1, 2))
    return (colours / np.linalg.norm(colours, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def images() -> Images:
    images = np.random.default_rng(0).integers(1, 250, (19, 4, 2, 3), np.uint8)
    images[17, 3, 1, 2] = 255
    return images


@pytest.mark.parametrize("gain", [2, 1000])
def test_the_largest_activation_is_found_in_the_last_chunk_and_by_magnitude(images: Images, gain: float) -> None:
    found = largest_activation(network(gain), images)
    assert found.value == pytest.approx(255 * gain)
    assert found.node == "up"


def test_pixels_and_what_stays_float32_do_not_count(images: Images) -> None:
    # The pixels are up to 255, their normalisation is not cast; the layers see at most a tenth of that.
    assert largest_activation(network(0.1, back=1), images).value == pytest.approx(25.5)


def test_an_activation_that_is_not_a_number_is_the_largest(images: Images) -> None:
    model = network(1)
    model.graph.node[5].op_type = "Div"
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.float32(math.nan), "back"))
    found = largest_activation(model, images)
    assert math.isnan(found.value)
    assert found.node == "down"


def against(reference: Callable[[Images], Embeddings], images: Images) -> tuple[BatchCheck, ...]:
    batches = batches_of(images)
    return compare(network(2), batches, [reference(batch) for batch in batches])


def test_compare_measures_every_batch_from_few_images(images: Images) -> None:
    def tilted(part: Images) -> Embeddings:
        return np.ascontiguousarray(embed(part)[:, ::-1])

    assert [len(batch) for batch in batches_of(images[:3])] == [1, 7, 32]
    exact = against(embed, images[:3])
    assert [check.batch for check in exact] == [1, 7, 32]
    assert max(check.max_difference for check in exact) < 1e-6
    assert min(check.min_cosine for check in exact) == pytest.approx(1, abs=1e-6)
    wrong = against(tilted, images[:3])
    expected = embed(images[:3])
    assert wrong[2].max_difference == pytest.approx(np.abs(expected - expected[:, ::-1]).max(), abs=1e-5)
    assert wrong[2].min_cosine == pytest.approx((expected * expected[:, ::-1]).sum(1).min(), abs=1e-5)


@pytest.mark.parametrize("count", [1, 32, 33, 70])
def test_every_image_is_compared_and_the_worst_counts(count: int) -> None:
    images = np.random.default_rng(1).integers(1, 250, (count, 4, 2, 3), np.uint8)
    for wrong, value in ((0, 0.5), (count // 2, math.nan), (count - 1, 0.5)):

        def off_at_one(part: Images, image: Images = images[wrong], value: float = value) -> Embeddings:
            embeddings = embed(part)
            embeddings[(part == image).all((1, 2, 3)), 0] += value
            return embeddings

        checks = against(off_at_one, images)
        assert [check.batch for check in checks] == [1, 7, 32]
        assert checks[2].max_difference == pytest.approx(value, abs=1e-5, nan_ok=True)
        assert not checks[2].min_cosine > 0.99


def test_fp32_tolerance() -> None:
    check_fp32([BatchCheck(1, 9.9e-6, 1.0)])
    for worst in (1.1e-5, math.nan, math.inf):
        with pytest.raises(CheckFailedError, match=r"fp32 graph and torch differ .* expected at most 1e-05"):
            check_fp32([BatchCheck(1, 0.0, 1.0), BatchCheck(7, worst, 1.0), BatchCheck(32, 0.0, 1.0)])


def test_fp16_tolerance() -> None:
    check_fp16([BatchCheck(1, 0.1, 0.9991)], 0.999, SMALL)
    for cosine in (0.9989, math.nan):
        with pytest.raises(CheckFailedError, match=r"cosine .* expected at least 0\.999"):
            check_fp16([BatchCheck(1, 0.0, cosine), BatchCheck(7, 0.0, 1.0)], 0.999, SMALL)
    for value in (65_505.0, math.nan, math.inf):
        with pytest.raises(CheckFailedError, match="layer puts out"):
            check_fp16([BatchCheck(1, 0.0, 1.0)], 0.999, Activation(value, "layer"))
