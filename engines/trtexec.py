"""The trtexec commands that build what `lgeu build` builds, for those who build without Python.

The options are those of NVIDIA's public samples/common/sampleOptions.cpp at v10.3.0, v10.13.0, v10.16, v11.0 and v11.1.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from runtime.engine_manifest import BatchProfile, HardwareCompatibility
from runtime.errors import InputError
from runtime.manifest import Manifest
from runtime.tensorrt_library import default_plugin

from .graph import IMAGES, load_model, read_manifest
from .options import SAME_LEVEL_SINCE, BuildOptions, check_asked_precision, check_flavour, check_same_level
from .output_files import as_argument, check_distinct, engine_path
from .strip_gate_library import check_node

_OLDEST, _NEWEST_MAJOR = (10, 3), 11

# Up to the release before this one TensorRT takes a StripGate's function body even where the plugin is loaded.
_PLUGIN_FIRST = (10, 7)

# From this release on networks are always strongly typed.
_ALWAYS_TYPED = (11, 0)

_LEVELS: dict[HardwareCompatibility, str] = {"same-compute-capability": "sameComputeCapability", "ampere+": "ampere+"}

_MIB = 1 << 20


def parse_release(text: str) -> tuple[int, int]:
    """Major and minor version of TensorRT, from e.g. "10.3" or "10.13.3.9".

    Raises:
        InputError: it is no version from 10.3 to 11.
    """
    match = re.match(r"(\d+)\.(\d+)(\.|$)", text)
    release = (int(match[1]), int(match[2])) if match else (0, 0)
    if not _OLDEST <= release < (_NEWEST_MAJOR + 1, 0):
        raise InputError(f"{text!r} is no TensorRT release from 10.3 to {_NEWEST_MAJOR}.x; expected e.g. 10.3 or 11.1")
    return release


def trtexec_commands(
    onnx_path: Path,
    engine: Path | None = None,
    *,
    plugin: Path | None,
    options: BuildOptions,
    release: tuple[int, int] | None = None,
) -> str:
    """The commands that build an engine and write its manifest.

    Args:
        onnx_path: a file of `lgeu export` or `lgeu rewrite`.
        engine: None takes the ONNX file's name with `.engine`.
        plugin: the StripGate library; None takes the one `make plugin` builds.
        options: what the engine is to be.
        release: of TensorRT, e.g. (10, 3); None takes all from 10.3 to 11, each with a comment before it.

    Returns:
        Lines for a shell. Those for one release are a script.

    Raises:
        InputError: the file is not ONNX, of another precision than was asked for, or without StripGate's node;
            `release` lacks an option; or a file would be written over another.
        ManifestError: the file has no manifest.
    """
    check_flavour(options, "tensorrt")
    manifest = read_manifest(load_model(onnx_path), str(onnx_path))
    check_asked_precision(options, manifest, onnx_path)
    check_node(manifest, onnx_path)
    engine = engine_path(onnx_path, engine)
    # Absolute: trtexec looks for a bare file name in the system's folders only.
    library = (plugin or default_plugin()).absolute() if manifest.has_strip_gate else None
    check_distinct(engine, options.timing_cache, [onnx_path] if library is None else [onnx_path, library])
    if release is not None:
        check_same_level(options, release)
        return "\n".join(_commands(onnx_path, engine, library, manifest, options, release))
    lines = []
    for first, title in _releases(options):
        lines += [f"# TensorRT {title}", *_commands(onnx_path, engine, library, manifest, options, first)]
    return "\n".join(lines)


def _releases(options: BuildOptions) -> Iterator[tuple[tuple[int, int], str]]:
    if options.hardware_compatibility == "same-compute-capability":
        yield SAME_LEVEL_SINCE, "10.9 and later 10.x"
    else:
        yield _OLDEST, "10.3 to 10.6"
        yield _PLUGIN_FIRST, "10.7 and later 10.x"
    yield _ALWAYS_TYPED, "11"


def _commands(
    onnx_path: Path,
    engine: Path,
    library: Path | None,
    manifest: Manifest,
    options: BuildOptions,
    release: tuple[int, int],
) -> Iterator[str]:
    if release < _PLUGIN_FIRST and manifest.functions == "keep":
        kept, onnx_path = onnx_path, onnx_path.with_name(onnx_path.stem + ".strip.onnx")
        yield shlex.join(
            ["lgeu", "rewrite", as_argument(kept), "--functions", "strip", "--out", as_argument(onnx_path)]
        )
    inside = [f"--setPluginsToSerialize={library}"] if library and options.puts_plugin_inside else []
    yield shlex.join(
        [
            *("trtexec", f"--onnx={onnx_path}", f"--saveEngine={engine}"),
            # Loaded dynamically: a static plugin is found only if it registers itself, which ours does not.
            *([f"--dynamicPlugins={library}"] if library else []),
            *inside,
            *_profiles(options, manifest),
            *_searching(options),
            *_compatibility(options),
            *([] if release >= _ALWAYS_TYPED else ["--stronglyTyped"]),
            *("--noTF32", "--skipInference"),
        ]
    )
    yield shlex.join(
        [
            *("lgeu", "build", "--adopt", as_argument(engine), "--onnx", as_argument(onnx_path)),
            *_adoption(library, options),
        ]
    )


def _profiles(options: BuildOptions, manifest: Manifest) -> Iterator[str]:
    for index, profile in enumerate(options.profiles):
        if len(options.profiles) > 1:
            yield f"--profile={index}"
        yield from _shapes(profile, manifest)


def _shapes(profile: BatchProfile, manifest: Manifest) -> Iterator[str]:
    for bound, batch in (("min", profile.min), ("opt", profile.opt), ("max", profile.max)):
        yield f"--{bound}Shapes={IMAGES}:{'x'.join(map(str, (batch, *manifest.input_shape)))}"


def _searching(options: BuildOptions) -> Iterator[str]:
    if options.optimization_level is not None:
        yield f"--builderOptimizationLevel={options.optimization_level}"
    if options.workspace is not None:
        whole, rest = divmod(options.workspace, _MIB)
        yield f"--memPoolSize=workspace:{f'{options.workspace}B' if rest else f'{whole}M'}"
    if options.timing_cache is not None:
        yield f"--timingCacheFile={options.timing_cache}"


def _compatibility(options: BuildOptions) -> Iterator[str]:
    if options.version_compatible:
        yield "--versionCompatible"
    if options.hardware_compatibility != "none":
        yield f"--hardwareCompatibilityLevel={_LEVELS[options.hardware_compatibility]}"


def _adoption(library: Path | None, options: BuildOptions) -> Iterator[str]:
    if library:
        yield from ("--plugin", str(library))
    for profile in options.profiles:
        yield from ("--batch", str(profile))
    if options.hardware_compatibility != "none":
        yield from ("--hardware-compatibility", options.hardware_compatibility)
    if options.version_compatible:
        yield "--version-compatible"
    elif options.embed_plugin and library:
        yield "--embed-plugin"
    if options.allow_min_batch:
        yield "--allow-min-batch"
