"""What a model file says about itself, so that a consumer can refuse what does not match.

Inside an ONNX file the manifest is the metadata property `METADATA_KEY`; beside an engine it is `<engine>.json`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from .errors import ManifestError
from .files import require_file, write_text

SCHEMA = 1
METADATA_KEY = "lgeu.manifest"

# What a manifest says of a model that was trained on nothing.
UNTRAINED = "nothing (random weights)"

_JSON_NAMES = {int: "a whole number", str: "a text", dict: "an object", list: "a list"}

Gate = Literal["strip", "se", "none"]
Precision = Literal["fp32", "fp16"]
Functions = Literal["keep", "strip", "inline"]
InputFormat = Literal["uint8-nhwc", "float-nchw"]
GateLayout = Literal["nchw", "nhwc"]
Flavour = Literal["tensorrt", "tensorrt-rtx"]


@dataclass(frozen=True)
class BatchProfile:
    """The batch sizes an engine was built for; `opt` is the one it was tuned for."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise ManifestError(f"batch profile {self} is not ordered; expected 1 <= min <= opt <= max")

    @classmethod
    def parse(cls, text: str) -> "BatchProfile":
        """From `min:opt:max`, e.g. `1:32:64`.

        Raises:
            ManifestError: anything but three ordered positive whole numbers.
        """
        parts = text.split(":")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ManifestError(f"batch profile {text!r} is not min:opt:max; expected e.g. 1:32:64")
        return cls(*(int(part) for part in parts))

    def __str__(self) -> str:
        return f"{self.min}:{self.opt}:{self.max}"


@dataclass(frozen=True)
class EngineManifest:
    """What only an engine has.

    Attributes:
        flavour: which library built it.
        version: that library's version, e.g. "10.3.0.26".
        gpu_architecture: compute capability it was built for, e.g. "SM86".
        profile: batch sizes it accepts.
        engine_sha256: hash of the plan file.
        onnx_sha256: hash of the ONNX file it was built from.
        plugin_sha256: hash of the StripGate library, None where the model has no StripGate (gate "none").
    """

    flavour: Flavour
    version: str
    gpu_architecture: str
    profile: BatchProfile
    engine_sha256: str
    onnx_sha256: str
    plugin_sha256: str | None


@dataclass(frozen=True)
class Manifest:
    """What a model is and how it wants its input.

    Attributes:
        backbone: timm's name of the backbone.
        embedding_size: D.
        gate: pooling gate: "strip" (LGEU), "se" (one strip) or "none" (plain average pooling).
        strips: K; 1 for "se" and "none".
        reduction: R, the width of the gate's bottleneck; 0 for "none".
        height: input rows in pixels.
        width: input columns in pixels.
        mean: RGB mean in 0..1, subtracted inside the graph.
        std: RGB standard deviation in 0..1, divided by inside the graph.
        precision: type of the convolutions.
        trained_on: data set and split, e.g. "Market-1501 train split"; "nothing (random weights)" if untrained.
        checkpoint_sha256: hash of the checkpoint the file was exported from; None inside a checkpoint.
        opset: operator set versions by domain ("" is ONNX's own); empty inside a checkpoint.
        functions: what became of StripGate's function body; None where the model has no StripGate, and in a checkpoint.
        gate_layout: how StripGate reads the feature map, (N, C, H, W) or (N, H, W, C); "nchw" without StripGate.
        input_format: what the input `images` is: "uint8-nhwc" (N, H, W, 3) uint8, or "float-nchw" (N, 3, H, W) float32.
            Either holds pixel values of 0..255: the normalisation is in the graph.
        tools: versions of the packages that wrote the file.
        colour_order: of the input `images`; always RGB.
        resize: how a crop became the input; always bilinear, aspect ratio not kept.
        engine: set beside an engine only.
        schema: version of this structure.
    """

    backbone: str
    embedding_size: int
    gate: Gate
    strips: int
    reduction: int
    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    precision: Precision = "fp32"
    trained_on: str = UNTRAINED
    checkpoint_sha256: str | None = None
    opset: Mapping[str, int] = field(default_factory=dict)
    functions: Functions | None = None
    gate_layout: GateLayout = "nchw"
    input_format: InputFormat = "uint8-nhwc"
    tools: Mapping[str, str] = field(default_factory=dict)
    colour_order: Literal["RGB"] = "RGB"
    resize: Literal["bilinear"] = "bilinear"
    engine: EngineManifest | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name in ("embedding_size", "strips", "height", "width"):
            if getattr(self, name) < 1:
                raise ManifestError(f"manifest: {name} is {getattr(self, name)}; expected at least 1")
        if self.gate != "strip" and self.strips != 1:
            raise ManifestError(f"manifest: gate {self.gate!r} with {self.strips} strips; only 'strip' has more than 1")
        if min(self.std) <= 0:
            raise ManifestError(f"manifest: std is {self.std}; every channel must be positive")

    @property
    def has_strip_gate(self) -> bool:
        """Whether the graph has a StripGate node; the SE unit is one with a single strip."""
        return self.gate != "none"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """One image of the input `images`: (H, W, 3), or (3, H, W) where the input is planar."""
        size = self.height, self.width
        return (3, *size) if self.input_format == "float-nchw" else (*size, 3)

    @property
    def input_type(self) -> Literal["uint8", "float32"]:
        """Type of the input `images`, as NumPy and TensorRT name it."""
        return "float32" if self.input_format == "float-nchw" else "uint8"

    def to_json(self) -> str:
        """As JSON text that `from_json` reads back to an equal manifest."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, source: str) -> "Manifest":
        """Read a manifest.

        Args:
            text: JSON.
            source: where it came from, for error messages.

        Raises:
            ManifestError: not JSON, another schema, or fields missing, unknown or of the wrong type.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ManifestError(f"the manifest of {source} is not JSON ({error}); export or build it again") from error
        if not isinstance(data, dict):
            raise ManifestError(f"the manifest of {source} is a JSON {type(data).__name__}; expected an object")
        if data.get("schema") != SCHEMA:
            raise ManifestError(
                f"the manifest of {source} has schema {data.get('schema')!r}; this version reads schema {SCHEMA}: "
                "export or build the file again with the version in use"
            )
        try:
            manifest: Manifest = _decode(cls, data)
        except ManifestError as error:
            raise ManifestError(f"the manifest of {source} is not valid: {error}; export or build it again") from error
        return manifest


def manifest_path(engine: Path) -> Path:
    """Where the manifest of an engine lies: `<engine>.json`."""
    return engine.with_name(engine.name + ".json")


def read_engine_manifest(engine: Path) -> Manifest:
    """Read the manifest beside an engine.

    Raises:
        ManifestError: it is missing or not valid, or is not an engine's.
    """
    path = manifest_path(engine)
    if not path.exists():
        raise ManifestError(
            f"{engine} has no manifest {path.name} beside it; build it with `lgeu build`, or write the manifest of an "
            "engine from trtexec with `lgeu build --adopt`"
        )
    try:
        text = require_file(path, "manifest").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not a text file ({error}); build the engine again") from error
    manifest = Manifest.from_json(text, str(path))
    if manifest.engine is None:
        raise ManifestError(f"{path} describes no engine; build it again with `lgeu build`")
    return manifest


def write_engine_manifest(engine: Path, manifest: Manifest) -> None:
    """Write the manifest beside an engine, atomically."""
    write_text(manifest_path(engine), manifest.to_json() + "\n")


def _decode(cls: Any, data: Mapping[str, Any]) -> Any:
    """A dataclass from a JSON object, every field checked against its annotation."""
    known = {item.name: item for item in dataclasses.fields(cls)}
    if unknown := sorted(data.keys() - known.keys()):
        raise ManifestError(f"unknown field {unknown[0]!r}")
    for name, item in known.items():
        optional = item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
        if name not in data and not optional:
            raise ManifestError(f"field {name!r} is missing")
    return cls(**{name: _decode_value(name, known[name].type, value) for name, value in data.items()})


def _decode_value(name: str, kind: Any, value: Any) -> Any:
    origin, options = get_origin(kind), get_args(kind)
    if kind in (int, str):
        return _expect(name, value, kind)
    if dataclasses.is_dataclass(kind):
        return _decode(kind, _expect(name, value, dict))
    if origin is Literal:
        if value not in options:
            raise ManifestError(f"{name} is {value!r}; expected {' or '.join(map(repr, options))}")
        return value
    if origin is Mapping:
        return {
            key: _decode_value(f"{name} of {key!r}", options[1], v) for key, v in _expect(name, value, dict).items()
        }
    if origin is tuple:
        return _decode_rgb(name, value)
    # What is left is `X | None`.
    return None if value is None else _decode_value(name, options[0], value)


def _decode_rgb(name: str, value: Any) -> tuple[float, float, float]:
    numbers = _expect(name, value, list)
    if len(numbers) != 3 or not all(type(n) in (int, float) and math.isfinite(n) for n in numbers):
        raise ManifestError(f"{name} is {value!r}; expected three finite numbers")
    red, green, blue = (float(number) for number in numbers)
    return red, green, blue


def _expect(name: str, value: Any, kind: type) -> Any:
    # bool is a subclass of int, and `true` is no number.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ManifestError(f"{name} is {value!r}; expected {_JSON_NAMES[kind]}")
    return value
