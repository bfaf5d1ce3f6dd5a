"""The manifest beside an engine that trtexec built."""

import dataclasses
import logging
from pathlib import Path

from runtime.engine_manifest import EngineManifest, Flavour
from runtime.engine_tensors import check_tensors, read_tensors
from runtime.errors import CheckFailedError, ManifestError
from runtime.files import require_file, sha256
from runtime.manifest import Manifest, manifest_path, write_engine_manifest
from runtime.tensorrt_library import TensorRTLibrary, current_gpu_architecture, load_tensorrt

from .builder import describe_engine
from .graph import load_model, read_manifest
from .options import LEVELS, BuildOptions, check_asked_precision, check_flavour
from .output_files import check_engine_name
from .plan import open_plan
from .plan_bytes import embedded_libraries, missing_plugin_traces
from .strip_gate_library import find_plugin
from .targets import choose_architectures

logger = logging.getLogger(__name__)


def adopt_engine(
    engine: Path,
    onnx: Path,
    plugin: Path | None,
    *,
    flavour: Flavour = "tensorrt",
    options: BuildOptions,
) -> Path:
    """Write the manifest of an engine that was built elsewhere from an ONNX file of ours.

    What can be checked is: that the StripGate plugin is in the plan, and on a machine with the engine's GPU that it
    can be deserialised and has the tensors and batch sizes it should have. What was not checked is said in the log.

    Args:
        engine: the plan.
        onnx: the file it was built from.
        plugin: the StripGate library it was built with; None takes the one `make plugin` builds.
        flavour: the library that built it; its version is taken to be that of the Python module installed here.
        options: what it was built with. How long the builder searched, and in how much memory, is of no account.

    Returns:
        The manifest's path.

    Raises:
        InputError: a file is missing or cannot be used.
        ManifestError: the ONNX file has no manifest, or the engine is not what the arguments say; nothing was written.
        MissingDependencyError: the library is not installed.
        DeviceError: a target is needed, because there is no GPU.
        CheckFailedError: the plan has no StripGate plugin; nothing was written.
    """
    engine = check_engine_name(require_file(engine, "engine"))
    check_flavour(options, flavour)
    described = read_manifest(load_model(onnx), str(onnx))
    check_asked_precision(options, described, onnx)
    plugin = find_plugin(plugin, described, onnx)
    unseen = [] if plugin is None else missing_plugin_traces(engine)
    if unseen and flavour == "tensorrt-rtx":
        raise CheckFailedError(_without_plugin(engine, f"{', '.join(unseen)} not found"))
    library = load_tensorrt(flavour)
    architectures = choose_architectures(library, options.targets)
    built = describe_engine(library, options, architectures, onnx, plugin)
    built = dataclasses.replace(built, engine_sha256=sha256(engine))
    manifest = dataclasses.replace(described, engine=built)
    if unseen:
        _check_plugin_is_needed(engine, built, library)
    if not _check_on_gpu(engine, manifest, built, library, plugin):
        _check_embedded(engine, built)
    write_engine_manifest(engine, manifest)
    logger.info("not checked: that %s was built from %s, which a plan does not say", engine, onnx)
    return manifest_path(engine)


def _without_plugin(engine: Path, reason: str) -> str:
    return (
        f"{engine} holds no trace of the StripGate plugin ({reason}): it was built without it, or is no engine; "
        "build it with the command that `lgeu build --print-trtexec` prints"
    )


def _check_plugin_is_needed(engine: Path, built: EngineManifest, library: TensorRTLibrary) -> None:
    """What a plan holds in plain text is known of TensorRT-RTX only; TensorRT itself says if it needs the plugin."""
    if built.plugin_embedded:
        logger.warning("not checked: that the StripGate plugin is in %s, whose text does not name it", engine)
        return
    try:
        with open_plan(engine, built, library, None):
            pass
    except ManifestError:
        return  # as it should be; another reason is met again when it is opened with the plugin
    raise CheckFailedError(_without_plugin(engine, "TensorRT opens it where no plugin is loaded"))


def _check_embedded(engine: Path, built: EngineManifest) -> None:
    if built.plugin_embedded and built.plugin_sha256 not in embedded_libraries(engine):
        logger.warning("not checked: that the StripGate library is inside the plan; its bytes are not found there")


def _check_on_gpu(
    engine: Path, manifest: Manifest, built: EngineManifest, library: TensorRTLibrary, plugin: Path | None
) -> bool:
    """Whether the GPU is at hand, on which all is then as `built` says."""
    if current_gpu_architecture() not in built.gpu_architectures:
        logger.warning(
            "not checked: the engine's version, GPU, tensors and batch sizes, for want of a GPU of architecture %s",
            " or ".join(built.gpu_architectures),
        )
        return False
    with open_plan(engine, built, library, None if built.plugin_embedded else plugin) as plan:
        check_tensors(engine, read_tensors(plan, library.trt), library.trt, manifest)
        if built.flavour == "tensorrt":
            _check_level(engine, built, plan.hardware_compatibility_level.name)
    return True


def _check_level(engine: Path, built: EngineManifest, found: str) -> None:
    if found != LEVELS[built.hardware_compatibility]:
        raise ManifestError(
            f"{engine} was built with hardware compatibility {found}, and {built.hardware_compatibility} was named; "
            "name what it was built with"
        )
