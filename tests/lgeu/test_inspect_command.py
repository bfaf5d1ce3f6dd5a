"""`lgeu inspect`: what it prints and writes of each kind of file, and its refusals."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lgeu.cli import main
from runtime.files import sha256
from runtime.manifest import manifest_path
from runtime.tensorrt_library import default_plugin


def inspected(file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> tuple[str, Any]:
    """What is printed, and the JSON, which must hold no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    out = tmp_path / "inspected.json"
    capfd.readouterr()
    assert main(["inspect", str(file), "--json", str(out)]) == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    return printed.out, json.loads(out.read_text(), parse_constant=refuse)


@pytest.fixture
def engine(onnx_folder: Path, tmp_path: Path) -> Path:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    if not default_plugin().is_file():
        pytest.skip("the StripGate plugin is not built: make plugin")
    out = tmp_path / "built" / "model.engine"
    command = ["build", str(onnx_folder / "model.fp16.onnx"), "--flavour", "tensorrt-rtx", "--target", "SM75"]
    assert main([*command, "--batch", "1:1:1", "--batch", "1:2:4", "--embed-plugin", "--out", str(out)]) == 0
    return out


def test_an_onnx_file(onnx_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = onnx_folder / "model.fp16.onnx"
    text, content = inspected(file, tmp_path, capfd)

    assert text.startswith(f"{file}: ONNX file, {file.stat().st_size:,} bytes\n  SHA-256 {sha256(file)}\n")
    assert "mobilenetv3_small_050" in text
    assert "kept: nodes with their body" in text
    assert "num_strips 2" in text
    assert "problems" not in text
    assert content["kind"] == "onnx"
    assert content["strip_gates"][0]["type"] == "FLOAT16"
    convolutions = [each for each in content["operators"] if each["name"] == "Conv"]
    assert [list(each["types"]) for each in convolutions] == [["FLOAT16"]]


def test_a_checkpoint(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text, content = inspected(checkpoint, tmp_path, capfd)

    state = torch.load(checkpoint, weights_only=True)["model"]
    assert content["kind"] == "checkpoint"
    assert content["file"]["sha256"] == sha256(checkpoint)
    assert content["sizes"]["float32"] == sum(t.nbytes for t in state.values() if t.dtype == torch.float32)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert content["parameters"] == sum(t.numel() for name, t in state.items() if not name.endswith(statistics))
    assert f"{content['parameters']:,}" in text
    assert content["training"] == []


def test_an_engine(engine: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text, content = inspected(engine, tmp_path, capfd)

    assert "the manifest's SHA-256 is this file's" in text
    digest = sha256(default_plugin())
    assert f"holds a library for the CPU, SHA-256 {digest} (the manifest's StripGate library)" in text
    assert content["embedded_libraries"] == [digest]
    assert "engine.profiles                1:1:1, 1:2:4" in text
    assert "'strip_gate' -> descriptor HALF" in text
    assert "not known here:\n  inputs, outputs, profiles and layers of the engine: " in text
    assert content["matches_manifest"] is True
    assert content["manifest"]["engine"]["profiles"][1] == {"min": 1, "opt": 2, "max": 4}
    assert "PLUGIN_V3" in {layer["type"] for layer in content["network"]}

    manifest_path(engine).unlink()
    engine.write_bytes(engine.read_bytes() + b"\0")
    text, content = inspected(engine, tmp_path, capfd)
    assert "no manifest of ours" in text
    assert "problems:\n  model.engine.layers.json beside the engine is another engine's" in text
    assert (content["manifest"], content["matches_manifest"], content["network"]) == (None, None, None)


def test_refusals_are_one_line(
    engine: Path, checkpoint: Path, onnx_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = onnx_folder / "model.onnx"
    text, cut, no_engine = (tmp_path / name for name in ("notes.txt", "cut.pt", "text.engine"))
    text.write_text("notes")
    no_engine.write_text("notes")
    cut.write_bytes(checkpoint.read_bytes()[:-5000])
    for arguments, message in (
        ([text], "expected a file ending in .pt, .onnx, .engine"),
        ([tmp_path / "none.onnx"], "does not exist"),
        ([cut], "not a complete torch file"),
        ([no_engine], "does not begin as a TensorRT engine"),
        ([model, "--json", model], "is read by this very command"),
        ([engine, "--json", manifest_path(engine)], "is read by this very command"),
        ([model, "--json", tmp_path], "it is a folder"),
        ([model, "--plugin", text], "leave it out"),
        ([engine, "--plugin", tmp_path / "typo.so"], "typo.so does not exist"),
    ):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        capfd.readouterr()
        assert main(["inspect", *map(str, arguments)]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert message in line
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_engine_is_inspected_without_onnx_and_torch(engine: Path) -> None:
    code = (
        "import sys; sys.modules['onnx'] = sys.modules['torch'] = None\n"
        "from lgeu.cli import main; sys.exit(main(['inspect', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(engine)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mobilenetv3_small_050" in done.stdout
