"""`infer` on videos that are damaged, stopped or interrupted, and machines that fail meanwhile."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import infer_video, pipeline, sources
from runtime.backend import Backend
from runtime.boxes import FrameBoxes, read_boxes
from runtime.embedder import Embedder
from runtime.embeddings import Embeddings
from runtime.errors import InputError
from runtime.infer import infer, main
from runtime.infer_options import Options
from runtime.people import CropBatch, FindPeople, batch_crops, given_boxes
from runtime.pipeline import EmbeddedFrame
from runtime.spool import EmbeddingsSpool, read_spool
from runtime.video import Frame, read_frames


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


@pytest.mark.parametrize(("annotate", "waiting"), [(True, 8), (False, 32)])
def test_a_detector_that_finds_nobody_for_a_thousand_frames(
    make_video: Callable[..., Path],
    tiny_model: Path,
    fixed_detector: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    annotate: bool,
    waiting: int,
) -> None:
    sizes = []

    def noted(*arguments: Any) -> Iterator[CropBatch]:
        for batch in batch_crops(*arguments):
            sizes.append(len(batch.complete))
            yield batch

    monkeypatch.setattr(pipeline, "batch_crops", noted)
    detector = fixed_detector(tmp_path / "d.onnx", np.zeros((1, 84, 7), np.float32))
    out = tmp_path / "out"
    options = ["--detector", detector, "--out", out, *["--annotate"] * annotate]
    assert run(make_video(frames=1000), "--model", tiny_model, *options) == 0
    # So many frames and no more wait for a batch that nobody fills.
    assert set(sizes) == {waiting, 1000 % waiting or waiting}
    assert sum(sizes) == 1000
    assert Embeddings.load(out / "embeddings.npz").features.shape == (0, 6)
    if annotate:
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
    assert sorted(path.name for path in out.iterdir()) == ["embeddings.npz", "manifest.json"]


def jpeg(number: int) -> bytes:
    pixels = np.full((48, 64, 3), number % 200, np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@pytest.fixture
def endless(tiny_model: Path, repository: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts `infer` on standard input, with two people on each of five thousand frames."""
    lines = [f"{frame},{track},{5 + 20 * track},5,15,30,1" for frame in range(1, 5_001) for track in (1, 2)]
    (tmp_path / "gt.txt").write_text("\n".join(lines))

    def start(*arguments: str, preexec_fn: Callable[[], None] | None = None) -> subprocess.Popen[bytes]:
        script = str(repository / "runtime" / "infer.py")
        options = ["--model", str(tiny_model), "--boxes", "gt.txt", "--out", "out", *arguments]
        return subprocess.Popen(
            [sys.executable, script, "-", *options],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=preexec_fn,
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
    with endless("--annotate") as process:
        feed_until_rows(process, out, 40)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert b"(interrupted)" in stdout
    assert stderr.splitlines()[-1] == b"infer: interrupted"
    assert sorted(path.name for path in out.iterdir()) == ["annotated.mp4", "embeddings.npz", "manifest.json"]
    found = Embeddings.load(out / "embeddings.npz")
    assert len(found) >= 40
    assert found.frames is not None
    frames = len(found) // 2
    np.testing.assert_array_equal(found.frames, np.repeat(np.arange(frames), 2))
    assert sum(1 for _ in read_frames(out / "annotated.mp4")) == frames


def test_ctrl_c_while_results_are_completed_loses_nothing(
    make_video: Callable[..., Path], boxes: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = EmbeddingsSpool.finish

    def interrupted(spool: EmbeddingsSpool, path: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        finish(spool, path)

    monkeypatch.setattr(EmbeddingsSpool, "finish", interrupted)
    out = tmp_path / "out"
    assert run(make_video(frames=30), "--model", tiny_model, "--boxes", boxes, "--out", out) == 0
    assert len(Embeddings.load(out / "embeddings.npz")) == 60
    assert sorted(path.name for path in out.iterdir()) == ["embeddings.npz", "manifest.json"]


def test_a_killed_run_can_be_read(endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    known = Embeddings(np.eye(2, 6, dtype=np.float32), np.array([3, 4]), np.ones(2, np.int64), np.array(["a", "b"]))
    known.save(tmp_path / "gallery.npz")
    with endless("--annotate", "--tracks", "--gallery", "gallery.npz", "--threshold=-1") as process:
        feed_until_rows(process, out, 40)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "embeddings.npz").exists()
    (left,) = out.iterdir()
    found = read_spool(left / "embeddings")
    assert len(found) >= 40
    frames = len(found) // 2
    np.testing.assert_array_equal(found.frames, np.repeat(np.arange(frames), 2))
    assert os.access(left / "embeddings" / "features.npy", os.R_OK)
    np.testing.assert_array_equal(np.load(left / "embeddings" / "features.npy")[: len(found)], found.features)
    # The tables come first: they have every row that the embeddings have, and whole lines.
    tracks = read_boxes(left / "tracks.csv")
    assert list(tracks)[:frames] == list(range(frames))
    assert all(people.tracks.tolist() == [1, 2] for people in tracks.values())
    with (left / "matches.csv").open(newline="") as file:
        matches = list(csv.DictReader(file))
    assert [row["name"] for row in matches[: len(found)]] == found.names.tolist()
    assert {row["person_id"] for row in matches} <= {"3", "4"}
    assert all(row["person_name"] is not None for row in matches)


def test_standard_input_to_its_end(endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("3,1,5,5,10,10,1\n9,1,5,5,10,10,1")
    with endless() as process:
        stdout, stderr = process.communicate(b"".join(jpeg(number) for number in range(40)))
    assert process.returncode == 0, stderr
    assert b"frames: 40" in stdout
    found = Embeddings.load(tmp_path / "out" / "embeddings.npz")
    np.testing.assert_array_equal(found.frames, [2, 8])


def left_by_a_live_run(out: Path, frames: int) -> None:
    (left,) = out.iterdir()
    found = read_spool(left / "embeddings")
    np.testing.assert_array_equal(found.frames, np.repeat(np.arange(frames), 2))


def test_a_live_stream_on_a_full_disk_leaves_what_it_finished(
    endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    with endless(preexec_fn=limit_files) as process:
        _, stderr = process.communicate(b"".join(jpeg(number) for number in range(400)))
    assert process.returncode == 2, stderr
    assert stderr.splitlines()[-1].startswith(b"infer: error: cannot write to out/unfinished-")
    assert b"what was finished lies in out/unfinished-" in stderr
    # A row's name is the largest column: 104 of the 20,000 bytes.
    left_by_a_live_run(tmp_path / "out", 95)


def test_a_live_stream_whose_results_fit_once_but_not_twice(
    endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    (tmp_path / "gt.txt").write_text("\n".join((tmp_path / "gt.txt").read_text().splitlines()[:150]))
    with endless(preexec_fn=limit_files) as process:
        _, stderr = process.communicate(b"".join(jpeg(number) for number in range(75)))
    assert process.returncode == 2, stderr
    assert b"error: cannot write out/unfinished-" in stderr.splitlines()[-1]
    assert b"what was finished lies in out/unfinished-" in stderr
    left_by_a_live_run(tmp_path / "out", 75)


@pytest.mark.parametrize("completing_fails", [False, True])
def test_a_live_stream_survives_an_error_that_nobody_foresaw(
    boxes: Path,
    tiny_model: Path,
    mjpeg_camera: Callable[..., AbstractContextManager[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    completing_fails: bool,
) -> None:
    append = EmbeddingsSpool.append

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    def fail_at_frame_9(spool: EmbeddingsSpool, frame: EmbeddedFrame) -> None:
        if frame.index == 9:
            fail()
        append(spool, frame)

    monkeypatch.setattr(EmbeddingsSpool, "append", fail_at_frame_9)
    if completing_fails:
        monkeypatch.setattr(EmbeddingsSpool, "finish", fail)
    out = tmp_path / "out"
    with mjpeg_camera([jpeg(number) for number in range(30)]) as url, pytest.raises(ZeroDivisionError):
        run(url, "--model", tiny_model, "--boxes", boxes, "--out", out)
    if completing_fails:
        left_by_a_live_run(out, 9)
    else:
        assert sorted(path.name for path in out.iterdir()) == ["embeddings.npz", "manifest.json"]
        assert len(Embeddings.load(out / "embeddings.npz")) == 18


def feed(process: subprocess.Popen[bytes]) -> None:
    """Send frames until nobody takes them."""
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:
        for number in range(100_000):
            process.stdin.write(jpeg(number))


def test_a_program_that_reads_no_more_lines(endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    with endless("--jsonl", "-") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        feeding = threading.Thread(target=feed, args=(process,))
        feeding.start()
        assert [json.loads(process.stdout.readline())["frame"] for _ in range(3)] == [0, 1, 2]
        process.stdout.close()
        stderr = process.stderr.read()
        feeding.join()
    assert process.returncode == 130, stderr
    assert b"nobody reads the JSON lines any more" in stderr
    assert b"Exception ignored" not in stderr
    assert len(Embeddings.load(tmp_path / "out" / "embeddings.npz")) >= 6


def test_a_stream_that_stops_returns_and_is_given_up(
    boxes: Path,
    tiny_model: Path,
    mjpeg_camera: Callable[..., AbstractContextManager[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sources, "wait_for", lambda stopping, seconds: stopping.is_set())
    pictures = [jpeg(number) for number in range(30)]
    # Boxes on frames that never came are not what is wrong.
    boxes.write_text(boxes.read_text() + "\n99,1,5,5,15,30,1\n")
    with mjpeg_camera(pictures[:12], pictures[12:]) as url:
        status = run(url, "--model", tiny_model, "--boxes", boxes, "--out", tmp_path / "out", "--annotate")
    assert status == 2
    assert "stopped after 30 frames and did not come back" in capsys.readouterr().err
    found = Embeddings.load(tmp_path / "out" / "embeddings.npz")
    np.testing.assert_array_equal(found.frames, np.repeat(np.arange(30), 2))
    assert sum(1 for _ in read_frames(tmp_path / "out" / "annotated.mp4")) == 30


def test_a_stream_that_is_kept_up_with(
    boxes: Path,
    tiny_model: Path,
    mjpeg_camera: Callable[..., AbstractContextManager[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    stopped = threading.Event()

    def wait(stopping: threading.Event, seconds: float) -> bool:
        stopped.set()
        return stopping.is_set()

    def slow(given: dict[int, FrameBoxes]) -> FindPeople:
        find = given_boxes(given)

        def look(frames: Sequence[Frame]) -> list[FrameBoxes]:
            assert stopped.wait(10)
            return find(frames)

        return look

    monkeypatch.setattr(sources, "wait_for", wait)
    monkeypatch.setattr(infer_video, "given_boxes", slow)
    pictures = [jpeg(number) for number in range(30)]
    before = datetime.now(timezone.utc).replace(microsecond=0)
    with mjpeg_camera(pictures[:12], pictures[12:]) as url:
        arguments = (url, "--model", tiny_model, "--boxes", boxes, "--out", tmp_path / "out", "--jsonl", "-")
        assert run(*arguments, "--keep-up") == 2
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    numbers = [line["frame"] for line in lines]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 29
    # Of the first twelve one was looked at, and one waited.
    assert 30 - len(numbers) >= 10
    assert f"frames passed over: {30 - len(numbers)}\n" in caplog.text
    times = [before, *(datetime.fromisoformat(line["time"]) for line in lines), datetime.now(timezone.utc)]
    assert times == sorted(times)
    found = Embeddings.load(tmp_path / "out" / "embeddings.npz")
    np.testing.assert_array_equal(found.frames, np.repeat(numbers, 2))


def test_ctrl_c_while_frames_are_passed_over(endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    # Nobody reads the lines: when the pipe is full nothing goes on but the stream.
    with endless("--keep-up", "--jsonl", "-") as process:
        assert process.stdin is not None
        feeding = threading.Thread(target=process.stdin.write, args=(b"".join(map(jpeg, range(2_000))),))
        feeding.start()
        feeding.join(60)
        kept_up = not feeding.is_alive()
        process.send_signal(signal.SIGINT if kept_up else signal.SIGKILL)
        stdout, stderr = process.communicate()
    assert kept_up
    assert process.returncode == 130, stderr
    frames = [json.loads(line)["frame"] for line in stdout.splitlines()]
    found = Embeddings.load(tmp_path / "out" / "embeddings.npz")
    np.testing.assert_array_equal(found.frames, np.repeat(frames, 2))
    printed = dict(line.split(b": ", 1) for line in stderr.splitlines() if b": " in line)
    assert printed[b"frames"] == b"%d (interrupted)" % len(frames)
    assert int(printed[b"frames passed over"]) >= frames[-1] + 1 - len(frames) > 0


@pytest.mark.parametrize(("seconds", "attempts"), [("0", 0), ("7", 3), ("inf", 50)])
def test_how_long_a_stream_is_waited_for(
    boxes: Path,
    tiny_model: Path,
    mjpeg_camera: Callable[..., AbstractContextManager[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: str,
    attempts: int,
) -> None:
    waited: list[float] = []

    def wait(stopping: threading.Event, seconds: float) -> bool:
        waited.append(seconds)
        return len(waited) == 50

    monkeypatch.setattr(sources, "wait_for", wait)
    with mjpeg_camera([jpeg(number) for number in range(30)]) as url:
        arguments = (url, "--model", tiny_model, "--boxes", boxes, "--out", tmp_path / "out", "--reconnect", seconds)
        assert run(*arguments) == (0 if seconds == "inf" else 2)
    assert len(waited) == attempts


@pytest.mark.parametrize(
    ("source", "seconds", "message"),
    [
        ("-", "9", "--reconnect given with standard input; only a stream or a camera is opened again"),
        ("VIDEO", "9", "--reconnect given with"),
        ("rtsp://camera/1", "-1", "--reconnect -1; expected seconds, 0 or more, or inf"),
        ("rtsp://camera/1", "nan", "--reconnect nan; expected seconds"),
    ],
)
def test_waits_that_make_no_sense(
    make_video: Callable[..., Path],
    boxes: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    seconds: str,
    message: str,
) -> None:
    given = make_video() if source == "VIDEO" else source
    arguments = (given, "--model", tiny_model, "--boxes", boxes, "--out", tmp_path / "out")
    assert run(*arguments, f"--reconnect={seconds}") == 2
    assert message in capsys.readouterr().err


def test_what_waits_is_not_kept_up_with(
    make_video: Callable[..., Path],
    boxes: Path,
    tiny_model: Path,
    web_server: Callable[[Path], AbstractContextManager[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = make_video(frames=30)
    arguments = ("--model", tiny_model, "--boxes", boxes, "--out", tmp_path / "out", "--keep-up")
    assert run(video, *arguments) == 2
    assert f"--keep-up given with {video}, which waits for whoever reads it" in capsys.readouterr().err
    with web_server(tmp_path) as url:
        assert run(f"{url}/{video.name}", *arguments) == 2
    assert f"{video.name}, which is a video of 30 frames and no live stream; leave it out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_first_seconds_of_a_file(
    make_video: Callable[..., Path], boxes: Path, tiny_model: Path, tmp_path: Path
) -> None:
    for every, frames in ((1, range(12)), (5, range(0, 12, 5))):
        arguments = (make_video(frames=30), "--model", tiny_model, "--boxes", boxes, "--out", tmp_path / "out")
        assert run(*arguments, "--seconds", 1.15, "--every", every) == 0
        found = Embeddings.load(tmp_path / "out" / "embeddings.npz")
        np.testing.assert_array_equal(found.frames, np.repeat(frames, 2))


def test_a_stream_ends_after_so_many_seconds(endless: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    with endless("--seconds", "0.2", "--jsonl", "-") as process:
        feeding = threading.Thread(target=feed, args=(process,))
        feeding.start()
        assert process.stdout is not None
        seconds = [json.loads(line)["seconds"] for line in process.stdout]
        feeding.join()
    assert process.returncode == 0
    assert max(seconds) <= 0.2
    assert len(Embeddings.load(tmp_path / "out" / "embeddings.npz")) == 2 * len(seconds)


@pytest.mark.parametrize("content", [b"", b"no gallery", b"PK\x03\x04 cut off"])
def test_an_unreadable_gallery_is_refused_before_the_work(
    make_video: Callable[..., Path],
    boxes: Path,
    tiny_model: Path,
    tmp_path: Path,
    content: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gallery = tmp_path / "gallery.npz"
    gallery.write_bytes(content)
    out = tmp_path / "out"
    assert run(make_video(), "--model", tiny_model, "--boxes", boxes, "--out", out, "--gallery", gallery) == 2
    assert str(gallery) in capsys.readouterr().err
    assert not out.exists()


class Narrow:
    """A backend that refuses batches larger than three, as an engine whose profile ends there."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.manifest, self.device = backend.name, backend.manifest, backend.device
        self.max_batch: int | None = 3
        self.batches: list[int] = []

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert len(images) <= 3
        self.batches.append(len(images))
        return self._backend.run(images)

    def close(self) -> None:
        self._backend.close()


def test_a_profile_smaller_than_the_batch(
    make_video: Callable[..., Path], boxes: Path, tiny_model: Path, tmp_path: Path
) -> None:
    narrow: list[Narrow] = []

    def open_narrow(path: Path, *, batch_size: int | None, **_: object) -> Embedder:
        with ExitStack() as opened:
            backend = Narrow(Embedder.open(path).backend)
            opened.callback(backend.close)
            embedder = Embedder(backend, batch_size)
            opened.pop_all()
        narrow.append(backend)
        return embedder

    video, out = make_video(frames=30), tmp_path / "out"
    with pytest.raises(InputError, match="batch size is 32; expected 1 to 3"):
        infer(Options(video, tiny_model, out, boxes=boxes, batch_size=32), open_narrow)
    assert not out.exists()
    assert infer(Options(video, tiny_model, out, boxes=boxes), open_narrow).embeddings == 60
    assert set(narrow[0].batches) == {3}
