"""`lgeu parity`: what it refuses before it runs, what it says when nothing ran, and the way through trtexec."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lgeu.cli import main
from runtime.embeddings import read_manifest
from runtime.engine_manifest import BatchProfile, EngineManifest
from runtime.files import sha256
from runtime.manifest import write_engine_manifest
from train.checkpoint import load_checkpoint, untrained_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "checkpoint.pt"
    return untrained_checkpoint(path, backbone="mobilenetv3_small_050", height=64, width=32, strips=2)


@pytest.fixture(scope="module")
def engine(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of an engine in fp16 whose file is elsewhere."""
    described = EngineManifest("tensorrt", "10.3.0", ("SM86",), (BatchProfile(4, 4, 5),), "0" * 64, "0" * 64, None)
    manifest = load_checkpoint(checkpoint).manifest
    path = tmp_path_factory.mktemp("engine") / "model.engine"
    write_engine_manifest(path, dataclasses.replace(manifest, precision="fp16", engine=described))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for four people under two cameras, two images each, half of them to search among."""
    folder = tmp_path_factory.mktemp("data") / "people"
    random = np.random.default_rng(0)
    for person in range(4):
        (folder / f"p{person}").mkdir(parents=True)
        for camera in (1, 2):
            for number in (0, 1):
                image = random.integers(0, 256, (64, 32, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f"p{person}" / f"cam{camera}_{number}.png"), image)
    return ["--data", str(folder), "--split-by", "person%2"]


def parity(*arguments: str | Path) -> int:
    return main(["parity", *map(str, arguments)])


def test_an_out_that_is_a_file_is_refused_before_anything_runs(
    checkpoint: Path, data: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    (tmp_path / "damaged.pt").write_bytes(b"the first thing that would be opened")
    assert parity(tmp_path / "damaged.pt", checkpoint, *data, "--out", tmp_path / "out") == 2
    assert "is no folder that can be written to" in capfd.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_the_table_is_printed_also_where_the_report_cannot_be_written(
    checkpoint: Path, data: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report" / "report.json").mkdir(parents=True)
    assert parity(checkpoint, checkpoint, *data, "--out", tmp_path / "report") == 2
    output = capfd.readouterr()
    assert "min cosine" in output.out
    assert "cannot write" in output.err


def test_where_nothing_was_compared_nothing_is_proven(
    checkpoint: Path, data: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lacking = tmp_path / "model.engine"
    lacking.write_bytes(b"plan")
    manifest = load_checkpoint(checkpoint).manifest
    # Nobody has its plugin.
    described = EngineManifest(
        "tensorrt", "10.3.0", ("SM86",), (BatchProfile(1, 4, 5),), sha256(lacking), "0" * 64, "0" * 64
    )
    write_engine_manifest(lacking, dataclasses.replace(manifest, engine=described))
    assert parity(checkpoint, lacking, *data, "--out", tmp_path / "report") == 1
    output = capfd.readouterr()
    assert "not run" in output.out
    assert "nothing was compared" in output.err
    assert (tmp_path / "report" / "report.json").is_file()


def test_trtexec_gets_what_the_engine_takes(
    checkpoint: Path, engine: Path, data: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs = tmp_path / "inputs"
    assert parity(checkpoint, engine, *data, "--trtexec-inputs", inputs) == 0
    arguments = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in arguments] == ["--shapes=images:5x64x32x3", "--shapes=images:4x64x32x3"]
    assert (inputs / "0001.bin").stat().st_size == 4 * 64 * 32 * 3
    manifest = read_manifest(inputs)
    assert manifest is not None
    for number, rows in (("0000", 5), ("0001", 4)):
        ones = {
            "name": "embeddings",
            "dimensions": f"{rows}x{manifest.embedding_size}",
            "values": [1.0] * rows * manifest.embedding_size,
        }
        (inputs / f"{number}.json").write_text(json.dumps([ones]))
    assert parity(checkpoint, inputs, *data, "--out", tmp_path / "report") == 1
    (stage,) = json.loads((tmp_path / "report" / "report.json").read_text())["stages"]
    assert (stage["name"], stage["precision"]) == ("inputs", "fp16")


def test_trtexec_inputs_are_of_one_model(
    checkpoint: Path, engine: Path, data: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert parity(checkpoint, engine, checkpoint, *data, "--trtexec-inputs", tmp_path / "inputs") == 2
    assert "2 candidates were given" in capfd.readouterr().err
    assert parity(checkpoint, *data, "--trtexec-inputs", tmp_path / "inputs") == 0
    assert capfd.readouterr().out.startswith("--shapes=images:8x64x32x3 ")


def test_models_of_the_same_name_are_told_apart(checkpoint: Path, data: list[str], tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "checkpoint.pt").write_bytes(checkpoint.read_bytes())
    same = [tmp_path / "a" / "checkpoint.pt", tmp_path / "b" / "checkpoint.pt"]
    assert parity(checkpoint, *same, *data, "--out", tmp_path / "report") == 0
    stages = json.loads((tmp_path / "report" / "report.json").read_text())["stages"]
    assert [stage["name"] for stage in stages] == ["a/checkpoint.pt", "b/checkpoint.pt"]
