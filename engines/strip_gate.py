"""StripGate as an ONNX node, and the same maths as a model-local function in standard operators."""

import onnx
from onnx import helper, parser

DOMAIN = "lgeu"
OPERATOR = "StripGate"
OPERATOR_VERSION = 1

# 18 is what torch's exporter writes natively (no version conversion), it has LayerNormalization (17), and it is inside
# what TensorRT 10.3's parser (9 to 20) and ONNX Runtime 1.20 (up to 21) read.
OPSET = 18
# Model-local functions came with 8 and nothing newer is used; TensorRT 10.3 (onnx 1.16) and ONNX Runtime 1.20 read
# files up to 10 only.
IR_VERSION = 8

# The plugin attributes are there for TensorRT, which finds the plugin by them; the body has no use for them, nor for
# `channels_last`, because a function cannot branch on an attribute: a body is written for one layout.
_BODY = """
<domain: "lgeu", opset_import: ["" : {opset}]>
StripGate <num_strips, channels_last, plugin_namespace, plugin_version>
    (strip_gate_x, strip_gate_w1, strip_gate_w2) => (strip_gate_y)
{{
    strip_gate_x32 = Cast <to = 1> (strip_gate_x)
    strip_gate_w1_32 = Cast <to = 1> (strip_gate_w1)
    strip_gate_w2_32 = Cast <to = 1> (strip_gate_w2)
    strip_gate_scalar = Constant <value_int : int = @num_strips> ()
    strip_gate_vector = Constant <value_ints = [1]> ()
    strip_gate_k = Reshape (strip_gate_scalar, strip_gate_vector)
    {local}
    strip_gate_squeezed = MatMul (strip_gate_w1_32, strip_gate_local)
    strip_gate_hidden = Relu (strip_gate_squeezed)
    strip_gate_logits = MatMul (strip_gate_w2_32, strip_gate_hidden)
    strip_gate_weights = Sigmoid (strip_gate_logits)
    strip_gate_gated = Mul (strip_gate_weights, strip_gate_local)
    strip_gate_strip_axis = Constant <value_ints = [0]> ()
    strip_gate_mean = ReduceMean <keepdims = 0> (strip_gate_gated, strip_gate_strip_axis)
    strip_gate_y32 = Transpose <perm = [1, 0]> (strip_gate_mean)
    strip_gate_y = CastLike (strip_gate_y32, strip_gate_x)
}}
"""

# Both end in the strips' means, equation (1), as K x C x N, so that the weights are multiplied as they are stored.
# The rows' means come first: a reshape of H alone fails where H is not a multiple of K, one of H x W might not.
_LOCAL_CHANNELS_FIRST = """
    strip_gate_w_axis = Constant <value_ints = [3]> ()
    strip_gate_rows = ReduceMean <keepdims = 0> (strip_gate_x32, strip_gate_w_axis)
    strip_gate_before = Constant <value_ints = [0, 0]> ()
    strip_gate_after = Constant <value_ints = [-1]> ()
    strip_gate_shape = Concat <axis = 0> (strip_gate_before, strip_gate_k, strip_gate_after)
    strip_gate_strips = Reshape (strip_gate_rows, strip_gate_shape)
    strip_gate_means = ReduceMean <keepdims = 0> (strip_gate_strips, strip_gate_w_axis)
    strip_gate_local = Transpose <perm = [2, 1, 0]> (strip_gate_means)
"""
_LOCAL_CHANNELS_LAST = """
    strip_gate_w_axis = Constant <value_ints = [2]> ()
    strip_gate_rows = ReduceMean <keepdims = 1> (strip_gate_x32, strip_gate_w_axis)
    strip_gate_before = Constant <value_ints = [0]> ()
    strip_gate_after = Constant <value_ints = [-1, 0]> ()
    strip_gate_shape = Concat <axis = 0> (strip_gate_before, strip_gate_k, strip_gate_after)
    strip_gate_strips = Reshape (strip_gate_rows, strip_gate_shape)
    strip_gate_means = ReduceMean <keepdims = 0> (strip_gate_strips, strip_gate_w_axis)
    strip_gate_local = Transpose <perm = [1, 2, 0]> (strip_gate_means)
"""


def strip_gate_function(*, channels_last: bool = False, opset: int = OPSET) -> onnx.FunctionProto:
    """The body of `lgeu::StripGate` version 1: equations (1) to (4) of the paper and the mean over space, fused.

    The gate is constant inside a strip, so the mean of the gated X is the mean over the strips of gate times strip
    mean. Whatever the type of X, the arithmetic is in float32; the result has the type of X.

    Args:
        channels_last: X is (N,H,W,C) instead of (N,C,H,W).
        opset: version of the standard operators in the model that takes the function; at least 18.
    """
    local = _LOCAL_CHANNELS_LAST if channels_last else _LOCAL_CHANNELS_FIRST
    return parser.parse_function(_BODY.format(opset=opset, local=local))


def strip_gate_node(
    x: str, w1: str, w2: str, y: str, *, num_strips: int, channels_last: bool = False, name: str = "strip_gate"
) -> onnx.NodeProto:
    """A StripGate node. Every attribute is written out: TensorRT 10.15 and later want the plugin's namespace.

    Args:
        x: name of X, (N,C,H,W), or (N,H,W,C) if `channels_last`; H a multiple of `num_strips`.
        w1: name of W1, (K,R,C).
        w2: name of W2, (K,C,R).
        y: name of the output, (N,C).
        num_strips: K.
        channels_last: the layout of X.
        name: of the node.
    """
    return helper.make_node(
        OPERATOR,
        [x, w1, w2],
        [y],
        name=name,
        domain=DOMAIN,
        num_strips=num_strips,
        channels_last=int(channels_last),
        plugin_namespace=DOMAIN,
        plugin_version=str(OPERATOR_VERSION),
    )


def is_strip_gate(node: onnx.NodeProto) -> bool:
    """Whether a node is `lgeu::StripGate`."""
    return bool(node.op_type == OPERATOR and node.domain == DOMAIN)


def is_channels_last(node: onnx.NodeProto) -> bool:
    """The layout that a StripGate node reads; (N,C,H,W) where it does not say."""
    return any(attribute.name == "channels_last" and attribute.i == 1 for attribute in node.attribute)
