"""What a model file says about itself, so that a consumer can refuse what does not match.

Inside an ONNX file the manifest is the metadata property `METADATA_KEY`; beside an engine it is `<engine>.json`.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from .engine_manifest import ENGINE_SCHEMA, EngineManifest
from .errors import ManifestError
from .files import require_file, write_text
from .manifest_json import decode

SCHEMA = 1
METADATA_KEY = "lgeu.manifest"

# What a manifest says of a model that was trained on nothing.
UNTRAINED = "nothing (random weights)"

Gate = Literal["strip", "se", "none"]
LastStride = Literal[1, 2]
Neck = Literal["none", "bn", "centre"]
Precision = Literal["fp32", "fp16"]
Functions = Literal["keep", "strip", "inline"]
InputFormat = Literal["uint8-nhwc", "float-nchw"]
GateLayout = Literal["nchw", "nhwc"]


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
        last_stride: of the backbone's last halving: 2 as the backbone was made; 1 where it is left out, so that the
            feature map has twice the rows and columns.
        neck: what stands between the pooled descriptor and the L2 norm: "none", "bn" for a batch norm, or
            "centre" where the mean descriptor of the training images is subtracted.
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
    # Absent from files older than they are.
    last_stride: LastStride = 2
    neck: Neck = "none"
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
        for name, choices in (("gate", Gate), ("last_stride", LastStride), ("neck", Neck)):
            if getattr(self, name) not in get_args(choices):
                expected = " or ".join(map(repr, get_args(choices)))
                raise ManifestError(f"manifest: {name} is {getattr(self, name)!r}; expected {expected}")
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
        except (ValueError, RecursionError) as error:  # the second: brackets in brackets
            raise ManifestError(f"the manifest of {source} is not JSON ({error}); export or build it again") from error
        if not isinstance(data, dict):
            raise ManifestError(f"the manifest of {source} is a JSON {type(data).__name__}; expected an object")
        _check_schema(data.get("schema"), SCHEMA, f"the manifest of {source}")
        if isinstance(data.get("engine"), dict):
            # It had no schema of its own at first.
            found = data["engine"].get("schema", 1)
            _check_schema(found, ENGINE_SCHEMA, f"the engine's part of the manifest of {source}")
        try:
            manifest: Manifest = decode(cls, data)
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


def _check_schema(found: Any, expected: int, what: str) -> None:
    if found != expected:
        raise ManifestError(
            f"{what} has schema {found!r}; this version reads schema {expected}: export or build the file again with "
            "the version in use"
        )
