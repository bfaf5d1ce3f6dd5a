"""What an engine file is: its manifest, its network's layers, and, on its GPU, what the library says of it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from runtime.device import open_device
from runtime.engine_manifest import EngineManifest
from runtime.engine_match import (
    check_architecture,
    check_engine_file,
    check_platform,
    check_version,
    find_plugin,
)
from runtime.errors import InputError, LgeuError, ManifestError
from runtime.files import FileIdentity, identify, require_file
from runtime.manifest import Manifest, manifest_path, read_engine_manifest
from runtime.tensorrt_library import TensorRTLibrary, default_plugin, load_tensorrt

from .layers import PLUGIN_LAYER, Layer, Tensor, layers_path, load_layers
from .plan import EngineLayer, InputProfile, Plan, open_plan, parse_inspector, read_plan
from .plan_bytes import embedded_libraries, looks_like_plan, missing_plugin_traces

# Keys of `EngineReport.unknown`.
_PLAN = "inputs, outputs, profiles and layers of the engine"
_LAYERS = "layers of the engine"
_PLUGIN_PLACE = "the plugin's place among the engine's layers"
_NETWORK = "layers of the network"
_PLUGIN = "the StripGate plugin in the plan"
_EMBEDDED = "the StripGate library inside the plan"


@dataclass(frozen=True)
class EngineReport:
    """What an engine file is.

    Attributes:
        file: which file.
        manifest: the one beside it; None where there is none, or none that can be read.
        manifest_error: why it cannot be read.
        matches_manifest: whether the file has the hash in the manifest; None without a manifest.
        names_plugin: whether the plan holds StripGate's name in plain text, outside of libraries inside it.
        embedded_libraries: SHA-256 of the libraries for the CPU that lie in the plan as they were on disk.
        network: layers of the network it was built from, as they were before TensorRT put them together, from the
            list beside the engine; None where that is not known.
        inputs: of the engine; this and what follows is None where the engine cannot be opened here.
        outputs: likewise.
        profiles: likewise.
        layers: of the engine.
        unknown: what is not known of this file here, and why.
        problems: what does not fit together, a sentence each.
    """

    kind: ClassVar[str] = "engine"

    file: FileIdentity
    manifest: Manifest | None
    manifest_error: str | None
    matches_manifest: bool | None
    names_plugin: bool
    embedded_libraries: tuple[str, ...]
    network: tuple[Layer, ...] | None
    inputs: tuple[Tensor, ...] | None
    outputs: tuple[Tensor, ...] | None
    profiles: tuple[InputProfile, ...] | None
    layers: tuple[EngineLayer, ...] | None
    unknown: Mapping[str, str]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON's types."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


def inspect_engine(path: Path, plugin: Path | None = None) -> EngineReport:
    """Read what an engine is. What this machine cannot tell is in `unknown`, with the reason, and is no error.

    Where the library and the GPU that the engine is for are here, it is opened, and the StripGate library that its
    manifest describes is loaded, from a file or from inside the plan: use it on engines of your own only.

    Args:
        path: the engine.
        plugin: the StripGate library it was built with; None looks where `runtime.embedder.Embedder.open` does.

    Raises:
        InputError: the file is missing, or has neither a manifest beside it nor a plan's beginning; or the plugin named
            is missing.
    """
    if plugin is not None:
        require_file(plugin, "plugin library")
    file = identify(path, "engine")
    unknown: dict[str, str] = {}
    problems: list[str] = []
    manifest, manifest_error = None, None
    if manifest_path(path).exists():
        try:
            manifest = read_engine_manifest(path)
        except ManifestError as error:
            manifest_error = str(error)
    elif not looks_like_plan(path):
        raise InputError(
            f"{path} does not begin as a TensorRT engine, and no manifest {manifest_path(path).name} lies beside it; "
            "name an engine, or an .onnx file"
        )
    built = manifest.engine if manifest else None
    names_plugin = not missing_plugin_traces(path)
    if built and built.plugin_sha256 and not names_plugin:
        trace = "the manifest names a StripGate plugin, and the plan holds no trace of one"
        if built.flavour == "tensorrt-rtx":
            problems.append(trace)
        else:
            unknown[_PLUGIN] = f"{trace}; what plans of full TensorRT hold in plain text is not known"
    libraries = embedded_libraries(path)
    if built and built.plugin_embedded and built.plugin_sha256 not in libraries:
        unknown[_EMBEDDED] = "the manifest says that it is there, and its bytes are not found as they were on disk"
    network = _network(path, file.sha256, unknown, problems)
    plan = _plan(path, built, plugin, unknown, problems)
    return EngineReport(
        file=file,
        manifest=manifest,
        manifest_error=manifest_error,
        matches_manifest=built.engine_sha256 == file.sha256 if built else None,
        names_plugin=names_plugin,
        embedded_libraries=libraries,
        network=network,
        inputs=plan.inputs if plan else None,
        outputs=plan.outputs if plan else None,
        profiles=plan.profiles if plan else None,
        layers=_layers(plan, network, unknown) if plan else None,
        unknown=unknown,
        problems=tuple(problems),
    )


def _network(path: Path, sha256: str, unknown: dict[str, str], problems: list[str]) -> tuple[Layer, ...] | None:
    dump = layers_path(path)
    if not dump.exists():
        unknown[_NETWORK] = f"no {dump.name} beside the engine; `lgeu build` writes one, trtexec does not"
        return None
    try:
        belongs_to, layers = load_layers(dump)
    except InputError as error:
        unknown[_NETWORK] = str(error)
        return None
    if belongs_to != sha256:
        unknown[_NETWORK] = f"{dump.name} beside the engine is another engine's (SHA-256 {belongs_to[:12]}...)"
        problems.append(unknown[_NETWORK])
        return None
    return layers


def _plan(
    path: Path, built: EngineManifest | None, plugin: Path | None, unknown: dict[str, str], problems: list[str]
) -> Plan | None:
    if built is None:
        unknown[_PLAN] = (
            "which library and version built it is written in the manifest only; `lgeu build --adopt` writes the "
            "manifest of an engine from trtexec"
        )
        return None
    try:
        check_engine_file(path, built)
    except ManifestError as error:
        unknown[_PLAN] = "the file is not the one that its manifest describes, and was not opened"
        problems.append(str(error))
        return None
    try:
        return _open(path, built, plugin)
    except LgeuError as error:
        unknown[_PLAN] = str(error)
        return None


def _open(path: Path, built: EngineManifest, plugin: Path | None) -> Plan:
    library = load_tensorrt(built.flavour)
    check_version(path, built, library.version)
    check_platform(path, built)
    device = open_device()
    try:
        check_architecture(path, built, device.architecture)
        return _read(path, built, library, find_plugin(path, built, plugin, default_plugin))
    finally:
        device.close()


def _read(path: Path, built: EngineManifest, library: TensorRTLibrary, plugin: Path | None) -> Plan:
    # A function of its own, so that nothing holds the engine any more when the GPU's context is closed.
    with open_plan(path, built, library, plugin) as engine:
        return read_plan(engine, library.trt)


def _layers(plan: Plan, network: tuple[Layer, ...] | None, unknown: dict[str, str]) -> tuple[EngineLayer, ...] | None:
    plugins = [layer.name for layer in network or () if layer.type == PLUGIN_LAYER]
    try:
        layers = parse_inspector(plan.inspector, plugins)
    except InputError as error:
        unknown[_LAYERS] = str(error)
        return None
    if plugins and not any(layer.holds_plugin for layer in layers):
        unknown[_PLUGIN_PLACE] = "the library names no layer after it; it is compiled into one with other layers"
    return layers
