"""Build options in the terms of TensorRT's builder configuration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.engine_manifest import BatchProfile
from runtime.manifest import Manifest
from runtime.tensorrt_library import TensorRTLibrary

from .graph import IMAGES
from .options import LEVELS, BuildOptions
from .timing_cache import attach_timing_cache


def configure(
    builder: Any,
    library: TensorRTLibrary,
    options: BuildOptions,
    manifest: Manifest,
    architectures: Sequence[str],
    plugin: Path | None,
) -> Any:
    """An `IBuilderConfig`.

    Args:
        builder: the `IBuilder`.
        library: whose builder it is; `options` must be such as it knows.
        options: what is asked for.
        manifest: of the model.
        architectures: GPUs to build for.
        plugin: the StripGate library of the model, if it needs one.

    Raises:
        InputError: no timing cache is accepted.
    """
    trt = library.trt
    config = builder.create_builder_config()
    # fp32 means fp32: TF32 would round every product to 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    for profile in options.profiles:
        _add_profile(builder, config, profile, manifest)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.puts_plugin_inside and plugin is not None:
        config.plugins_to_serialize = [str(plugin.resolve())]
    if library.flavour == "tensorrt-rtx":
        config.num_compute_capabilities = len(architectures)
        for index, architecture in enumerate(architectures):
            config.set_compute_capability(trt.ComputeCapability.__members__[architecture], index)
    else:
        _configure_tensorrt(config, library, options)
    return config


def _add_profile(builder: Any, config: Any, profile: BatchProfile, manifest: Manifest) -> None:
    sizes = builder.create_optimization_profile()
    sizes.set_shape(IMAGES, *((batch, *manifest.input_shape) for batch in (profile.min, profile.opt, profile.max)))
    config.add_optimization_profile(sizes)


def _configure_tensorrt(config: Any, library: TensorRTLibrary, options: BuildOptions) -> None:
    trt = library.trt
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatibility != "none":
        level = LEVELS[options.hardware_compatibility]
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.__members__[level]
    if options.timing_cache is not None:
        attach_timing_cache(config, options.timing_cache, f"TensorRT {library.version}")
