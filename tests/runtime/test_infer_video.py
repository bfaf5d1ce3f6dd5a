"""`infer` on videos that are damaged, stopped or interrupted, and machines that fail meanwhile."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.embeddings import Embeddings
from runtime.infer import main
from runtime.spool import read_spool
from runtime.video import read_frames


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """Two people on each of 30 frames."""
    path = tmp_path / "gt.txt"
    lines = [f"{frame},{track},{5 + 20 * track},5,15,30,1" for frame in range(1, 31) for track in (1, 2)]
    path.write_text("\n".join(lines))
    return path


def damaged(video: Path, number: int) -> Path:
    """The MJPEG video with one of its pictures replaced by noise."""
    content = bytearray(video.read_bytes())
    starts = [i for i in range(len(content) - 2) if content[i : i + 3] == b"\xff\xd8\xff"]
    first, last = starts[number], starts[number + 1] - 16
    content[first:last] = np.random.default_rng(0).integers(0, 255, last - first, np.uint8).tobytes()
    video.write_bytes(content)
    return video


def test_a_damaged_frame_in_the_middle(
    make_video: Callable[..., Path], boxes: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--model", tiny_model, "--boxes", boxes, "--annotate", "--out")
    assert run(make_video(frames=30), *arguments, tmp_path / "whole") == 0
    assert run(damaged(make_video(frames=30), 11), *arguments, tmp_path / "damaged") == 0
    whole = Embeddings.load(tmp_path / "whole" / "embeddings.npz")
    found = Embeddings.load(tmp_path / "damaged" / "embeddings.npz")
    assert whole.frames is not None
    others = whole.frames != 11
    np.testing.assert_array_equal(found.frames, whole.frames[others])
    np.testing.assert_array_equal(found.names, whole.names[others])
    np.testing.assert_allclose(found.features, whole.features[others], atol=1e-6)
    printed = capsys.readouterr()
    assert "damaged frames left out: 1" in printed.out


def test_a_folder_of_frames_is_a_video(
    make_video: Callable[..., Path], boxes: Path, tiny_model: Path, tmp_path: Path
) -> None:
    video, folder = make_video(frames=30), tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(read_frames(video)):
        cv2.imwrite(str(folder / f"{index:04d}.png"), frame)
    for source, out in ((video, tmp_path / "a"), (folder, tmp_path / "b")):
        assert run(source, "--model", tiny_model, "--boxes", boxes, "--out", out, "--every", 3) == 0
    one, other = (Embeddings.load(tmp_path / name / "embeddings.npz") for name in "ab")
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.frames, np.repeat(np.arange(0, 30, 3), 2))


def test_a_detector_that_finds_nobody_for_a_thousand_frames(
    make_video: Callable[..., Path], tiny_model: Path, fixed_detector: Callable[..., Path], tmp_path: Path
) -> None:
    detector = fixed_detector(tmp_path / "d.onnx", np.zeros((1, 84, 7), np.float32))
    out = tmp_path / "out"
    assert run(make_video(frames=1000), "--model", tiny_model, "--detector", detector, "--out", out, "--annotate") == 0
    found = Embeddings.load(out / "embeddings.npz")
    assert found.features.shape == (0, 6)
    assert sum(1 for _ in read_frames(out / "annotated.mp4")) == 1000


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("annotate", [False, True])
def test_a_full_disk(
    make_video: Callable[..., Path], tiny_model: Path, repository: Path, tmp_path: Path, annotate: bool
) -> None:
    lines = [f"{frame},{track},5,5,15,30,1" for frame in range(1, 31) for track in range(1, 30 if not annotate else 2)]
    (tmp_path / "gt.txt").write_text("\n".join(lines))
    video = make_video(frames=30, width=640, height=480)
    out = tmp_path / "out"
    arguments = [str(video), "--model", str(tiny_model), "--boxes", "gt.txt", "--out", "out"]
    if annotate:
        arguments.append("--annotate")
    assert run(video, "--model", tiny_model, "--boxes", tmp_path / "gt.txt", "--out", out, "--every", 10) == 0
    before = (out / "embeddings.npz").read_bytes()
    done = subprocess.run(
        [sys.executable, str(repository / "runtime" / "infer.py"), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit_files,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("infer: error: cannot write")
    assert (out / "embeddings.npz").read_bytes() == before
    assert [path.name for path in out.iterdir()] == ["embeddings.npz"]


def jpeg(number: int) -> bytes:
    pixels = np.full((48, 64, 3), number % 200, np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@pytest.fixture
def endless(tiny_model: Path, repository: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts `infer` on standard input, with two people on each of a hundred thousand frames."""
    lines = [f"{frame},{track},{5 + 20 * track},5,15,30,1" for frame in range(1, 100_000) for track in (1, 2)]
    (tmp_path / "gt.txt").write_text("\n".join(lines))

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        script = str(repository / "runtime" / "infer.py")
        options = ["--model", str(tiny_model), "--boxes", "gt.txt", "--out", "out", "--annotate", *arguments]
        return subprocess.Popen(
            [sys.executable, script, "-", *options],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


def feed_until_rows(process: subprocess.Popen[bytes], out: Path, rows: int) -> None:
    """Send frames until so many embeddings are on the disk."""
    assert process.stdin is not None
    for number in range(100_000):
        process.stdin.write(jpeg(number))
        if number % 50 == 0:
            spools = list(out.glob("unfinished-*/embeddings"))
            if spools and (spools[0] / "boxes.npy").exists() and len(read_spool(spools[0])) >= rows:
                return
    raise AssertionError("nothing arrived on the disk")


def test_ctrl_c_keeps_what_was_read(endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with endless() as process:
        feed_until_rows(process, out, 40)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert b"(interrupted)" in stdout
    assert stderr.splitlines()[-1] == b"infer: interrupted"
    assert sorted(path.name for path in out.iterdir()) == ["annotated.mp4", "embeddings.npz"]
    found = Embeddings.load(out / "embeddings.npz")
    assert len(found) >= 40
    assert found.frames is not None
    frames = len(found) // 2
    np.testing.assert_array_equal(found.frames, np.repeat(np.arange(frames), 2))
    assert sum(1 for _ in read_frames(out / "annotated.mp4")) == frames


def test_a_killed_run_can_be_read(endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with endless() as process:
        feed_until_rows(process, out, 40)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "embeddings.npz").exists()
    (left,) = out.iterdir()
    found = read_spool(left / "embeddings")
    assert len(found) >= 40
    np.testing.assert_array_equal(found.frames, np.repeat(np.arange(len(found) // 2), 2))
    assert os.access(left / "embeddings" / "features.npy", os.R_OK)
    np.testing.assert_array_equal(np.load(left / "embeddings" / "features.npy")[: len(found)], found.features)


def test_standard_input_to_its_end(endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("3,1,5,5,10,10,1\n9,1,5,5,10,10,1")
    with endless() as process:
        stdout, stderr = process.communicate(b"".join(jpeg(number) for number in range(40)))
    assert process.returncode == 0, stderr
    assert b"frames: 40" in stdout
    found = Embeddings.load(tmp_path / "out" / "embeddings.npz")
    np.testing.assert_array_equal(found.frames, [2, 8])
