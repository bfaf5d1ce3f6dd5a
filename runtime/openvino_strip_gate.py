"""StripGate in OpenVINO's operators, for its ONNX reader, which does not take the function body of the file."""

from typing import Any


def strip_gate_extension() -> Any:
    """What OpenVINO's reader needs to convert `lgeu::StripGate`, whether the file has its function body or not."""
    from openvino.frontend.onnx import ConversionExtension

    return ConversionExtension("StripGate", "lgeu", _convert)


def _convert(node: Any) -> Any:
    """Equations (1) to (4) of the paper and the mean over space, in float32, as the function body has them.

    The gate is constant inside a strip, so the mean of the gated X is the mean over the strips of gate times strip
    mean.
    """
    from openvino import opset13 as ops

    x, w1, w2 = (ops.convert(node.get_input(index), "f32") for index in range(3))
    strips = node.get_attribute("num_strips")
    if node.get_attribute("channels_last", 0):
        x = ops.transpose(x, [0, 3, 1, 2])
    rows = ops.reduce_mean(x, [3], keep_dims=False)
    # N x C x H to N x C x K x H/K; 0 keeps a size.
    means = ops.reduce_mean(ops.reshape(rows, [0, 0, strips, -1], special_zero=True), [3], keep_dims=False)
    local = ops.transpose(means, [2, 1, 0])
    hidden = ops.relu(ops.matmul(w1, local, transpose_a=False, transpose_b=False))
    gate = ops.sigmoid(ops.matmul(w2, hidden, transpose_a=False, transpose_b=False))
    pooled = ops.transpose(ops.reduce_mean(ops.multiply(gate, local), [0], keep_dims=False), [1, 0])
    return ops.convert_like(pooled, node.get_input(0)).outputs()
