"""What an exported file is held against before it is written: the torch model, and fp16's largest number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, shape_inference

from engines.graph import EMBEDDINGS, IMAGES
from engines.precision import float32_nodes
from runtime.manifest import InputFormat
from runtime.preprocess import network_input
from runtime.progress import progress

Images = NDArray[np.uint8]
Embeddings = NDArray[np.float32]

BATCHES = (1, 7, 32)
_CHUNK = 8


@dataclass(frozen=True)
class BatchCheck:
    """How far embeddings are from torch's, the worst of all batches of a size.

    Attributes:
        batch: the size, N.
        max_difference: largest absolute difference of an element; the embeddings are L2-normalised. NaN if any is.
        min_cosine: smallest cosine of an embedding and torch's. NaN if any is.
    """

    batch: int
    max_difference: float
    min_cosine: float


@dataclass(frozen=True)
class Activation:
    """The largest absolute value that any layer put out which is half in the fp16 file.

    Attributes:
        value: how large.
        node: name of the node.
    """

    value: float
    node: str


def batches_of(images: Images) -> tuple[Images, ...]:
    """What a model is compared on: the first image, the first 7, and all of them in batches of 32.

    Args:
        images: M x H x W x 3 uint8 RGB, M >= 1; taken from the start again where a batch needs more.
    """
    *small, large = BATCHES
    rounds = math.ceil(len(images) / large)
    rows = [*map(np.arange, small), *np.arange(rounds * large).reshape(-1, large)]
    return tuple(images[each % len(images)] for each in rows)


def compare(
    model: onnx.ModelProto,
    batches: Sequence[Images],
    expected: Sequence[Embeddings],
    input_format: InputFormat = "uint8-nhwc",
) -> tuple[BatchCheck, ...]:
    """Run a model with ONNX Runtime on the CPU and compare it with a reference.

    Args:
        model: with StripGate's body.
        batches: of `batches_of`.
        expected: the reference's L2-normalised embeddings of each batch.
        input_format: what the model takes.

    Returns:
        The worst of each size of batch.
    """
    session = _session(model)
    checks: dict[int, list[BatchCheck]] = {}
    for images, embeddings in progress(zip(batches, expected, strict=True), "comparing", total=len(batches)):
        given = session.run([EMBEDDINGS], {IMAGES: network_input(images, input_format)})[0]
        checks.setdefault(len(images), []).append(_check(given.astype(np.float64), embeddings.astype(np.float64)))
    return tuple(map(_worst, checks.values()))


def _check(given: NDArray[np.float64], expected: NDArray[np.float64]) -> BatchCheck:
    lengths = np.linalg.norm(given, axis=1) * np.linalg.norm(expected, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (expected * given).sum(1) / lengths
    return BatchCheck(len(given), float(np.abs(expected - given).max()), float(cosine.min()))


def _worst(checks: Sequence[BatchCheck]) -> BatchCheck:
    # np.max and np.min hand a NaN on, so that a comparison with a tolerance cannot pass over it.
    differences, cosines = ([getattr(check, name) for check in checks] for name in ("max_difference", "min_cosine"))
    return BatchCheck(checks[0].batch, float(np.max(differences)), float(np.min(cosines)))


def largest_activation(model: onnx.ModelProto, images: Images, input_format: InputFormat = "uint8-nhwc") -> Activation:
    """Find the largest absolute value among the tensors of an fp32 graph that are half in the fp16 file.

    Every one of them gets its maximum as an extra output, so what comes back is a number each and memory stays small.

    Args:
        model: fp32, with StripGate's body.
        images: M x H x W x 3 uint8 RGB.
        input_format: what the model takes.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    floats = {
        value.name
        for value in shape_inference.infer_shapes(model).graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    apart = float32_nodes(model.graph)
    nodes = [node for index, node in enumerate(model.graph.node) if index not in apart]
    producers = [(name, node.name) for node in nodes for name in node.output if name in floats]
    del watched.graph.output[:]
    for index, (name, _) in enumerate(producers):
        watched.graph.node.append(helper.make_node("Abs", [name], [f"watched.abs.{index}"]))
        watched.graph.node.append(
            helper.make_node("ReduceMax", [f"watched.abs.{index}"], [f"watched.max.{index}"], keepdims=0)
        )
        watched.graph.output.append(helper.make_tensor_value_info(f"watched.max.{index}", TensorProto.FLOAT, []))
    session = _session(watched)
    starts = range(0, len(images), _CHUNK)
    maxima = [
        session.run(None, {IMAGES: network_input(images[i : i + _CHUNK], input_format)})
        for i in progress(starts, "largest activation")
    ]
    largest = np.asarray(maxima, np.float64).max(0)
    # A NaN is the largest of all here, as it should be.
    index = int(np.argmax(np.where(np.isnan(largest), math.inf, largest)))
    return Activation(float(largest[index]), producers[index][1])


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
