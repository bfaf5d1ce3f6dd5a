"""The way by trtexec: its commands, and the manifest beside the engine it built."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from engines.adopt import adopt_engine
from engines.builder import build_engine
from engines.graph import save_model, set_functions
from engines.options import BuildOptions
from engines.trtexec import parse_release, trtexec_commands
from runtime.engine_manifest import BatchProfile
from runtime.errors import CheckFailedError, DeviceError, InputError, LgeuError, ManifestError
from runtime.files import sha256
from runtime.manifest import manifest_path, read_engine_manifest
from runtime.tensorrt_library import TensorRTLibrary, current_gpu_architecture

PROFILE = BatchProfile(1, 8, 16)
SM86 = BuildOptions((PROFILE,), targets=("SM86",))
MakeModel = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="module")
def foreign_engine(tiny_onnx: Path, plugin_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan without its manifest, as trtexec leaves it."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    engine = tmp_path_factory.mktemp("foreign") / "model.engine"
    build_engine(tiny_onnx, engine, flavour="tensorrt-rtx", plugin=plugin_library, options=SM86)
    manifest_path(engine).unlink()
    return engine


def adopt(engine: Path, onnx_path: Path, plugin: Path | None, *targets: str, **options: Any) -> Path:
    built = BuildOptions((PROFILE,), targets=targets, **options)
    return adopt_engine(engine, onnx_path, plugin, flavour="tensorrt-rtx", options=built)


def test_an_adopted_engine_has_the_manifest_of_a_built_one(
    foreign_engine: Path, tiny_onnx: Path, plugin_library: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        path = adopt(foreign_engine, tiny_onnx, plugin_library, "SM86")

    assert path == manifest_path(foreign_engine)
    manifest = read_engine_manifest(foreign_engine)
    assert manifest.engine is not None
    assert manifest.engine.engine_sha256 == sha256(foreign_engine)
    assert manifest.engine.onnx_sha256 == sha256(tiny_onnx)
    assert manifest.engine.plugin_sha256 == sha256(plugin_library)
    assert (manifest.engine.profiles, manifest.engine.gpu_architectures) == ((PROFILE,), ("SM86",))
    if current_gpu_architecture() != "SM86":
        assert "not checked: the engine's version, GPU, tensors and batch sizes" in caplog.text


def refuses(error: type[LgeuError], message: str, engine: Path, *arguments: object) -> None:
    with pytest.raises(error, match=message):
        adopt(engine, *arguments)  # type: ignore[arg-type]
    assert not manifest_path(engine).exists()


def test_a_library_that_should_be_inside_is_looked_for(
    tiny_onnx: Path, plugin_library: Path, foreign_engine: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = tmp_path / "inside.engine"
    inside = replace(SM86, embed_plugin=True)
    build_engine(tiny_onnx, engine, flavour="tensorrt-rtx", plugin=plugin_library, options=inside)
    built = read_engine_manifest(engine)
    manifest_path(engine).unlink()

    adopt(engine, tiny_onnx, plugin_library, "SM86", embed_plugin=True)
    assert read_engine_manifest(engine) == built
    assert "inside the plan" not in caplog.text
    if current_gpu_architecture() != "SM86":
        engine.write_bytes(foreign_engine.read_bytes())
        adopt(engine, tiny_onnx, plugin_library, "SM86", embed_plugin=True)
        assert "not checked: that the StripGate library is inside the plan" in caplog.text


def test_what_is_not_adopted(
    foreign_engine: Path, tiny_onnx: Path, plugin_library: Path, make_model: MakeModel, tmp_path: Path
) -> None:
    engine = tmp_path / "model.engine"
    refuses(InputError, "does not exist", engine, tiny_onnx, plugin_library)

    save_model(make_model(gate="none"), tmp_path / "none.onnx")
    plain = build_engine(tmp_path / "none.onnx", engine, flavour="tensorrt-rtx", plugin=None, options=SM86)
    manifest_path(plain).unlink()
    refuses(CheckFailedError, "no trace of the StripGate plugin", plain, tiny_onnx, plugin_library)

    engine.write_bytes(foreign_engine.read_bytes())
    (tmp_path / "model.plan").write_bytes(foreign_engine.read_bytes())
    refuses(InputError, "is not a name for an engine", tmp_path / "model.plan", tiny_onnx, plugin_library, "SM86")
    refuses(InputError, "does not exist", engine, tiny_onnx, tmp_path / "none.so")
    refuses(InputError, "does not build for SM90", engine, tiny_onnx, plugin_library, "SM90")
    if current_gpu_architecture() is None:
        refuses(DeviceError, "name one with --target", engine, tiny_onnx, plugin_library)


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("needs_plugin", [False, True])
def test_a_plan_of_tensorrt_that_does_not_name_the_plugin_is_opened_without_it(
    needs_plugin: bool,
    embedded: bool,
    tiny_onnx: Path,
    plugin_library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What its plans hold in plain text is not known. TensorRT, which is not here, is stood in for."""

    @contextmanager
    def open_plan(path: Path, built: object, library: object, plugin: Path | None) -> Iterator[Any]:
        if needs_plugin and not embedded and plugin is None:
            raise ManifestError("no creator of StripGate was found")
        yield SimpleNamespace(hardware_compatibility_level=SimpleNamespace(name="NONE"))

    monkeypatch.setattr("engines.adopt.load_tensorrt", lambda flavour: TensorRTLibrary(flavour, "10.13.0", Any))
    for module in ("adopt", "targets"):
        monkeypatch.setattr(f"engines.{module}.current_gpu_architecture", lambda: "SM86")
    monkeypatch.setattr("engines.adopt.open_plan", open_plan)
    monkeypatch.setattr("engines.adopt.read_tensors", lambda *arguments: None)
    monkeypatch.setattr("engines.adopt.check_tensors", lambda *arguments: None)
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"ftrt of another kind")
    options = BuildOptions((PROFILE,), embed_plugin=embedded)

    if needs_plugin or embedded:
        adopt_engine(engine, tiny_onnx, plugin_library, options=options)
        assert read_engine_manifest(engine).engine is not None
        assert ("not checked: that the StripGate plugin is in" in caplog.text) == embedded
    else:
        with pytest.raises(CheckFailedError, match="TensorRT opens it where no plugin is loaded"):
            adopt_engine(engine, tiny_onnx, plugin_library, options=options)
        assert not manifest_path(engine).exists()


def words(line: str) -> list[str]:
    return shlex.split(line)


def test_a_script_for_every_release(tiny_onnx: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "my plugins" / "libstrip_gate.so"
    engine = tmp_path / "my.engine"
    stripped = tiny_onnx.with_name("model.strip.onnx")

    def commands(release: str | None) -> list[str]:
        given = None if release is None else parse_release(release)
        options = BuildOptions((PROFILE,))
        return trtexec_commands(tiny_onnx, engine, plugin=plugin, options=options, release=given).splitlines()

    rewrite, old, adopt_old = (words(line) for line in commands("10.3.0"))
    middle, adopt_middle = (words(line) for line in commands("10.13.3.9"))
    new, adopt_new = (words(line) for line in commands("11.1"))
    assert middle == [
        "trtexec",
        f"--onnx={tiny_onnx}",
        f"--saveEngine={engine}",
        f"--dynamicPlugins={plugin}",
        "--minShapes=images:1x64x32x3",
        "--optShapes=images:8x64x32x3",
        "--maxShapes=images:16x64x32x3",
        "--stronglyTyped",
        "--noTF32",
        "--skipInference",
    ]
    assert new == [word for word in middle if word != "--stronglyTyped"]
    # Up to 10.6 the function body would be taken, plugin or not.
    assert rewrite == ["lgeu", "rewrite", str(tiny_onnx), "--functions", "strip", "--out", str(stripped)]
    assert old == ["trtexec", f"--onnx={stripped}", *middle[2:]]
    assert adopt_middle == adopt_new
    assert adopt_new == [
        *("lgeu", "build", "--adopt", str(engine), "--onnx", str(tiny_onnx)),
        *("--plugin", str(plugin), "--batch", "1:8:16"),
    ]
    assert adopt_old == [str(stripped) if word == str(tiny_onnx) else word for word in adopt_new]
    titles = ["# TensorRT 10.3 to 10.6", "# TensorRT 10.7 and later 10.x", "# TensorRT 11"]
    printed = commands(None)
    assert [line for line in printed if line.startswith("#")] == titles
    assert [line for line in printed if not line.startswith("#")] == [
        line for release in ("10.6", "10.7", "11.0") for line in commands(release)
    ]


def test_every_option_has_its_flag(tiny_onnx: Path, tmp_path: Path) -> None:
    options = BuildOptions(
        (BatchProfile(1, 1, 1), BatchProfile(2, 8, 16)),
        optimization_level=4,
        workspace=2 << 30,
        timing_cache=tmp_path / "timing.cache",
        hardware_compatibility="ampere+",
        version_compatible=True,
    )

    def commands(options: BuildOptions) -> tuple[list[str], list[str]]:
        text = trtexec_commands(tiny_onnx, plugin=Path("/p.so"), options=options, release=(10, 13))
        build, adoption = text.splitlines()
        return words(build)[3:], words(adoption)[6:]

    build, adoption = commands(options)
    assert build == [
        "--dynamicPlugins=/p.so",
        "--setPluginsToSerialize=/p.so",
        *("--profile=0", *(f"--{bound}Shapes=images:1x64x32x3" for bound in ("min", "opt", "max"))),
        *("--profile=1", "--minShapes=images:2x64x32x3", "--optShapes=images:8x64x32x3"),
        "--maxShapes=images:16x64x32x3",
        "--builderOptimizationLevel=4",
        "--memPoolSize=workspace:2048M",
        f"--timingCacheFile={tmp_path / 'timing.cache'}",
        "--versionCompatible",
        "--hardwareCompatibilityLevel=ampere+",
        *("--stronglyTyped", "--noTF32", "--skipInference"),
    ]
    assert adoption == [
        *("--plugin", "/p.so", "--batch", "1:1:1", "--batch", "2:8:16"),
        *("--hardware-compatibility", "ampere+", "--version-compatible"),
    ]
    build, adoption = commands(
        BuildOptions((BatchProfile(2, 2, 2),), workspace=1001, embed_plugin=True, allow_min_batch=True)
    )
    assert "--setPluginsToSerialize=/p.so" in build
    assert "--memPoolSize=workspace:1001B" in build
    assert "--versionCompatible" not in build
    assert adoption[4:] == ["--embed-plugin", "--allow-min-batch"]


def test_a_level_that_older_releases_lack(tiny_onnx: Path) -> None:
    options = BuildOptions((PROFILE,), hardware_compatibility="same-compute-capability")
    text = trtexec_commands(tiny_onnx, plugin=None, options=options)
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# TensorRT 10.9 and later 10.x",
        "# TensorRT 11",
    ]
    assert text.count("--hardwareCompatibilityLevel=sameComputeCapability") == 2
    with pytest.raises(InputError, match=r"came with TensorRT 10\.9, and this is 10\.3"):
        trtexec_commands(tiny_onnx, plugin=None, options=options, release=(10, 3))


@pytest.mark.parametrize("text", ["10", "10.2", "9.3.0", "12.0", "8.6.1", "10.x", "", "10.3a"])
def test_releases_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match=r"is no TensorRT release from 10\.3 to 11"):
        parse_release(text)


def test_commands_that_would_write_what_nobody_takes_or_over_what_they_read(tiny_onnx: Path) -> None:
    for engine, cache, message in (
        ("model.plan", None, r"model\.plan is not a name for an engine; expected one that ends in \.engine"),
        ("model.engine", tiny_onnx, r"model\.onnx would be written over another file"),
        ("model.engine", Path("model.engine.json"), r"model\.engine\.json would be written over another file"),
    ):
        with pytest.raises(InputError, match=message):
            trtexec_commands(tiny_onnx, Path(engine), plugin=None, options=BuildOptions((PROFILE,), timing_cache=cache))


def test_commands_without_strip_gate_name_no_plugin(make_model: MakeModel, tmp_path: Path) -> None:
    save_model(make_model(gate="none"), tmp_path / "plain.onnx")

    options = BuildOptions((PROFILE,), embed_plugin=True)
    text = trtexec_commands(tmp_path / "plain.onnx", plugin=None, options=options)

    assert f"--saveEngine={tmp_path / 'plain.engine'}" in text
    assert "lugin" not in text
    assert "rewrite" not in text


def test_names_that_begin_like_an_option(tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-m.onnx").write_bytes(tiny_onnx.read_bytes())
    text = trtexec_commands(Path("./-m.onnx"), plugin=None, options=BuildOptions((PROFILE,)), release=(10, 3))
    rewrite, _, adoption = (words(line) for line in text.splitlines())
    assert rewrite[2:] == ["./-m.onnx", "--functions", "strip", "--out", "./-m.strip.onnx"]
    assert adoption[2:6] == ["--adopt", "./-m.engine", "--onnx", "./-m.strip.onnx"]


def test_a_file_without_the_node_has_no_commands(make_model: MakeModel, tmp_path: Path) -> None:
    save_model(set_functions(make_model(), "inline"), tmp_path / "inline.onnx")
    with pytest.raises(InputError, match="was inlined"):
        trtexec_commands(tmp_path / "inline.onnx", plugin=None, options=BuildOptions((PROFILE,)))
