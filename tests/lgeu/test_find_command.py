"""`lgeu find`: from a video that `lgeu infer` embedded to where somebody is in it, and its refusals."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lgeu.cli import main
from lgeu.synthetic.video import SyntheticVideo, write_video
from lgeu.synthetic.world import World
from runtime.boxes import cut, read_boxes
from runtime.embeddings import Embeddings
from runtime.video import read_frames
from train.checkpoint import untrained_checkpoint


def run(*arguments: object) -> int:
    return main(["find", *map(str, arguments)])


@pytest.fixture(scope="module")
def model(onnx_folder: Path) -> Path:
    return onnx_folder / "model.onnx"


@pytest.fixture(scope="module")
def video(world: World, tmp_path_factory: pytest.TempPathFactory) -> SyntheticVideo:
    out = tmp_path_factory.mktemp("video")
    return write_video(world, out)


@pytest.fixture(scope="module")
def footage(video: SyntheticVideo, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("footage") / "hall"
    arguments = ["infer", video.video, "--boxes", video.boxes, "--model", model, "--out", out]
    assert main([str(each) for each in arguments]) == 0
    return out


@pytest.fixture(scope="module")
def somebody(video: SyntheticVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All crops of track 2."""
    folder, given = tmp_path_factory.mktemp("somebody"), read_boxes(video.boxes)
    for index, pixels in enumerate(read_frames(video.video)):
        people = given[index].clipped(pixels.shape[1], pixels.shape[0])
        for box in people.boxes[people.tracks == 2]:
            assert cv2.imwrite(str(folder / f"{index:03d}.png"), cut(pixels, box))
    return folder


def found(capfd: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, str]]:
    capfd.readouterr()
    assert run(*arguments, "--format", "csv") == 0
    return list(csv.DictReader(io.StringIO(capfd.readouterr().out)))


def test_somebody_is_found_in_all_footage(
    footage: Path, somebody: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    yard = tmp_path / "yard"
    shutil.copytree(footage, yard)
    rows = found(capfd, somebody, footage, yard, "--model", model)
    assert len(rows) == 2 * len(np.unique(Embeddings.load(footage / "embeddings.npz").tracks))
    assert [(row["footage"], row["track"]) for row in rows[:2]] == [(str(footage), "2"), (str(yard), "2")]
    frames = [int(path.stem) for path in sorted(somebody.iterdir())]
    for row in rows[:2]:
        assert float(row["similarity"]) == pytest.approx(1, abs=1e-5)
        assert (int(row["first_frame"]), int(row["last_frame"]), int(row["crops"])) == (
            frames[0],
            frames[-1],
            len(frames),
        )
    assert float(rows[2]["similarity"]) < float(rows[1]["similarity"])


def test_one_crop_leads_to_its_own_frame(
    footage: Path, somebody: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    crop = sorted(somebody.iterdir())[1]
    rows = found(capfd, crop, footage / "embeddings.npz", "--model", model)
    (own,) = (row for row in rows if row["track"] == "2")
    assert int(own["frame"]) == int(crop.stem)
    assert own["name"].startswith(f"frame{int(crop.stem):06d}_box")


def test_formats_and_limits(footage: Path, somebody: Path, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert run(somebody, footage, "--model", model, "-k", 1, "--format", "json") == 0
    (first,) = json.loads(capfd.readouterr().out)
    assert (first["track"], first["crops"]) == (2, len(list(somebody.iterdir())))
    assert run(somebody, footage, "--model", model, "-k", 1) == 0
    headings, line = capfd.readouterr().out.splitlines()
    assert headings.split() == ["footage", "track", "similarity", "frames", "crops", "most", "alike"]
    assert line.split()[:3] == [str(footage), "2", "1.0000"]
    rows = found(capfd, somebody, footage, "--model", model, "--threshold", 0.99999)
    assert [row["track"] for row in rows] == ["2"]


def test_embeddings_with_their_manifest_need_no_model(footage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(found(capfd, footage / "embeddings.npz", footage)) == 3


def test_embeddings_of_any_length_are_compared_by_their_direction(
    footage: Path, somebody: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = Embeddings.load(footage / "embeddings.npz")
    lengths = np.linspace(1, 9, len(content), dtype=np.float32)[:, None]
    replace(content, features=content.features * lengths).save(tmp_path / "longer.npz")
    same, longer = (found(capfd, somebody, path, "--model", model) for path in (footage, tmp_path / "longer.npz"))
    assert [row["track"] for row in longer] == [row["track"] for row in same]
    assert [float(row["similarity"]) for row in longer] == pytest.approx([float(row["similarity"]) for row in same])


def test_refused(footage: Path, somebody: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = untrained_checkpoint(
        tmp_path / "other.pt", backbone="mobilenetv3_small_050", height=64, width=32, strips=1, seed=3
    )
    (tmp_path / "empty").mkdir()
    content = Embeddings.load(footage / "embeddings.npz")
    replace(content, features=content.features[:, :7]).save(tmp_path / "short.npz")
    nobody = Embeddings(content.features[:0], *(np.empty(0, np.int64) for _ in range(2)), np.empty(0, np.str_))
    nobody.save(tmp_path / "nobody.npz")
    for arguments, message in (
        ((somebody, footage), "holds crops, which a model must embed; name it with --model"),
        ((somebody, footage, "--model", other), "embeddings.npz was made by another model"),
        ((somebody, tmp_path / "empty", "--model", model), "embeddings.npz does not exist; expected a folder that"),
        ((somebody, tmp_path / "typo", "--model", model), "typo does not exist"),
        (
            (somebody, tmp_path / "short.npz", "--model", model),
            "short.npz holds embeddings of 7 elements, and its model",
        ),
        ((tmp_path / "nobody.npz", footage, "--model", model), "nobody.npz holds no embeddings"),
        ((somebody, other, "--model", model), "other.pt is no embeddings file (.npz); embed it with `lgeu infer`"),
        ((somebody, footage, "--model", model, "-k", 0), "should be greater than or equal to 1"),
        ((somebody, footage, "--model", model, "--threshold", 2), "should be less than or equal to 1"),
    ):
        assert run(*arguments) == 2
        assert message in capfd.readouterr().err
