"""Which engines are refused before a GPU is looked for, and why."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from runtime.engine_manifest import BatchProfile, EngineManifest
from runtime.engine_match import (
    check_architecture,
    check_engine_file,
    check_platform,
    check_profiles,
    check_version,
    current_platform,
    find_plugin,
)
from runtime.errors import EngineMismatchError, InputError, ManifestError, MissingDependencyError
from runtime.files import sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An engine, and two plugin libraries in two other folders."""
    (tmp_path / "model.engine").write_bytes(b"plan")
    for name in ("right", "wrong"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "libstrip_gate.so").write_bytes(name.encode())
    return tmp_path


@pytest.fixture
def engine(folder: Path) -> EngineManifest:
    return EngineManifest(
        flavour="tensorrt",
        version="10.3.0.26",
        gpu_architectures=("SM86",),
        profiles=(BatchProfile(1, 8, 16),),
        engine_sha256=sha256(folder / "model.engine"),
        onnx_sha256="0" * 64,
        plugin_sha256=sha256(folder / "right" / "libstrip_gate.so"),
    )


def test_the_engine_file(folder: Path, engine: EngineManifest) -> None:
    path = folder / "model.engine"
    check_engine_file(path, engine)
    path.write_bytes(b"pla")
    with pytest.raises(ManifestError, match=r"model\.engine has SHA-256 .* truncated or replaced"):
        check_engine_file(path, engine)


def library(folder: Path, name: str) -> Path:
    return folder / name / "libstrip_gate.so"


def test_the_plugin_named(folder: Path, engine: EngineManifest) -> None:
    path, right, wrong = folder / "model.engine", library(folder, "right"), library(folder, "wrong")
    assert find_plugin(path, engine, right, lambda: wrong) == right
    with pytest.raises(
        EngineMismatchError, match=r"was built with the plugin of SHA-256 .* found was .*wrong/libstrip"
    ):
        find_plugin(path, engine, wrong, lambda: right)
    with pytest.raises(InputError, match=r"plugin library .*none\.so does not exist"):
        find_plugin(path, engine, folder / "none.so", lambda: right)


def test_the_plugin_found(folder: Path, engine: EngineManifest) -> None:
    path, right, wrong = folder / "model.engine", library(folder, "right"), library(folder, "wrong")
    beside = folder / "libstrip_gate.so"
    assert find_plugin(path, engine, None, lambda: right) == right
    shutil.copy(right, beside)
    assert find_plugin(path, engine, None, lambda: wrong) == beside
    shutil.copy(wrong, beside)
    assert find_plugin(path, engine, None, lambda: right) == right
    with pytest.raises(
        EngineMismatchError, match=r"libstrip_gate\.so \(.*\) and .*wrong/libstrip_gate\.so \(.*\); name"
    ):
        find_plugin(path, engine, None, lambda: wrong)


def test_no_plugin_to_be_found(folder: Path, engine: EngineManifest) -> None:
    path, none = folder / "model.engine", folder / "none.so"
    message = r"needs the StripGate plugin, and neither .* exists; name it with --plugin"
    with pytest.raises(MissingDependencyError, match=message):
        find_plugin(path, engine, None, lambda: none)
    assert find_plugin(path, dataclasses.replace(engine, plugin_sha256=None), None, lambda: none) is None
    assert find_plugin(path, dataclasses.replace(engine, plugin_embedded=True), None, lambda: none) is None


@pytest.mark.parametrize("version", ["10.3.0.26", "10.3.0", "10.3.0.26.1"])
def test_the_same_version(engine: EngineManifest, version: str) -> None:
    check_version(Path("model.engine"), engine, version)


@pytest.mark.parametrize("version", ["10.3.0.27", "10.3.1", "10.13.0.26", "11.3.0.26", "10.30.0"])
def test_another_version(engine: EngineManifest, version: str) -> None:
    with pytest.raises(EngineMismatchError, match=f"built by tensorrt 10.3.0.26, and tensorrt {version} is installed"):
        check_version(Path("model.engine"), engine, version)


@pytest.mark.parametrize("version", ["10.3.0.26", "10.3.0", "10.3.1", "10.13.0.35", "10.16", "11.0.0.1", "11.4"])
def test_a_version_compatible_engine_on_a_later_version(engine: EngineManifest, version: str) -> None:
    check_version(Path("model.engine"), dataclasses.replace(engine, version_compatible=True), version)


@pytest.mark.parametrize(
    ("built", "version", "later"),
    [
        ("10.13.0.35", "10.3.0", "later 10.x and 11.x run"),
        ("10.13.0.35", "10.13.0.34", "later 10.x and 11.x run"),
        ("10.13.0.35", "12.0.0", "later 10.x and 11.x run"),
        ("11.0.0.1", "10.16.0", "later 11.x run"),
        ("11.0.0.1", "12.0.0", "later 11.x run"),
    ],
)
def test_a_version_compatible_engine_on_a_version_that_is_not_later(
    engine: EngineManifest, built: str, version: str, later: str
) -> None:
    engine = dataclasses.replace(engine, version=built, version_compatible=True)
    with pytest.raises(EngineMismatchError, match=f"version-compatible by tensorrt {built}, which {later}.*{version}"):
        check_version(Path("model.engine"), engine, version)


def test_another_gpu(engine: EngineManifest) -> None:
    check_architecture(Path("model.engine"), engine, "SM86")
    for level in ("none", "same-compute-capability"):
        with pytest.raises(EngineMismatchError, match="built for a GPU of architecture SM86, and this one is SM87"):
            check_architecture(Path("model.engine"), dataclasses.replace(engine, hardware_compatibility=level), "SM87")


def test_an_engine_for_several_gpus(engine: EngineManifest) -> None:
    several = dataclasses.replace(engine, flavour="tensorrt-rtx", gpu_architectures=("SM86", "SM120"))
    check_architecture(Path("model.engine"), several, "SM120")
    with pytest.raises(EngineMismatchError, match="architecture SM86 and SM120, and this one is SM89"):
        check_architecture(Path("model.engine"), several, "SM89")


def test_an_engine_for_ampere_and_later(engine: EngineManifest) -> None:
    compatible = dataclasses.replace(engine, hardware_compatibility="ampere+")
    for architecture in ("SM80", "SM89", "SM90", "SM120"):
        check_architecture(Path("model.engine"), compatible, architecture)
    with pytest.raises(
        EngineMismatchError, match=r"SM86, and is compatible with Ampere and later, .* this one is SM75"
    ):
        check_architecture(Path("model.engine"), compatible, "SM75")


def test_another_platform(engine: EngineManifest) -> None:
    check_platform(Path("model.engine"), engine)
    check_platform(Path("model.engine"), dataclasses.replace(engine, platform=current_platform()))
    with pytest.raises(EngineMismatchError, match=r"was built on Linux riscv64, and this is .*, whatever the GPU"):
        check_platform(Path("model.engine"), dataclasses.replace(engine, platform="Linux riscv64"))


def test_other_profiles(engine: EngineManifest) -> None:
    check_profiles(Path("model.engine"), engine, [BatchProfile(1, 8, 16)])
    with pytest.raises(ManifestError, match="takes batches 1:8:32 and 1:1:1, its manifest says 1:8:16"):
        check_profiles(Path("model.engine"), engine, [BatchProfile(1, 8, 32), BatchProfile(1, 1, 1)])
