"""The way by trtexec: its commands, and the manifest beside the engine it built."""

import shlex
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from engines.adopt import adopt_engine
from engines.builder import build_engine
from engines.graph import save_model
from engines.trtexec import trtexec_commands
from runtime.errors import CheckFailedError, DeviceError, InputError, LgeuError
from runtime.files import sha256
from runtime.manifest import BatchProfile, manifest_path, read_engine_manifest
from runtime.tensorrt_library import current_gpu_architecture

PROFILE = BatchProfile(1, 8, 16)
MakeModel = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="module")
def foreign_engine(tiny_onnx: Path, plugin_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan without its manifest, as trtexec leaves it."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    engine = tmp_path_factory.mktemp("foreign") / "model.engine"
    build_engine(tiny_onnx, engine, flavour="tensorrt-rtx", plugin=plugin_library, profile=PROFILE, target="SM86")
    manifest_path(engine).unlink()
    return engine


def adopt(engine: Path, onnx_path: Path, plugin: Path | None, target: str | None = "SM86") -> Path:
    return adopt_engine(engine, onnx_path, plugin, flavour="tensorrt-rtx", profile=PROFILE, target=target)


def test_an_adopted_engine_has_the_manifest_of_a_built_one(
    foreign_engine: Path, tiny_onnx: Path, plugin_library: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        path = adopt(foreign_engine, tiny_onnx, plugin_library)

    assert path == manifest_path(foreign_engine)
    manifest = read_engine_manifest(foreign_engine)
    assert manifest.engine is not None
    assert manifest.engine.engine_sha256 == sha256(foreign_engine)
    assert manifest.engine.onnx_sha256 == sha256(tiny_onnx)
    assert manifest.engine.plugin_sha256 == sha256(plugin_library)
    assert (manifest.engine.profile, manifest.engine.gpu_architecture) == (PROFILE, "SM86")
    if current_gpu_architecture() != "SM86":
        assert "not checked: the engine's version, GPU, tensors and batch sizes" in caplog.text


def refuses(error: type[LgeuError], message: str, engine: Path, *arguments: object) -> None:
    with pytest.raises(error, match=message):
        adopt(engine, *arguments)  # type: ignore[arg-type]
    assert not manifest_path(engine).exists()


def test_what_is_not_adopted(
    foreign_engine: Path, tiny_onnx: Path, plugin_library: Path, make_model: MakeModel, tmp_path: Path
) -> None:
    engine = tmp_path / "model.engine"
    refuses(InputError, "does not exist", engine, tiny_onnx, plugin_library)

    save_model(make_model(gate="none"), tmp_path / "none.onnx")
    plain = build_engine(
        tmp_path / "none.onnx", engine, flavour="tensorrt-rtx", plugin=None, profile=PROFILE, target="SM86"
    )
    manifest_path(plain).unlink()
    refuses(CheckFailedError, "no trace of the StripGate plugin", plain, tiny_onnx, plugin_library)

    engine.write_bytes(foreign_engine.read_bytes())
    refuses(InputError, "does not exist", engine, tiny_onnx, tmp_path / "none.so")
    refuses(InputError, "does not build for SM90", engine, tiny_onnx, plugin_library, "SM90")
    if current_gpu_architecture() is None:
        refuses(DeviceError, "name one with --target", engine, tiny_onnx, plugin_library, None)


def test_commands_for_both_generations(tiny_onnx: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "my plugins" / "libstrip_gate.so"
    engine = tmp_path / "my.engine"

    lines = trtexec_commands(tiny_onnx, engine, plugin=plugin, profile=PROFILE).splitlines()

    ten, adopt_ten, eleven, adopt_eleven = (shlex.split(line, comments=True) for line in lines)
    assert ten == [
        "trtexec",
        f"--onnx={tiny_onnx}",
        f"--saveEngine={engine}",
        f"--dynamicPlugins={plugin}",
        "--minShapes=images:1x64x32x3",
        "--optShapes=images:8x64x32x3",
        "--maxShapes=images:16x64x32x3",
        "--noTF32",
        "--skipInference",
        "--stronglyTyped",
    ]
    assert eleven == ten[:-1]
    assert adopt_ten == adopt_eleven
    assert adopt_ten == [
        *("lgeu", "build", "--adopt", str(engine), "--onnx", str(tiny_onnx)),
        *("--plugin", str(plugin), "--batch", "1:8:16"),
    ]
    assert "up to 10.6 from the file that this writes: lgeu rewrite" in lines[0]


def test_commands_without_strip_gate_name_no_plugin(make_model: MakeModel, tmp_path: Path) -> None:
    save_model(make_model(gate="none"), tmp_path / "plain.onnx")

    text = trtexec_commands(tmp_path / "plain.onnx", plugin=None, profile=PROFILE)

    assert f"--saveEngine={tmp_path / 'plain.engine'}" in text
    assert "lugin" not in text
    assert "rewrite" not in text
