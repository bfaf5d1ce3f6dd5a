"""The manifest beside an engine that trtexec built."""

import dataclasses
import logging
from pathlib import Path

from runtime.errors import CheckFailedError
from runtime.files import require_file, sha256
from runtime.manifest import BatchProfile, EngineManifest, Flavour, Manifest, manifest_path, write_engine_manifest
from runtime.tensorrt_backend import check_tensors
from runtime.tensorrt_library import TensorRTLibrary, current_gpu_architecture, load_tensorrt

from .builder import choose_architecture, find_plugin
from .graph import load_model, read_manifest
from .plan import missing_plugin_traces, open_plan

logger = logging.getLogger(__name__)


def adopt_engine(
    engine: Path,
    onnx: Path,
    plugin: Path | None,
    *,
    flavour: Flavour = "tensorrt",
    profile: BatchProfile,
    target: str | None = None,
) -> Path:
    """Write the manifest of an engine that was built elsewhere from an ONNX file of ours.

    What can be checked is: that the StripGate plugin is in the plan, and on a machine with the engine's GPU that it
    can be deserialised and has the tensors and batch sizes it should have. What was not checked is said in the log.

    Args:
        engine: the plan.
        onnx: the file it was built from.
        plugin: the StripGate library it was built with; None takes the one `make plugin` builds.
        flavour: the library that built it; its version is taken to be that of the Python module installed here.
        profile: batch sizes it was built for.
        target: GPU architecture it was built for; None takes the GPU at hand.

    Returns:
        The manifest's path.

    Raises:
        InputError: a file is missing or cannot be used.
        ManifestError: the ONNX file has no manifest, or the engine is not what the arguments say; nothing was written.
        MissingDependencyError: the library is not installed.
        DeviceError: `target` is needed, because there is no GPU.
        CheckFailedError: the plan has no StripGate plugin; nothing was written.
    """
    engine = require_file(engine, "engine")
    described = read_manifest(load_model(onnx), str(onnx))
    plugin = find_plugin(plugin, described, onnx)
    if plugin is not None:
        _check_plugin_traces(engine)
    library = load_tensorrt(flavour)
    built = EngineManifest(
        flavour=flavour,
        version=library.version,
        gpu_architecture=choose_architecture(library, target),
        profile=profile,
        engine_sha256=sha256(engine),
        onnx_sha256=sha256(onnx),
        plugin_sha256=None if plugin is None else sha256(plugin),
    )
    manifest = dataclasses.replace(described, engine=built)
    _check_on_gpu(engine, manifest, library, plugin)
    write_engine_manifest(engine, manifest)
    logger.info("not checked: that %s was built from %s, which a plan does not say", engine, onnx)
    return manifest_path(engine)


def _check_plugin_traces(engine: Path) -> None:
    if missing := missing_plugin_traces(engine):
        raise CheckFailedError(
            f"{engine} holds no trace of the StripGate plugin ({', '.join(missing)} not found): it was built without "
            "it, or is no engine; build it with the command that `lgeu build --print-trtexec` prints"
        )


def _check_on_gpu(engine: Path, manifest: Manifest, library: TensorRTLibrary, plugin: Path | None) -> None:
    built = manifest.engine
    if built is None or current_gpu_architecture() != built.gpu_architecture:
        logger.warning(
            "not checked: the engine's version, GPU, tensors and batch sizes, for want of a GPU of architecture %s",
            built.gpu_architecture if built else "?",
        )
        return
    with open_plan(engine, library, plugin) as plan:
        check_tensors(engine, plan, library.trt, manifest)
