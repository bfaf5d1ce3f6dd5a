"""From an ONNX file to a TensorRT engine with the StripGate plugin inside, its manifest and its list of layers."""

import dataclasses
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

from runtime.errors import DeviceError, InputError
from runtime.files import atomic_path, require_file, sha256
from runtime.manifest import BatchProfile, EngineManifest, Flavour, Manifest, write_engine_manifest
from runtime.tensorrt_library import (
    TensorRTLibrary,
    current_gpu_architecture,
    default_plugin,
    load_plugin,
    load_tensorrt,
    plugin_errors,
    prepare_parser,
)
from runtime.tensorrt_log import collecting_logger, complaint

from .graph import IMAGES, load_model, read_manifest, set_functions
from .layers import (
    Layer,
    check_plugin_layers,
    check_precision,
    check_tensors,
    layers_path,
    read_layers,
    read_tensor,
    write_layers,
)
from .progress_monitor import progress_monitor
from .strip_gate import is_strip_gate

logger = logging.getLogger(__name__)


def build_engine(
    onnx_path: Path,
    out: Path | None = None,
    *,
    flavour: Flavour,
    plugin: Path | None,
    profile: BatchProfile,
    target: str | None,
) -> Path:
    """Build an engine and write it with its manifest `<engine>.json` and its layers `<engine>.layers.json`.

    Args:
        onnx_path: a file of `lgeu export` or `lgeu rewrite`; precision is the file's.
        out: the engine; None takes the ONNX file's name with `.engine`.
        flavour: which library builds.
        plugin: the StripGate library; None takes the one `make plugin` builds. Not used by a model without StripGate.
        profile: batch sizes the engine accepts.
        target: GPU architecture, e.g. "SM86"; None takes the GPU at hand. TensorRT builds for that one only,
            TensorRT-RTX for any it knows, also without a GPU.

    Returns:
        The engine's path.

    Raises:
        InputError: the ONNX file, the plugin or the target cannot be used; nothing was written.
        ManifestError: the ONNX file has no manifest.
        MissingDependencyError: the library is not installed.
        DeviceError: a GPU is needed and there is none.
        CheckFailedError: StripGate would not be a plugin in the engine; nothing was written.
    """
    onnx_path = Path(onnx_path)
    engine_path = onnx_path.with_suffix(".engine") if out is None else Path(out)
    if engine_path.suffix != ".engine":
        raise InputError(f"{engine_path} is not a name for an engine; expected one that ends in .engine")
    model = load_model(onnx_path)
    manifest = read_manifest(model, str(onnx_path))
    plugin = find_plugin(plugin, manifest, onnx_path)
    library = load_tensorrt(flavour)
    architecture = choose_architecture(library, target)
    plan, layers = _Build(library, onnx_path, manifest).run(model, plugin, profile, architecture)
    with atomic_path(engine_path) as temporary:
        temporary.write_bytes(plan)
    engine = EngineManifest(
        flavour=flavour,
        version=library.version,
        gpu_architecture=architecture,
        profile=profile,
        engine_sha256=sha256(engine_path),
        onnx_sha256=sha256(onnx_path),
        plugin_sha256=None if plugin is None else sha256(plugin),
    )
    write_layers(layers_path(engine_path), layers, engine.engine_sha256)
    # Last: until it is there, or while it is an older engine's, nobody takes the engine.
    write_engine_manifest(engine_path, dataclasses.replace(manifest, engine=engine))
    return engine_path


def find_plugin(plugin: Path | None, manifest: Manifest, source: Path) -> Path | None:
    """The StripGate library that a model needs; None where it needs none.

    Raises:
        InputError: there is no library, or StripGate was inlined in the file.
    """
    if not manifest.has_strip_gate:
        return None
    if manifest.functions == "inline":
        raise InputError(f"StripGate was inlined in {source}, so that no plugin can take it; use the exported file")
    if plugin is not None:
        return require_file(plugin, "plugin library")
    if not default_plugin().is_file():
        raise InputError(
            f"{source} has a StripGate node, and there is no plugin for it ({default_plugin()} does not exist); "
            "build it with `make plugin`, or name it with --plugin"
        )
    return default_plugin()


def choose_architecture(library: TensorRTLibrary, target: str | None) -> str:
    """The GPU architecture to build for, e.g. "SM86".

    Raises:
        InputError: the library cannot build for `target`.
        DeviceError: a GPU is needed, and there is none.
    """
    if library.flavour == "tensorrt-rtx":
        known = rtx_targets(library)
        wanted = target or current_gpu_architecture()
        if wanted is None:
            raise DeviceError(f"there is no GPU to build for; name one with --target: {', '.join(known)}")
        if wanted not in known:
            raise InputError(
                f"TensorRT-RTX {library.version} does not build for {wanted}; it does for {', '.join(known)}"
            )
        return wanted
    at_hand = current_gpu_architecture()
    if at_hand is None:
        raise DeviceError(
            "TensorRT builds for the GPU at hand, and there is no usable one; build on the machine that will run the "
            "engine, or for a desktop GPU with --flavour tensorrt-rtx"
        )
    if target not in (None, at_hand):
        raise InputError(f"TensorRT builds for the GPU at hand, which is {at_hand}, not {target}; leave --target out")
    return at_hand


def rtx_targets(library: TensorRTLibrary) -> list[str]:
    """The GPU architectures that TensorRT-RTX builds for, e.g. "SM86"."""
    return [name for name in library.trt.ComputeCapability.__members__ if name.startswith("SM")]


class _Build:
    """One run of TensorRT's builder, whose objects must live as long as each other."""

    def __init__(self, library: TensorRTLibrary, source: Path, manifest: Manifest) -> None:
        self._library = library
        self._trt: ModuleType = library.trt
        self._source = source
        self._manifest = manifest
        self._logger = collecting_logger(self._trt)
        self._errors: list[str] = self._logger.errors
        self._builder = self._trt.Builder(self._logger)

    def run(
        self, model: onnx.ModelProto, plugin: Path | None, profile: BatchProfile, architecture: str
    ) -> tuple[memoryview, tuple[Layer, ...]]:
        """The plan, and the layers of the network it was built from."""
        if plugin is None:
            return self._run(model, profile, architecture)
        prepare_parser(self._library)
        load_plugin(self._library, plugin)
        with plugin_errors(plugin, self._errors):
            return self._run(model, profile, architecture)

    def _run(
        self, model: onnx.ModelProto, profile: BatchProfile, architecture: str
    ) -> tuple[memoryview, tuple[Layer, ...]]:
        network = self._parse(model)
        layers = read_layers(network)
        self._check(network, layers, model)
        config = self._configure(profile, architecture)
        logger.info(
            "building %s (%s) for %s with %s %s, batch %s; this can take minutes",
            self._source,
            self._manifest.precision,
            architecture,
            self._library.flavour,
            self._library.version,
            profile,
        )
        monitor = progress_monitor(self._trt, "building")
        config.progress_monitor = monitor
        try:
            plan = self._builder.build_serialized_network(network, config)
        finally:
            monitor.close()
        if monitor.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            raise InputError(f"no engine could be built from {self._source}: {complaint(self._errors)}")
        return memoryview(plan), layers

    def _parse(self, model: onnx.ModelProto) -> Any:
        flags = self._trt.NetworkDefinitionCreationFlag
        network = self._builder.create_network(1 << int(flags.STRONGLY_TYPED))
        parser = self._trt.OnnxParser(network, self._logger)
        if self._manifest.has_strip_gate:
            # The bare node: TensorRT up to 10.6 prefers a function body to the plugin, and later ones fall back to it.
            model = set_functions(model, "strip")
        if not parser.parse(model.SerializeToString()):
            nodes = [parser.get_error(index).node_name() for index in range(parser.num_errors)]
            at = f" at node {nodes[0]!r}" if nodes and nodes[0] else ""
            raise InputError(f"{self._library.flavour} cannot read {self._source}{at}: {complaint(self._errors)}")
        return network

    def _check(self, network: Any, layers: tuple[Layer, ...], model: onnx.ModelProto) -> None:
        source = str(self._source)
        inputs = [read_tensor(network.get_input(index)) for index in range(network.num_inputs)]
        outputs = [read_tensor(network.get_output(index)) for index in range(network.num_outputs)]
        check_tensors(inputs, outputs, self._manifest, source)
        check_precision(layers, self._manifest, source)
        if self._manifest.has_strip_gate:
            check_plugin_layers(layers, [node.output[0] for node in model.graph.node if is_strip_gate(node)], source)

    def _configure(self, profile: BatchProfile, architecture: str) -> Any:
        config = self._builder.create_builder_config()
        # fp32 means fp32: TF32 would round every product to 10 bits.
        config.clear_flag(self._trt.BuilderFlag.TF32)
        if self._library.flavour == "tensorrt-rtx":
            config.num_compute_capabilities = 1
            config.set_compute_capability(self._trt.ComputeCapability.__members__[architecture], 0)
        sizes = self._builder.create_optimization_profile()
        sizes.set_shape(
            IMAGES, *((batch, *self._manifest.input_shape) for batch in (profile.min, profile.opt, profile.max))
        )
        config.add_optimization_profile(sizes)
        return config
