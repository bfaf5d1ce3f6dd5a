"""A plan, the engine file itself, opened by the library that built it."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.engine_manifest import EngineManifest
from runtime.errors import InputError, ManifestError
from runtime.tensorrt_library import TensorRTLibrary, create_runtime, load_plugin
from runtime.tensorrt_log import collecting_logger, complaint

from .layers import Tensor, read_engine_tensor


@dataclass(frozen=True)
class EngineLayer:
    """A layer of an engine, which may be many layers of the network in one.

    Attributes:
        name: as the library calls it.
        type: likewise; None in an engine that was built without detailed profiling, which knows names only.
        outputs: name and format of what it computes; empty where the type is None.
        holds_plugin: the plugin is named in it. One compiled together with other layers may go unnamed.
    """

    name: str
    type: str | None
    outputs: tuple[str, ...]
    holds_plugin: bool


@dataclass(frozen=True)
class InputProfile:
    """The shapes that an input may have in one optimisation profile."""

    profile: int
    input: str
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What the library says of an engine that it deserialised.

    Attributes:
        inputs: with -1 for sizes that a profile decides.
        outputs: likewise.
        profiles: every input in every optimisation profile.
        inspector: JSON text of the library's engine inspector.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profiles: tuple[InputProfile, ...]
    inspector: str


@contextmanager
def open_plan(path: Path, built: EngineManifest, library: TensorRTLibrary, plugin: Path | None) -> Iterator[Any]:
    """Deserialise an engine for the length of the block; needs its GPU.

    Args:
        path: the engine.
        built: what its manifest says of it.
        library: that runs it.
        plugin: the StripGate library; None for an engine without it, or with it inside.

    Yields:
        The `ICudaEngine`.

    Raises:
        InputError: the plugin cannot be loaded.
        ManifestError: the library refuses the file.
    """
    collecting = collecting_logger(library.trt)
    runtime = create_runtime(library.trt, collecting, allow_host_code=built.holds_host_code)
    if plugin is not None:
        load_plugin(library, plugin)
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise ManifestError(
            f"{path} cannot be deserialised by {library.flavour} {library.version} here "
            f"({complaint(collecting.errors)}); it was built by another version or for another GPU"
        )
    yield engine


def read_plan(engine: Any, trt: ModuleType) -> Plan:
    """What an `ICudaEngine` is."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    return Plan(
        inputs=tuple(read_engine_tensor(engine, name) for name in inputs),
        outputs=tuple(read_engine_tensor(engine, name) for name in names if name not in inputs),
        profiles=tuple(
            InputProfile(index, name, *(tuple(shape) for shape in engine.get_tensor_profile_shape(name, index)))
            for index in range(engine.num_optimization_profiles)
            for name in inputs
        ),
        inspector=engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON),
    )


def parse_inspector(text: str, plugin_layers: Collection[str]) -> tuple[EngineLayer, ...]:
    """The layers in the engine inspector's JSON text.

    Args:
        text: of `get_engine_information`: names only, or with details.
        plugin_layers: what the plugin's layers are called in the network.

    Raises:
        InputError: the text is something else.
    """
    try:
        return tuple(_layer(entry, plugin_layers) for entry in json.loads(text)["Layers"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the library's engine inspector gave no list of layers ({type(error).__name__}: {error})"
        ) from error


def _layer(entry: Any, plugin_layers: Collection[str]) -> EngineLayer:
    if isinstance(entry, str):
        return EngineLayer(entry, None, (), any(name in entry for name in plugin_layers))
    # Where layers were put together, what they were is in the name or in "Metadata".
    described = entry["Name"] + entry.get("Metadata", "")
    kind = entry.get("LayerType")
    outputs = tuple(f"{tensor['Name']} {tensor.get('Format/Datatype', '?')}" for tensor in entry.get("Outputs", ()))
    is_plugin = kind is not None and "plugin" in kind.lower()
    return EngineLayer(entry["Name"], kind, outputs, is_plugin or any(name in described for name in plugin_layers))
