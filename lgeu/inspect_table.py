"""The reports of `lgeu inspect` as plain text for a terminal."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from runtime.engine_manifest import BatchProfile
from runtime.files import FileIdentity
from runtime.manifest import Manifest

if TYPE_CHECKING:
    from engines.inspect_engine import EngineReport
    from engines.inspect_onnx import OnnxReport
    from engines.layers import Layer
    from engines.plan import EngineLayer
    from train.inspect_checkpoint import CheckpointReport

_FUNCTIONS = {
    "keep": "kept: nodes with their body (ONNX Runtime; TensorRT from 10.7)",
    "strip": "stripped: nodes without their body (TensorRT up to 10.6)",
    "inline": "inlined: standard operators only (OpenVINO)",
    None: "none",
}


def table(report: Union["OnnxReport", "EngineReport", "CheckpointReport"]) -> str:
    """A report as lines of text."""
    kinds: dict[str, Callable[[Any], Iterator[str]]] = {"onnx": _onnx, "engine": _engine, "checkpoint": _checkpoint}
    return "\n".join(kinds[report.kind](report))


def _onnx(report: "OnnxReport") -> Iterator[str]:
    yield from _file("ONNX file", report.file)
    yield from _manifest(report.manifest, report.manifest_error)
    yield from _section(
        "graph",
        [
            ("written by", report.producer or "not said"),
            ("IR version", report.ir_version),
            ("operator sets", _text({domain or "ai.onnx": version for domain, version in report.opset.items()})),
        ],
    )
    yield from _section("inputs", [(each.name, each.type, _shape(each.shape)) for each in report.inputs])
    yield from _section("outputs", [(each.name, each.type, _shape(each.shape)) for each in report.outputs])
    yield from _section("StripGate", [(_FUNCTIONS[report.functions],)])
    for gate in report.strip_gates:
        yield f"  node {gate.position} {gate.name!r}: ({', '.join(gate.inputs)}) -> {gate.output} {gate.type}"
        yield f"    {_text(gate.attributes)}"
    bodies = [(_operator(each.domain, each.name), f"{each.nodes} nodes") for each in report.bodies]
    yield from _section("functions inside", bodies)
    operators = [(_operator(each.domain, each.name), f"{each.count:,}", _text(each.types)) for each in report.operators]
    yield from _section("operators, and the types they give", operators)
    weights = [
        (each.type, f"{each.tensors:,} tensors", f"{each.values:,} values", f"{each.size:,} bytes")
        for each in report.weights
    ]
    yield from _section("weights and constants", weights)
    yield from _section("weights in files beside it", [(name,) for name in report.external_files])
    yield from _section("problems", [(problem,) for problem in report.problems])


def _engine(report: "EngineReport") -> Iterator[str]:
    yield from _file("engine", report.file)
    if report.matches_manifest is not None:
        answer = "this file's" if report.matches_manifest else "ANOTHER FILE'S"
        yield f"  the manifest's SHA-256 is {answer}"
    yield f"  StripGate's name is {'' if report.names_plugin else 'not '}in the plan's text"
    built = report.manifest.engine if report.manifest else None
    for digest in report.embedded_libraries:
        whose = " (the manifest's StripGate library)" if built and digest == built.plugin_sha256 else ""
        yield f"  holds a library for the CPU, SHA-256 {digest}{whose}"
    yield from _manifest(report.manifest, report.manifest_error)
    if report.inputs is not None and report.outputs is not None and report.profiles is not None:
        for title, tensors in (("inputs", report.inputs), ("outputs", report.outputs)):
            yield from _section(title, [(each.name, each.type, _shape(each.shape)) for each in tensors])
        profiles = [
            (each.profile, each.input, *map(_shape, (each.min, each.opt, each.max))) for each in report.profiles
        ]
        yield from _section("profiles (smallest, tuned for, largest)", profiles)
    if report.layers is not None:
        rows = [_engine_layer(place, layer) for place, layer in enumerate(report.layers)]
        yield from _section("layers of the engine", rows)
    if report.network is not None:
        yield from _network(report.network)
    yield from _section("not known here", [(f"{what}: {why}",) for what, why in report.unknown.items()])
    yield from _section("problems", [(problem,) for problem in report.problems])


def _network(layers: Sequence["Layer"]) -> Iterator[str]:
    counts: dict[str, Counter[str]] = {}
    for layer in layers:
        counts.setdefault(layer.type, Counter())[layer.outputs[0].type if layer.outputs else "nothing"] += 1
    rows = sorted(
        ((kind, f"{types.total():,}", _text(types)) for kind, types in counts.items()), key=lambda row: row[0]
    )
    yield from _section("layers of the network it was built from, and the types they give", rows)
    for place, layer in enumerate(layers):
        if layer.type.startswith("PLUGIN"):
            outputs = ", ".join(f"{each.name} {each.type} {_shape(each.shape)}" for each in layer.outputs)
            yield f"  plugin: layer {place} {layer.name!r} -> {outputs}"


def _engine_layer(place: int, layer: "EngineLayer") -> tuple[Any, ...]:
    plugin = "<- plugin" if layer.holds_plugin else ""
    return place, layer.name, layer.type or "", "; ".join(layer.outputs), plugin


def _checkpoint(report: "CheckpointReport") -> Iterator[str]:
    yield from _file("checkpoint", report.file)
    yield from _manifest(report.manifest, None)
    sizes = [(kind, f"{size:,} bytes") for kind, size in report.sizes.items()]
    yield from _section("weights", [("parameters", f"{report.parameters:,}"), *sizes])
    yield from _section("kept to resume training", [(", ".join(report.training) or "nothing",)])


def _file(kind: str, file: FileIdentity) -> Iterator[str]:
    yield f"{file.path}: {kind}, {file.size:,} bytes"
    yield f"  SHA-256 {file.sha256}"


def _manifest(manifest: Manifest | None, error: str | None) -> Iterator[str]:
    if manifest is not None:
        yield from _section("manifest", list(_fields(manifest)))
    else:
        yield from _section("manifest", [(f"not readable: {error}" if error else "no manifest of ours",)])


def _fields(structure: Any) -> Iterator[tuple[str, str]]:
    """Every field that is set, an engine's after the model's."""
    inner = []
    for field in dataclasses.fields(structure):
        value = getattr(structure, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, BatchProfile):
            inner += [(f"{field.name}.{name}", text) for name, text in _fields(value)]
        elif value is not None and value != {}:
            yield field.name, _text(value)
    yield from inner


def _section(title: str, rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """A title and a table; nothing where the table is empty."""
    if not rows:
        return
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    yield f"{title}:"
    for row in cells:
        yield ("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))).rstrip()


def _operator(domain: str, name: str) -> str:
    return f"{domain}::{name}" if domain else name


def _shape(shape: tuple[int | str, ...] | None) -> str:
    return "of unknown rank" if shape is None else f"({', '.join(map(str, shape))})"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name or 'ai.onnx'} {each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
