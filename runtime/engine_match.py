"""Whether an engine, its manifest, its plugin and this machine belong together."""

from collections.abc import Callable
from pathlib import Path

from .errors import EngineMismatchError, ManifestError, MissingDependencyError
from .files import require_file, sha256
from .manifest import BatchProfile, EngineManifest

PLUGIN_NAME = "libstrip_gate.so"


def check_engine_file(path: Path, engine: EngineManifest) -> None:
    """Refuse an engine file that is not the one its manifest was written for.

    Raises:
        ManifestError: the hashes differ.
    """
    found = sha256(path)
    if found != engine.engine_sha256:
        raise ManifestError(
            f"{path} has SHA-256 {found[:12]}..., its manifest was written for {engine.engine_sha256[:12]}...: the "
            "engine was truncated or replaced; copy both files again, or build the engine again"
        )


def find_plugin(
    engine_path: Path, engine: EngineManifest, explicit: Path | None, default: Callable[[], Path]
) -> Path | None:
    """The StripGate library that the engine was built with.

    Args:
        engine_path: the engine file.
        engine: its manifest.
        explicit: the library the user named; no other is then looked at.
        default: where the library is built; looked at last, after the engine's own folder.

    Returns:
        The library with the hash in the manifest; None for an engine without a plugin.

    Raises:
        InputError: the library named does not exist.
        MissingDependencyError: none was named, and there is none to look at.
        EngineMismatchError: none of those found is the one the engine was built with.
    """
    if engine.plugin_sha256 is None:
        return None
    if explicit is not None:
        candidates = [require_file(explicit, "plugin library")]
    else:
        places = engine_path.with_name(PLUGIN_NAME), default()
        candidates = [path for path in places if path.is_file()]
        if not candidates:
            raise MissingDependencyError(
                f"{engine_path} needs the StripGate plugin, and neither {places[0]} nor {places[1]} exists; "
                "name it with --plugin, or build it with `make plugin`"
            )
    hashes = {path: sha256(path) for path in candidates}
    for path, found in hashes.items():
        if found == engine.plugin_sha256:
            return path
    given = " and ".join(f"{path} ({found[:12]}...)" for path, found in hashes.items())
    raise EngineMismatchError(
        f"{engine_path} was built with the plugin of SHA-256 {engine.plugin_sha256[:12]}..., and found was {given}; "
        "name the library it was built with, or build the engine again with this one"
    )


def check_version(path: Path, engine: EngineManifest, version: str) -> None:
    """Refuse an engine of another TensorRT version: a plan is readable by the version that wrote it only.

    Where one side knows fewer parts of the version (Debian's Python package says 10.3.0 for 10.3.0.26), those that
    both know are compared.

    Raises:
        EngineMismatchError: the versions differ.
    """
    built, found = engine.version.split("."), version.split(".")
    known = min(len(built), len(found))
    if built[:known] != found[:known]:
        raise EngineMismatchError(
            f"{path} was built by {engine.flavour} {engine.version}, and {engine.flavour} {version} is installed here; "
            "build it again here, or install that version"
        )


def check_architecture(path: Path, engine: EngineManifest, architecture: str) -> None:
    """Refuse an engine for another GPU architecture.

    Raises:
        EngineMismatchError: it was built for another compute capability than `architecture`, e.g. "SM86".
    """
    if engine.gpu_architecture != architecture:
        raise EngineMismatchError(
            f"{path} was built for a GPU of architecture {engine.gpu_architecture}, and this one is {architecture}; "
            f"build it again on this machine, or with --target {architecture} where the builder allows it"
        )


def check_profile(path: Path, engine: EngineManifest, found: BatchProfile) -> None:
    """Refuse an engine whose own optimisation profile is not the manifest's.

    Raises:
        ManifestError: they differ.
    """
    if engine.profile != found:
        raise ManifestError(
            f"{path} takes batches {found}, its manifest says {engine.profile}; build it again with `lgeu build`"
        )
