"""The trtexec commands that build what `lgeu build` builds, for those who build without Python."""

import shlex
from pathlib import Path

from runtime.manifest import BatchProfile, Manifest
from runtime.tensorrt_library import default_plugin

from .graph import IMAGES, load_model, read_manifest

# TensorRT up to this release takes a StripGate's function body even where the plugin is loaded.
BODY_FIRST = "10.6"


def trtexec_commands(onnx_path: Path, engine: Path | None = None, *, plugin: Path | None, profile: BatchProfile) -> str:
    """The commands for TensorRT 10 and for 11, each with the one that writes the manifest beside its engine.

    Args:
        onnx_path: a file of `lgeu export` or `lgeu rewrite`.
        engine: None takes the ONNX file's name with `.engine`.
        plugin: the StripGate library; None takes the one `make plugin` builds.
        profile: batch sizes the engine accepts.

    Returns:
        Lines for a shell: trtexec of 10.x, adoption, trtexec of 11.x, adoption.

    Raises:
        InputError: the file is not ONNX.
        ManifestError: the file has no manifest.
    """
    manifest = read_manifest(load_model(onnx_path), str(onnx_path))
    engine = engine or onnx_path.with_suffix(".engine")
    # Absolute: trtexec looks for a bare file name in the system's folders only.
    library = (plugin or default_plugin()).absolute() if manifest.has_strip_gate else None
    adopt = ["lgeu", "build", "--adopt", str(engine), "--onnx", str(onnx_path)]
    adopt += ["--plugin", str(library)] if library else []
    adopt += ["--batch", str(profile)]
    common = _common_arguments(onnx_path, engine, library, manifest, profile)
    versions = {"# TensorRT 10" + _note(onnx_path, manifest): ["--stronglyTyped"], "# TensorRT 11": []}
    lines = []
    for note, flags in versions.items():
        lines += [f"{shlex.join(['trtexec', *common, *flags])}  {note}", shlex.join(adopt)]
    return "\n".join(lines)


def _common_arguments(
    onnx_path: Path, engine: Path, library: Path | None, manifest: Manifest, profile: BatchProfile
) -> list[str]:
    shapes = [
        f"--{bound}Shapes={IMAGES}:{'x'.join(map(str, (batch, *manifest.input_shape)))}"
        for bound, batch in (("min", profile.min), ("opt", profile.opt), ("max", profile.max))
    ]
    # Loaded dynamically: a static plugin is found only if it registers itself, which ours does not.
    plugins = [f"--dynamicPlugins={library}"] if library else []
    return [f"--onnx={onnx_path}", f"--saveEngine={engine}", *plugins, *shapes, "--noTF32", "--skipInference"]


def _note(onnx_path: Path, manifest: Manifest) -> str:
    if manifest.functions != "keep":
        return ""
    stripped = onnx_path.with_name(onnx_path.stem + ".strip.onnx")
    rewrite = shlex.join(["lgeu", "rewrite", str(onnx_path), "--functions", "strip", "--out", str(stripped)])
    return f"; up to {BODY_FIRST} from the file that this writes: {rewrite}"
