"""Whether an engine, its manifest, its plugin and this machine belong together."""

import platform
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from .engine_manifest import BatchProfile, EngineManifest
from .errors import EngineMismatchError, ManifestError, MissingDependencyError
from .files import require_file, sha256

PLUGIN_NAME = "libstrip_gate.so"

# Across major versions a version-compatible engine runs on the next one only, and of these we know:
_RUNS_ON_NEXT_MAJOR = {10: 11}

_AMPERE = 80


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
        The library with the hash in the manifest; None for an engine without a plugin, or with it inside.

    Raises:
        InputError: the library named does not exist.
        MissingDependencyError: none was named, and there is none to look at.
        EngineMismatchError: none of those found is the one the engine was built with.
    """
    if engine.plugin_sha256 is None or engine.plugin_embedded:
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
    """Refuse an engine that the installed version of the library does not run.

    A plan is readable by the version that wrote it only, unless it was built version-compatible: then by that version
    and later ones of the same major version, and TensorRT 10's by TensorRT 11. Where one side knows fewer parts of the
    version (Debian's Python package says 10.3.0 for 10.3.0.26), those that both know are compared.

    Raises:
        EngineMismatchError: it does not.
    """
    built, found = _numbers(engine.version), _numbers(version)
    known = min(len(built), len(found))
    if built[:known] == found[:known]:
        return
    if not engine.version_compatible:
        raise EngineMismatchError(
            f"{path} was built by {engine.flavour} {engine.version}, and {engine.flavour} {version} is installed here; "
            "build it again here, or install that version"
        )
    following = _RUNS_ON_NEXT_MAJOR.get(built[0])
    if found[0] != following and (found[0] != built[0] or found[:known] < built[:known]):
        later = f"later {built[0]}.x" + (f" and {following}.x" if following else "")
        raise EngineMismatchError(
            f"{path} was built version-compatible by {engine.flavour} {engine.version}, which {later} run, and "
            f"{engine.flavour} {version} is installed here; build it again here"
        )


def check_platform(path: Path, engine: EngineManifest) -> None:
    """Refuse an engine that was built on another operating system or kind of processor.

    Raises:
        EngineMismatchError: it was, and the library's engines are tied to that.
    """
    if engine.platform not in (None, current_platform()):
        raise EngineMismatchError(
            f"{path} was built on {engine.platform}, and this is {current_platform()}, whatever the GPU; build it "
            "again on this machine"
        )


def current_platform() -> str:
    """What a TensorRT engine is tied to, e.g. "Linux x86_64"."""
    return f"{platform.system()} {platform.machine()}"


def check_architecture(path: Path, engine: EngineManifest, architecture: str) -> None:
    """Refuse an engine for other GPUs.

    Raises:
        EngineMismatchError: it was built for other compute capabilities than `architecture`, e.g. "SM86", and is not
            compatible with it.
    """
    if architecture in engine.gpu_architectures:
        return
    if engine.hardware_compatibility == "ampere+" and is_ampere_or_later(architecture):
        return
    built = " and ".join(engine.gpu_architectures)
    others = ", and is compatible with Ampere and later" if engine.hardware_compatibility == "ampere+" else ""
    raise EngineMismatchError(
        f"{path} was built for a GPU of architecture {built}{others}, and this one is {architecture}; "
        f"build it again on this machine, or with --target {architecture} where the builder allows it"
    )


def is_ampere_or_later(architecture: str) -> bool:
    """Whether a GPU architecture, e.g. "SM86", is among those of hardware compatibility "ampere+"."""
    return int(architecture.removeprefix("SM")) >= _AMPERE


def check_profiles(path: Path, engine: EngineManifest, found: Sequence[BatchProfile]) -> None:
    """Refuse an engine whose own optimisation profiles are not the manifest's.

    Raises:
        ManifestError: they differ.
    """
    if engine.profiles != tuple(found):
        given, promised = (" and ".join(map(str, profiles)) for profiles in (found, engine.profiles))
        raise ManifestError(
            f"{path} takes batches {given}, its manifest says {promised}; build it again with `lgeu build`"
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])] or [0]
