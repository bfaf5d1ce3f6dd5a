"""`infer` from end to end: a video, a folder, an image, and what it refuses."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.boxes import cut
from runtime.embedder import Embedder
from runtime.embeddings import Embeddings, read_manifest
from runtime.infer import main
from runtime.preprocess import preprocess_batch
from runtime.video import read_frames

Oracle = Callable[[NDArray[np.uint8]], NDArray[np.float64]]

BOXES = """1,7,10,5,20.4,30.2,1,-1,-1,-1
1,8,-6,-4,20,20,1,-1,-1,-1
2,7,12,5,20,30,0,-1,-1,-1
4,9,70,5,10,10,1,-1,-1,-1
4,7,50,30,40,40,0.3,-1,-1,-1
12,7,0,0,64,48,1,-1,-1,-1
"""
KEPT = [(0, 7, (10, 5, 20.4, 30.2)), (0, 8, (0, 0, 14, 16)), (3, 7, (50, 30, 14, 18)), (11, 7, (0, 0, 64, 48))]


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    path = tmp_path / "gt.txt"
    path.write_text(BOXES)
    return path


@pytest.fixture
def folder(tmp_path: Path, crops: list[NDArray[np.uint8]]) -> Path:
    """Eleven crops under Market-1501 names, and a text."""
    path = tmp_path / "crops"
    path.mkdir()
    for index, crop in enumerate(crops):
        cv2.imwrite(str(path / f"{index:04d}_c1s1_000001_00.png"), crop)
    (path / "notes.txt").write_text("no crop")
    return path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_a_video_with_boxes(
    make_video: Callable[..., Path],
    boxes: Path,
    tiny_model: Path,
    oracle: Oracle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video, out = make_video(), tmp_path / "out"
    assert run(video, "--model", tiny_model, "--out", out, "--boxes", boxes, "--batch-size", 3) == 0
    assert sorted(path.name for path in out.iterdir()) == ["embeddings.npz", "manifest.json"]
    found = Embeddings.load(out / "embeddings.npz")
    assert found.frames is not None
    assert found.tracks is not None
    assert found.boxes is not None
    np.testing.assert_array_equal(found.frames, [frame for frame, _, _ in KEPT])
    np.testing.assert_array_equal(found.tracks, [track for _, track, _ in KEPT])
    np.testing.assert_allclose(found.boxes, [box for _, _, box in KEPT], rtol=1e-6)
    assert list(found.names) == ["frame000000_box00", "frame000000_box01", "frame000003_box00", "frame000011_box00"]
    assert set(found.person_ids) == {-2}
    assert set(found.camera_ids) == {-1}
    frames = list(read_frames(video))
    crops = [cut(frames[frame], np.array(box, np.float32)) for frame, _, box in KEPT]
    np.testing.assert_allclose(found.features, oracle(preprocess_batch(crops, 16, 8, "BGR")), atol=1e-5)
    printed = capsys.readouterr().out
    for line in ("frames: 12", "boxes: 5", "dropped (outside the frame): 1", "embeddings: 4", "images/s: "):
        assert line in printed


def test_a_folder_and_an_image(
    folder: Path, tiny_model: Path, crops: list[NDArray[np.uint8]], oracle: Oracle, tmp_path: Path
) -> None:
    expected = oracle(preprocess_batch(crops, 16, 8, "BGR"))
    assert run(folder, "--model", tiny_model, "--out", tmp_path / "all") == 0
    found = Embeddings.load(tmp_path / "all" / "embeddings.npz")
    assert found.frames is None
    assert list(found.names) == [f"{index:04d}_c1s1_000001_00.png" for index in range(len(crops))]
    assert set(found.person_ids) == {-2}  # not guessed from the names
    np.testing.assert_allclose(found.features, expected, atol=1e-5)
    image = folder / "0003_c1s1_000001_00.png"
    assert run(image, "--model", tiny_model, "--out", tmp_path / "one") == 0
    found = Embeddings.load(tmp_path / "one" / "embeddings.npz")
    assert list(found.names) == [image.name]
    np.testing.assert_allclose(found.features, expected[3:4], atol=1e-5)


def test_a_gallery_and_an_annotated_video(
    make_video: Callable[..., Path], boxes: Path, tiny_model: Path, tmp_path: Path
) -> None:
    video, out = make_video(), tmp_path / "out"
    arguments = (video, "--model", tiny_model, "--out", out, "--boxes", boxes, "--annotate")
    assert run(*arguments) == 0
    first = Embeddings.load(out / "embeddings.npz")
    gallery = Embeddings(
        features=first.features[[2, 0, 3]],
        person_ids=np.array([30, 10, 40]),
        camera_ids=np.ones(3, np.int64),
        names=np.array(["c", "a", "d"]),
    )
    gallery.save(tmp_path / "gallery.npz")
    plain = (out / "annotated.mp4").read_bytes()
    assert run(*arguments, "--gallery", tmp_path / "gallery.npz") == 0
    written = sorted(path.name for path in out.iterdir())
    assert written == ["annotated.mp4", "embeddings.npz", "manifest.json", "matches.csv"]
    assert (out / "annotated.mp4").read_bytes() != plain
    with (out / "matches.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(first.names)
    assert [rows[i]["person_id"] for i in (0, 2, 3)] == ["10", "30", "40"]
    assert [rows[i]["gallery_name"] for i in (0, 2, 3)] == ["a", "c", "d"]
    assert float(rows[0]["score"]) == pytest.approx(1, abs=1e-4)
    # Of what this run was not asked for nothing is left that would belong to the other embeddings.
    (out / "notes.txt").write_text("not ours")
    assert run(video, "--model", tiny_model, "--out", out, "--boxes", boxes) == 0
    assert sorted(path.name for path in out.iterdir()) == ["embeddings.npz", "manifest.json", "notes.txt"]


def test_a_detector_that_finds_nobody(
    make_video: Callable[..., Path], tiny_model: Path, shared_data: Path, tmp_path: Path
) -> None:
    detector = shared_data / "models" / "yolox_nano.onnx"
    out = tmp_path / "out"
    assert run(make_video(), "--model", tiny_model, "--out", out, "--detector", detector, "--annotate") == 0
    found = Embeddings.load(out / "embeddings.npz")
    assert found.features.shape == (0, 6)
    assert found.boxes is not None
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "taken for a video, given with no boxes; say where its people are with either --boxes FILE or --detector"),
        (("--boxes", "b", "--detector", "d"), "given with --boxes and --detector; say where"),
        (("--detector", "d", "--frame-offset", "0"), "--frame-offset given without --boxes"),
        (("--boxes", "b", "--score", ".5"), "--score given without --detector"),
        (("--boxes", "b", "--plugin", "p.so"), "only an engine takes one"),
        (("--boxes", "b", "--device", "tpu"), "argument --device: invalid choice: 'tpu'"),
        (("--boxes", "b", "--batch-size", "x"), "argument --batch-size: invalid int value: 'x'"),
        (("--boxes", "b", "--bocks", "c"), "unrecognized arguments: --bocks c; see --help"),
        (("--boxes", "none.txt"), "boxes file none.txt does not exist"),
        (("--boxes", "b", "--seconds", "0"), "--seconds 0; expected more than 0"),
        (("--boxes", "b", "--seconds", "nan"), "--seconds nan; expected more than 0"),
        (("--detector", "none.onnx"), "model none.onnx does not exist"),
        (("--boxes", "{boxes}", "--gallery", "none.npz"), "embeddings file none.npz does not exist"),
        (("--boxes", "{boxes}", "--batch-size", "0"), "batch size is 0"),
        (
            ("--boxes", "{boxes}", "--frame-offset", "0"),
            "ended after frame 11, and 1 boxes lie on 1 later",
        ),
        (("--boxes", "{boxes}", "--frame-offset", "-2"), "line 1: frame 1 with --frame-offset -2 lies before"),
        (("--detector", "{model}"), "is not a YOLOX detector"),
        (("--detector", "{model}", "--score", "2"), "detector score is 2.0"),
    ],
)
def test_refused_with_a_video(
    arguments: tuple[str, ...],
    message: str,
    make_video: Callable[..., Path],
    boxes: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [text.format(boxes=boxes, model=tiny_model) for text in arguments]
    assert run(make_video(), "--model", tiny_model, "--out", tmp_path / "out", *filled) == 2
    check_one_line(message, capsys)
    assert not (tmp_path / "out").exists()


def test_a_password_is_not_shown(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rtsp://anna:secret@127.0.0.1:9/ch1", "--model", tiny_model, "--out", tmp_path / "out") == 2
    check_one_line("rtsp://127.0.0.1:9/ch1 is no image", capsys)


def test_results_are_in_place_when_nobody_reads_what_was_done(
    make_video: Callable[..., Path],
    boxes: Path,
    tiny_model: Path,
    repository: Path,
    tmp_path: Path,
    unread: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    script, out = repository / "runtime" / "infer.py", tmp_path / "out"
    done = unread(script, make_video(), "--model", tiny_model, "--boxes", boxes, "--out", out)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert len(Embeddings.load(out / "embeddings.npz")) == 4


def check_one_line(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("infer: error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--annotate",), "which is no video; a folder or an image holds crops of people already"),
        (("--no-embeddings",), "--no-embeddings given with"),
        (("--every", "2"), "--every given with"),
        (("--seconds", "2"), "--seconds given with"),
        (("--boxes", "b", "--detector", "d"), "given with --boxes and --detector; say where"),
        (("--boxes", "b"), "boxes file b does not exist"),
    ],
)
def test_refused_with_a_folder(
    arguments: tuple[str, ...], message: str, folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--model", tiny_model, "--out", folder / "out", *arguments) == 2
    check_one_line(message, capsys)
    assert not (folder / "out").exists()


def test_people_are_not_looked_for_on_an_image(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = folder / "0003_c1s1_000001_00.png"
    assert run(image, "--model", tiny_model, "--out", folder / "out", "--detector", "d", "--annotate") == 2
    check_one_line("--detector and --annotate given with", capsys)


def test_refused_sources(folder: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    (folder / "0005_broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    for source, message in (
        (tmp_path / "none.avi", "does not exist; expected a video, a folder of crops or an image"),
        (tmp_path / "empty", "holds no image"),
        (tmp_path / "text.jpg", "text.jpg is not a readable image"),
        (folder, "0005_broken.jpg is not a readable image"),
        (folder / "notes.txt", "notes.txt is no image (.jpg, .jpeg, .png, .bmp, .webp), so it is taken for a video"),
    ):
        assert run(source, "--model", tiny_model, "--out", tmp_path / "out") == 2
        check_one_line(message, capsys)
    (tmp_path / "file").touch()
    assert run(folder, "--model", tiny_model, "--out", tmp_path / "file") == 2
    check_one_line("--out", capsys)
    assert not (tmp_path / "out").exists()


def test_a_failed_run_keeps_the_old_results(
    make_video: Callable[..., Path], boxes: Path, tiny_model: Path, tmp_path: Path
) -> None:
    video, out = make_video(), tmp_path / "out"
    assert run(video, "--model", tiny_model, "--out", out, "--boxes", boxes, "--annotate") == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    boxes.write_text(BOXES + "13,7,0,0,64,48,1\n14,7,0,0,64,48,1\n")
    assert run(video, "--model", tiny_model, "--out", out, "--boxes", boxes, "--annotate") == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("video", "boxes", "gallery"),
    [
        ("annotated.mp4", "gt.txt", "gallery.npz"),
        ("video.avi", "matches.csv", "gallery.npz"),
        ("video.avi", "gt.txt", "embeddings.npz"),
    ],
)
def test_what_is_read_is_not_replaced(
    video: str, boxes: str, gallery: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / video).touch()
    out = tmp_path / "none" / ".."
    options = ("--boxes", tmp_path / boxes, "--gallery", tmp_path / gallery)
    assert run(tmp_path / video, "--model", tiny_model, "--out", out, *options) == 2
    check_one_line("would replace or remove it; name another folder", capsys)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("cv2", "needs the Python package 'cv2', which cannot be imported (not here); install it with: pip install o"),
        ("onnxruntime", "running tiny.onnx needs the Python package 'onnxruntime'"),
    ],
)
def test_a_missing_package_gives_one_line_from_the_script(
    module: str, message: str, repository: Path, folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / f"{module}.py").write_text("raise ImportError('not here')")
    script = str(repository / "runtime" / "infer.py")
    done = subprocess.run(
        [sys.executable, script, str(folder), "--model", str(tiny_model), "--out", str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "path")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert message in done.stderr


@pytest.mark.parametrize("options", [(), ("--no-embeddings", "--tracks")])
def test_the_manifest_of_other_embeddings_is_neither_replaced_nor_removed(
    make_video: Callable[..., Path],
    boxes: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
) -> None:
    out = tmp_path / "out"
    arguments = (make_video(), "--model", tiny_model, "--out", out, "--boxes", boxes)
    assert run(*arguments) == 0
    assert read_manifest(out) == Embedder.open(tiny_model).manifest
    (out / "embeddings.npz").rename(out / "gallery.npz")
    capsys.readouterr()
    assert run(*arguments, *options) == 2
    assert "holds gallery.npz, and manifest.json there, which this run writes or removes" in capsys.readouterr().err
    # A killed run's half-written file is nobody's.
    (out / "gallery.npz").rename(out / ".embeddings.0123456789abcdef.npz")
    assert run(*arguments, *options) == 2
    assert "holds a manifest.json without embeddings.npz, which this run would replace" in capsys.readouterr().err
    assert len(list(out.iterdir())) == 2
    (out / "manifest.json").unlink()
    assert run(*arguments, *options) == 0


def test_a_gallery_of_another_model(
    folder: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ones = np.ones(2, np.int64)
    Embeddings(np.ones((2, 5), np.float32), ones, ones, np.array(["a", "b"])).save(tmp_path / "g.npz")
    assert run(folder, "--model", tiny_model, "--out", tmp_path / "out", "--gallery", tmp_path / "g.npz") == 2
    check_one_line("holds embeddings of size 5, and the model gives 6", capsys)


def test_a_damaged_video_gives_one_line_from_the_script(
    shared_data: Path, repository: Path, tiny_model: Path, tmp_path: Path
) -> None:
    # In a process of its own, because FFmpeg writes to the terminal behind Python's back.
    pets = shared_data / "pets2009-s2l1"
    (tmp_path / "short.avi").write_bytes((pets / "vtest.avi").read_bytes()[:300_000])
    script = str(repository / "runtime" / "infer.py")
    arguments = ["short.avi", "--model", str(tiny_model), "--out", "out", "--boxes", str(pets / "gt.txt")]
    done = subprocess.run(
        [sys.executable, script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    said, *errors = done.stderr.splitlines()
    assert "runs on onnxruntime" in said
    assert len(errors) == 1
    assert "short.avi ends early" in done.stderr
    assert not (tmp_path / "out").exists()


def test_every_box_of_the_real_video(shared_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    pets = shared_data / "pets2009-s2l1"
    assert run(pets / "vtest.avi", "--model", tiny_model, "--out", tmp_path, "--boxes", pets / "gt.txt") == 0
    found = Embeddings.load(tmp_path / "embeddings.npz")
    with (pets / "gt.txt").open() as file:
        rows = [row for row in csv.reader(file) if float(row[6]) == 1]
    assert len(found) == len(rows) == 4476
    assert found.frames is not None
    assert found.tracks is not None
    pairs = {(int(row[0]) - 1, int(row[1])) for row in rows}
    assert set(zip(found.frames.tolist(), found.tracks.tolist(), strict=True)) == pairs
    assert np.isfinite(found.features).all()
