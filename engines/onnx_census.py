"""What an ONNX graph is made of: its operators and its weights, counted by type."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Operator:
    """All nodes of one operator, those inside control flow included, those inside function bodies not.

    Attributes:
        domain: "" is ONNX's own.
        name: of the operator.
        count: of the nodes.
        types: how many of them have a first output of which type, as ONNX names it.
    """

    domain: str
    name: str
    count: int
    types: Mapping[str, int]


@dataclass(frozen=True)
class Weights:
    """All initialisers and Constant nodes of one type.

    Attributes:
        type: as ONNX names it.
        tensors: how many.
        values: numbers in them.
        size: in bytes.
    """

    type: str
    tensors: int
    values: int
    size: int


def type_name(number: int) -> str:
    """ONNX's name of a tensor type, e.g. "FLOAT16"."""
    try:
        return str(TensorProto.DataType.Name(number))
    except ValueError:
        return f"{UNKNOWN} ({number})"


def operators(graph: onnx.GraphProto, types: Mapping[str, str]) -> tuple[Operator, ...]:
    """The operators of a graph, the most frequent first.

    Args:
        graph: those inside its control flow are counted with it.
        types: names of the tensors' types, as far as they are known.
    """
    found: dict[tuple[str, str], Counter[str]] = {}
    for inner in _graphs(graph):
        for node in inner.node:
            kind = types.get(node.output[0], UNKNOWN) if node.output else UNKNOWN
            found.setdefault((node.domain, node.op_type), Counter())[kind] += 1
    operators = (Operator(*key, counts.total(), dict(counts.most_common())) for key, counts in found.items())
    return tuple(sorted(operators, key=lambda each: (-each.count, each.domain, each.name)))


def _constants(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    for inner in _graphs(graph):
        yield from inner.initializer
        for sparse in inner.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in inner.node:
            if node.op_type == "Constant":
                yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def weights(graph: onnx.GraphProto) -> tuple[Weights, ...]:
    """The weights of a graph, the largest part first."""
    found: dict[str, list[tuple[int, int]]] = {}
    for tensor in _constants(graph):
        found.setdefault(type_name(tensor.data_type), []).append((math.prod(tensor.dims), _size(tensor)))
    weights = (Weights(kind, len(each), *map(sum, zip(*each, strict=True))) for kind, each in found.items())
    return tuple(sorted(weights, key=lambda each: (-each.size, each.type)))


def _size(tensor: TensorProto) -> int:
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    if tensor.data_type == TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    try:
        return int(math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError):  # a type that this version of onnx does not know
        return 0


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside its control flow."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)
