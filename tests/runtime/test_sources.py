"""Files, folders of frames, streams that stop and return, standard input."""

import itertools
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import InputError
from runtime.sources import Backoff, FrameFolder, Stream, VideoFile, describe_source, is_stream, open_source
from runtime.video import read_frames

STEP = 8
Camera = Callable[..., AbstractContextManager[str]]


def picture(number: int) -> bytes:
    """A JPEG whose grey says its number."""
    return cv2.imencode(".jpg", np.full((48, 64, 3), number * STEP % 256, np.uint8))[1].tobytes()


def number_of(pixels: np.ndarray) -> int:
    return round(float(pixels.mean()) / STEP)


@pytest.fixture
def waited() -> list[float]:
    """What a stream waited for."""
    return []


@pytest.fixture
def stream_at(waited: list[float]) -> Callable[..., Stream]:
    """Opens a URL as `open_source` does, with waits that take no time."""

    def wait(stopping: threading.Event, seconds: float) -> bool:
        waited.append(seconds)
        return stopping.is_set()

    def open_stream(url: str, **backoff: float) -> Stream:
        return Stream(url, lambda: cv2.VideoCapture(url, cv2.CAP_FFMPEG), backoff=Backoff(**backoff), wait=wait)

    return open_stream


def test_a_stream_that_stops_and_returns(
    mjpeg_camera: Camera, stream_at: Callable[..., Stream], waited: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with mjpeg_camera([picture(n) for n in range(5)], [], [picture(n) for n in range(5, 9)]) as url:
        stream = stream_at(url)
        stopping = threading.Event()
        frames = []
        for frame in stream.frames(stopping):
            frames.append(frame)
            if len(frames) == 9:
                break
    assert stream.live
    assert stream.failure is None
    assert [frame.index for frame in frames] == list(range(9))
    assert [number_of(frame.pixels) for frame in frames] == list(range(9))
    assert frames[0].seconds == 0
    assert [frame.seconds for frame in frames] == sorted(frame.seconds for frame in frames)
    assert waited == [1, 2]
    assert "stopped after 5 frames; opening it again in 1 s" in caplog.text


def test_a_stream_that_does_not_return(
    mjpeg_camera: Camera, stream_at: Callable[..., Stream], waited: list[float]
) -> None:
    with mjpeg_camera([picture(n) for n in range(3)]) as url:
        stream = stream_at(url, first=1, longest=4, patience=12)
        assert len(list(stream.frames(threading.Event()))) == 3
    assert waited == [1, 2, 4, 4, 4]
    assert "stopped after 3 frames and did not come back" in str(stream.failure)


def test_a_stream_that_is_there_and_gives_nothing_is_given_up(
    mjpeg_camera: Camera, stream_at: Callable[..., Stream], waited: list[float]
) -> None:
    noise = [b"\xff\xd8\xff" + bytes(200)] * 4
    with mjpeg_camera([picture(n) for n in range(4)], *[noise] * 50) as url:
        stream = stream_at(url, first=1, longest=4, patience=12)
        assert len(list(stream.frames(threading.Event()))) == 4
    assert waited == [1, 2, 4, 4, 4]
    assert stream.failure is not None


def test_a_stream_that_is_silent_is_not_read_again_and_again(mjpeg_camera: Camera) -> None:
    pictures = [picture(n) for n in range(6)]
    pictures[2] = b"\xff\xd8\xff" + bytes(200)
    # Whatever it looks at, ten seconds have gone by: so it is with reads that time out.
    clock = itertools.count(step=10)
    with mjpeg_camera(pictures) as url:
        opened = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        stream = Stream(url, lambda: opened, backoff=Backoff(patience=0), clock=lambda: float(next(clock)))
        assert [frame.index for frame in stream.frames(threading.Event())] == [0, 1]


def test_stopping_ends_the_waiting(mjpeg_camera: Camera, stream_at: Callable[..., Stream], waited: list[float]) -> None:
    stopping = threading.Event()
    stopping.set()
    with mjpeg_camera([picture(n) for n in range(4)]) as url:
        stream = stream_at(url)
        assert len(list(stream.frames(stopping))) == 4
    assert len(waited) == 1
    assert stream.failure is None


@pytest.fixture
def late_camera(tmp_path: Path) -> Callable[[int], Callable[[], cv2.VideoCapture]]:
    """Opens an MJPEG stream of five frames, at the attempt with this number and not before."""
    (tmp_path / "stream.mjpg").write_bytes(b"".join(picture(number) for number in range(5)))

    def opens_at(attempt: int) -> Callable[[], cv2.VideoCapture]:
        paths = iter([*["nowhere"] * (attempt - 1), *[str(tmp_path / "stream.mjpg")] * 10])
        return lambda: cv2.VideoCapture(next(paths), cv2.CAP_FFMPEG)

    return opens_at


def noting(waited: list[float]) -> Callable[[threading.Event, float], bool]:
    """A wait that takes no time."""

    def wait(stopping: threading.Event, seconds: float) -> bool:
        waited.append(seconds)
        return stopping.is_set()

    return wait


def test_a_camera_that_is_not_there_yet(
    late_camera: Callable[[int], Callable[[], cv2.VideoCapture]], caplog: pytest.LogCaptureFixture
) -> None:
    waited: list[float] = []
    stream = Stream("rtsp://camera", late_camera(4), backoff=Backoff(from_start=True), wait=noting(waited))
    assert waited == [1, 2, 4]
    assert "rtsp://camera cannot be opened by OpenCV" in caplog.text
    assert "check the address, or that it is running; trying again in 4 s" in caplog.text
    stopping = threading.Event()
    stopping.set()
    assert [frame.index for frame in stream.frames(stopping)] == list(range(5))


@pytest.mark.parametrize(("backoff", "attempts"), [(Backoff(patience=7, from_start=True), [1, 2, 4]), (Backoff(), [])])
def test_a_camera_that_does_not_come_is_given_up(
    late_camera: Callable[[int], Callable[[], cv2.VideoCapture]], backoff: Backoff, attempts: list[float]
) -> None:
    waited: list[float] = []
    with pytest.raises(InputError, match=r"^rtsp://camera cannot be opened by OpenCV"):
        Stream("rtsp://camera", late_camera(5), backoff=backoff, wait=noting(waited))
    assert waited == attempts


@pytest.mark.parametrize(("seconds", "waits"), [(0.5, []), (2.5, [1]), (4.0, [1, 2])])
def test_a_camera_is_not_waited_for_after_the_seconds_that_are_wanted(
    late_camera: Callable[[int], Callable[[], cv2.VideoCapture]], seconds: float, waits: list[float]
) -> None:
    now = [100.0]
    waited: list[float] = []

    def wait(stopping: threading.Event, seconds: float) -> bool:
        waited.append(seconds)
        now[0] += seconds
        return False

    captures = iter([late_camera(1)(), *[cv2.VideoCapture() for _ in range(10)]])
    stream = Stream("rtsp://camera", lambda: next(captures), seconds=seconds, clock=lambda: now[0], wait=wait)
    assert len(list(stream.frames(threading.Event()))) == 5
    assert waited == waits
    assert stream.failure is None


def test_waits_grow_to_a_limit() -> None:
    waits = list(Backoff().waits())
    assert waits[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert 300 <= sum(waits) < 330


def test_a_damaged_picture_in_a_stream(mjpeg_camera: Camera, stream_at: Callable[..., Stream]) -> None:
    pictures = [picture(n) for n in range(6)]
    pictures[2] = b"\xff\xd8\xff" + bytes(200)
    with mjpeg_camera(pictures) as url:
        stream = stream_at(url, patience=0)
        frames = list(stream.frames(threading.Event()))
    assert [frame.index for frame in frames] == [0, 1, 3, 4, 5]
    assert [number_of(frame.pixels) for frame in frames] == [0, 1, 3, 4, 5]
    assert stream.damaged == [2]


def test_a_damaged_picture_counts_where_the_stream_is_left_early(
    mjpeg_camera: Camera, stream_at: Callable[..., Stream]
) -> None:
    pictures = [picture(n) for n in range(6)]
    pictures[2] = b"\xff\xd8\xff" + bytes(200)
    with mjpeg_camera(pictures[:4], pictures) as url:
        stream = stream_at(url)
        frames = stream.frames(threading.Event())
        assert [next(frames).index for _ in range(7)] == [0, 1, 3, 4, 5, 7, 8]
        frames.close()
    assert stream.damaged == [2, 6]
    assert stream.count == 9


def test_a_stream_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"^http://127.0.0.1:9/video cannot be opened") as caught:
        open_source("http://anna:secret@127.0.0.1:9/video")
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match="camera 99 cannot be opened"):
        open_source("99")
    with pytest.raises(InputError, match="camera 99999999999 is no camera"):
        open_source("99999999999")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("rtsp://10.0.0.9:554/ch1", "rtsp://10.0.0.9:554/ch1"),
        ("rtsp://anna:secret@10.0.0.9/ch1", "rtsp://10.0.0.9/ch1"),
        ("rtsp://anna:sec/ret@10.0.0.9/ch1", "rtsp://10.0.0.9/ch1"),
        ("rtsp://anna:sec?r@et@10.0.0.9/ch1", "rtsp://10.0.0.9/ch1"),
        ("http://camera/video?token=secret&channel=1", "http://camera/video"),
        ("-", "standard input"),
        ("3", "camera 3"),
        (Path("a@b/3?"), "a@b/3?"),
    ],
)
def test_messages_name_a_source_without_its_secrets(source: Path | str, name: str) -> None:
    assert describe_source(source) == name


def test_a_camera_whose_number_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0001").mkdir()
    with pytest.raises(InputError, match=r"^camera 0001 \(for the file or folder write ./0001\) cannot be opened"):
        open_source("0001")


def test_a_video_on_a_web_server_is_no_stream(
    make_video: Callable[..., Path], web_server: Callable[[Path], AbstractContextManager[str]], tmp_path: Path
) -> None:
    video = make_video(frames=7)
    with web_server(tmp_path) as url:
        source = open_source(f"{url}/{video.name}")
        frames = list(source.frames(threading.Event()))
    assert (source.live, source.total, len(frames)) == (False, 7, 7)


@pytest.mark.parametrize("every", [1, 3])
def test_a_file_and_a_folder_of_its_frames(make_video: Callable[..., Path], tmp_path: Path, every: int) -> None:
    video = make_video(frames=10)
    folder = tmp_path / "frames"
    folder.mkdir()
    expected = list(read_frames(video))
    for index, pixels in enumerate(expected):
        cv2.imwrite(str(folder / f"{index:03d}.png"), pixels)
    for source, rate in ((open_source(video), 10), (open_source(folder), 25)):
        frames = list(source.frames(threading.Event(), every))
        assert [frame.index for frame in frames] == list(range(0, 10, every))
        assert [frame.seconds for frame in frames] == [index / rate for index in range(0, 10, every)]
        for frame in frames:
            np.testing.assert_array_equal(frame.pixels, expected[frame.index])
        assert (source.live, source.total, source.count, source.damaged) == (False, 10, 10, [])


def test_a_folder_with_a_damaged_frame(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))
    (tmp_path / "2.jpg").write_bytes(b"\xff\xd8\xff")
    source = FrameFolder(tmp_path)
    assert [frame.index for frame in source.frames(threading.Event())] == [0, 1, 3]
    assert source.damaged == [2]
    assert "frame 2 is left out" in caplog.text
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match="no image that can be decoded"):
        list(FrameFolder(tmp_path).frames(threading.Event()))


def damage(path: Path, numbers: list[int]) -> None:
    """Replace JPEGs of an MJPEG file by noise."""
    content = bytearray(path.read_bytes())
    starts = [i for i in range(len(content) - 2) if content[i : i + 3] == b"\xff\xd8\xff"]
    noise = np.random.default_rng(0)
    for number in numbers:
        first, last = starts[number], starts[number + 1] - 16
        content[first:last] = noise.integers(0, 255, last - first, np.uint8).tobytes()
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["video.avi", "video.mkv"])
def test_damaged_frames_in_the_middle_of_a_file(
    make_video: Callable[..., Path], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    video = make_video(frames=30, name=name)
    whole = list(read_frames(video))
    damage(video, [7, 8, 20])
    source = VideoFile(video)
    frames = list(source.frames(threading.Event()))
    assert [frame.index for frame in frames] == [n for n in range(30) if n not in (7, 8, 20)]
    assert source.damaged == [7, 8, 20]
    assert source.count == 30
    for frame in frames:
        np.testing.assert_array_equal(frame.pixels, whole[frame.index])
    lines = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 2
    assert "frame 7 to 8 cannot be decoded and is left out" in lines[0]


def test_standard_input(tmp_path: Path) -> None:
    code = (
        "import threading; from runtime.sources import open_source\n"
        "source = open_source('-')\n"
        "print([(f.index, round(f.pixels.mean() / 8)) for f in source.frames(threading.Event())], source.live)"
    )
    pictures = [picture(n) for n in range(12)]
    pictures[4] = pictures[4][:20] + b"\xff\xd9"
    done = subprocess.run([sys.executable, "-c", code], input=b"".join(pictures), capture_output=True, check=False)
    expected = [(n, n) for n in range(12) if n != 4]
    assert done.stdout.decode().strip() == f"{expected} True", done.stderr


@pytest.mark.parametrize("content", [b"", b"no video" * 1000])
def test_standard_input_that_is_no_video(content: bytes) -> None:
    code = "from runtime.sources import open_source; open_source('-')"
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=False)
    assert b"InputError: standard input gave no video that FFmpeg recognises; send it one" in done.stderr


def test_what_is_a_stream() -> None:
    assert [is_stream(text) for text in ("-", "0", "rtsp://a/b", "http://a/b.mp4")] == [True] * 4
    assert [is_stream(text) for text in ("video.avi", "folder", Path("0"), Path("a"))] == [False] * 4
