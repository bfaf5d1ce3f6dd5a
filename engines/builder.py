"""From an ONNX file to a TensorRT engine with the StripGate plugin inside, its manifest and its list of layers."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from runtime.engine_manifest import EngineManifest, Flavour
from runtime.engine_match import current_platform
from runtime.errors import InputError
from runtime.files import atomic_path, sha256
from runtime.manifest import Manifest, manifest_path
from runtime.tensorrt_library import TensorRTLibrary, load_plugin, load_tensorrt, plugin_errors, prepare_parser
from runtime.tensorrt_log import collecting_logger, complaint

from .configuration import configure
from .graph import load_model, read_manifest
from .interrupt import deferred_interrupt
from .layers import Layer, layers_path, write_layers
from .network import check_network, parse_network
from .options import BuildOptions, check_ampere, check_asked_precision, check_flavour, check_same_level
from .output_files import check_distinct, check_writable, engine_path
from .progress_monitor import progress_monitor
from .strip_gate_library import find_plugin
from .targets import choose_architectures
from .timing_cache import save_timing_cache

logger = logging.getLogger(__name__)


def build_engine(
    onnx_path: Path, out: Path | None = None, *, flavour: Flavour, plugin: Path | None, options: BuildOptions
) -> Path:
    """Build an engine and write it with its manifest `<engine>.json` and its layers `<engine>.layers.json`.

    Ctrl-C stops the build at its next step, and nothing is written.

    Args:
        onnx_path: a file of `lgeu export` or `lgeu rewrite`; precision is the file's.
        out: the engine; None takes the ONNX file's name with `.engine`.
        flavour: which library builds.
        plugin: the StripGate library; None takes the one `make plugin` builds. Not used by a model without StripGate.
        options: what the engine is to be.

    Returns:
        The engine's path.

    Raises:
        InputError: the ONNX file, the plugin or an option cannot be used; nothing was written.
        ManifestError: the ONNX file has no manifest.
        MissingDependencyError: the library is not installed.
        DeviceError: a GPU is needed and there is none.
        CheckFailedError: StripGate would not be a plugin in the engine; nothing was written.
    """
    onnx_path = Path(onnx_path)
    check_flavour(options, flavour)
    model = load_model(onnx_path)
    engine = engine_path(onnx_path, None if out is None else Path(out))
    manifest = read_manifest(model, str(onnx_path))
    check_asked_precision(options, manifest, onnx_path)
    plugin = find_plugin(plugin, manifest, onnx_path)
    check_distinct(engine, options.timing_cache, [onnx_path] if plugin is None else [onnx_path, plugin])
    check_writable(engine, options.timing_cache)
    library = load_tensorrt(flavour)
    if flavour == "tensorrt":
        check_same_level(options, library.release)
    architectures = choose_architectures(library, options.targets)
    check_ampere(options, architectures)
    # Before the build, in whose minutes the files may change.
    described = describe_engine(library, options, architectures, onnx_path, plugin)
    build = _Build(library, onnx_path, manifest, options, architectures)
    plan, layers = build.run(model, plugin)
    _write(engine, plan, layers, manifest, described)
    build.save_timings()
    return engine


def describe_engine(
    library: TensorRTLibrary, options: BuildOptions, architectures: Sequence[str], onnx_path: Path, plugin: Path | None
) -> EngineManifest:
    """What a manifest says of an engine built with these, but for the engine's own hash, which is left empty."""
    return EngineManifest(
        flavour=library.flavour,
        version=library.version,
        gpu_architectures=tuple(architectures),
        profiles=options.profiles,
        engine_sha256="",
        onnx_sha256=sha256(onnx_path),
        plugin_sha256=None if plugin is None else sha256(plugin),
        plugin_embedded=plugin is not None and options.puts_plugin_inside,
        version_compatible=options.version_compatible,
        hardware_compatibility=options.hardware_compatibility,
        platform=current_platform() if library.flavour == "tensorrt" else None,
    )


def _write(path: Path, plan: Any, layers: Sequence[Layer], manifest: Manifest, engine: EngineManifest) -> None:
    # The manifest takes its place last: until then, or while an older engine's is there, nobody takes the engine.
    with (
        atomic_path(manifest_path(path)) as manifest_file,
        atomic_path(layers_path(path)) as layers_file,
        atomic_path(path) as plan_file,
    ):
        plan_file.write_bytes(plan)
        engine = dataclasses.replace(engine, engine_sha256=sha256(plan_file))
        write_layers(layers_file, layers, engine.engine_sha256)
        manifest_file.write_text(dataclasses.replace(manifest, engine=engine).to_json() + "\n", encoding="utf-8")


class _Build:
    """One run of TensorRT's builder, whose objects must live as long as each other."""

    def __init__(
        self,
        library: TensorRTLibrary,
        source: Path,
        manifest: Manifest,
        options: BuildOptions,
        architectures: Sequence[str],
    ) -> None:
        self._library = library
        self._source = source
        self._manifest = manifest
        self._options = options
        self._architectures = architectures
        self._logger = collecting_logger(library.trt)
        self._builder = library.trt.Builder(self._logger)
        self._config: Any = None

    def run(self, model: onnx.ModelProto, plugin: Path | None) -> tuple[Any, tuple[Layer, ...]]:
        """The plan, and the layers of the network it was built from."""
        if plugin is None:
            return self._run(model, None)
        prepare_parser(self._library)
        load_plugin(self._library, plugin)
        with plugin_errors(plugin, self._logger.errors):
            return self._run(model, plugin)

    def _run(self, model: onnx.ModelProto, plugin: Path | None) -> tuple[Any, tuple[Layer, ...]]:
        source = str(self._source)
        network = parse_network(self._builder, self._logger, self._library, model, self._manifest, source)
        layers = check_network(network, model, self._manifest, source)
        config = configure(self._builder, self._library, self._options, self._manifest, self._architectures, plugin)
        # What was complained of until here, a timing cache of another version perhaps, is no reason for what follows.
        self._logger.errors.clear()
        logger.info(
            "building %s (%s) for %s with %s %s, batch %s; this can take minutes",
            source,
            self._manifest.precision,
            " and ".join(self._architectures),
            self._library.flavour,
            self._library.version,
            " and ".join(map(str, self._options.profiles)),
        )
        plan = self._serialise(network, config)
        if plan is None:
            raise InputError(f"no engine could be built from {source}: {complaint(self._logger.errors)}")
        self._config = config
        return plan, layers

    def save_timings(self) -> None:
        """Keep what `run` measured, where a file for it was named."""
        if self._options.timing_cache is not None:
            save_timing_cache(self._config, self._options.timing_cache)

    def _serialise(self, network: Any, config: Any) -> Any:
        with deferred_interrupt() as interrupted:
            monitor = progress_monitor(self._library.trt, "building", interrupted)
            config.progress_monitor = monitor
            try:
                return self._builder.build_serialized_network(network, config)
            finally:
                monitor.close()
