"""`lgeu bench`: what is measured here, what is left out and why, and what is refused."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lgeu.cli import main

QUICK = ("--seconds", "0.05", "--rounds", "2")


def test_each_backend_at_each_size(onnx_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    out = tmp_path / "bench.json"
    model = onnx_folder / "model.onnx"
    arguments = ["bench", str(model), "--device", "cpu", "--batch", "1", "--batch", "3", *QUICK, "--json", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    written = json.loads(out.read_text())
    assert [(each["backend"], each["batch"]) for each in written["measurements"]] == [
        ("onnxruntime (CPU)", 1),
        ("onnxruntime (CPU)", 3),
        ("openvino (CPU)", 1),
        ("openvino (CPU)", 3),
    ]
    for each in written["measurements"]:
        assert 0 < each["preprocessing"] < each["p50"] <= each["p99"]
        assert each["upload"] is None
        assert f"{each['images_per_second']:.1f}" in printed
    assert (written["not_run"], written["model"], written["crop"]) == ([], "model.onnx", [128, 64])
    assert written["threads"] >= 1
    assert written["versions"]["onnxruntime"] in printed


def test_what_it_reads_is_not_written_over(
    onnx_folder: Path, video: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "m.engine"
    model = ["bench", str(onnx_folder / "model.onnx")]
    manifest = tmp_path / "m.engine.json"
    manifest.touch()
    for arguments, file in (
        ([*model], onnx_folder / "model.onnx"),
        (["bench", str(engine)], manifest),
        ([*model, *video], tmp_path / "video.avi"),
        ([*model, *video], tmp_path / "gt.txt"),
    ):
        before = file.read_bytes()
        assert main([*arguments, "--json", str(file)]) == 2
        assert f"{file.name} is read" in capsys.readouterr().err
        assert file.read_bytes() == before


def test_a_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(checkpoint), "--device", "cpu", "--batch", "2", *QUICK]) == 0
    header, *rows = capsys.readouterr().out.splitlines()[1:]
    assert header.split()[:3] == ["backend", "batch", "runs"]
    assert rows[0].startswith("torch (CPU)      2")


def test_a_backend_that_is_not_here_is_named(
    onnx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Found before the real one, and as broken as one that was left half-installed.
    (tmp_path / "openvino.py").write_text("raise ImportError('libopenvino.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    model = str(onnx_folder / "model.onnx")
    assert main(["bench", model, "--device", "cpu", "--batch", "1", *QUICK]) == 0
    assert "not run: openvino: running model.onnx with OpenVINO needs the Python package" in capsys.readouterr().out
    assert main(["bench", model, "--backend", "openvino", *QUICK]) == 2
    assert "install it with: pip install openvino" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("MODEL", "--precision", "fp16"), "--precision and --compile are for checkpoints"),
        (("CHECKPOINT", "--backend", "onnxruntime"), "PyTorch alone runs; leave --backend out"),
        (("CHECKPOINT", "--precision", "fp16", "--device", "cpu"), "where it is slower"),
        (("MODEL", "--backend", "tensorrt"), "tensorrt runs engines"),
        (("MODEL", "--batch", "0"), "Invalid value for '--batch'"),
        (("MODEL", "--backend", "tflite"), "backend is 'tflite'; expected one of auto, tensorrt, onnxruntime"),
        (("model.txt",), "expected a file ending in .pt, .onnx, .engine"),
        (("none.onnx",), "does not exist"),
    ],
)
def test_refused(
    onnx_folder: Path,
    checkpoint: Path,
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = {"MODEL": str(onnx_folder / "model.onnx"), "CHECKPOINT": str(checkpoint)}
    out = tmp_path / "bench.json"
    assert main(["bench", *(paths.get(each, each) for each in arguments), "--json", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.fixture
def video(tmp_path: Path) -> list[str]:
    """The options for twelve grey frames with a person on each."""
    writer = cv2.VideoWriter(str(tmp_path / "video.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for index in range(12):
        writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
    writer.release()
    (tmp_path / "gt.txt").write_text("\n".join(f"{frame},1,5,5,15,30,1" for frame in range(1, 13)))
    return ["--video", str(tmp_path / "video.avi"), "--boxes", str(tmp_path / "gt.txt")]


def test_a_video(onnx_folder: Path, video: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    arguments = ["bench", str(onnx_folder / "model.onnx"), *video, "--device", "cpu", "--batch", "4", "--rounds", "2"]
    assert main([*arguments, "--json", str(out), "--frames", "10"]) == 0
    printed = capsys.readouterr().out
    measured = json.loads(out.read_text())["pipeline"]
    assert (measured["frames"], measured["people"], measured["rounds"]) == (10, 10, 2)
    assert [stage["name"] for stage in measured["stages"]] == [
        line.split()[0] for line in printed.splitlines()[1 : 1 + len(measured["stages"])]
    ]
    assert f"bottleneck: {measured['bottleneck']}" in printed
    assert "with onnxruntime (CPU), batch 4" in printed


def test_a_video_on_the_first_backend_that_is_here(
    onnx_folder: Path, video: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    arguments = ["bench", str(onnx_folder / "model.onnx"), *video, "--batch", "4", "--rounds", "1", "--frames", "4"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "with openvino (CPU), batch 4" in printed
    assert "not run: onnxruntime: " in printed
    assert main([*arguments, "--backend", "onnxruntime"]) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--detector", "yolox.onnx"], "give either --boxes FILE or --detector"),
        (["--video", "rtsp://127.0.0.1/a"], "is a stream, which is as fast as it comes"),
        (["--seconds", "1"], "--seconds given with --video"),
        (["--batch", "1", "--batch", "2"], "--video measures one backend at one batch size"),
        (["--video", "none.avi"], "video none.avi does not exist"),
    ],
)
def test_videos_that_are_refused(
    onnx_folder: Path, video: list[str], changes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(onnx_folder / "model.onnx"), *video, *changes]) == 2
    assert message in capsys.readouterr().err


def test_boxes_without_a_video(onnx_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(onnx_folder / "model.onnx"), "--boxes", "gt.txt"]) == 2
    assert "go with --video" in capsys.readouterr().err
