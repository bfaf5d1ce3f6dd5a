"""An RTSP camera over a real socket."""

import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
from local_servers import serving
from rtsp_server import RtspServer

from runtime import sources
from runtime.embeddings import Embeddings
from runtime.infer import main
from runtime.sources import open_source

STEP = 10
PICTURES = [cv2.imencode(".jpg", np.full((48, 64, 3), n * STEP, np.uint8))[1].tobytes() for n in range(20)]


def test_a_camera_that_goes_away_and_comes_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as running:
        server = RtspServer(PICTURES[:12])
        running.enter_context(serving(server))
        waited: list[float] = []

        def wait(stopping: threading.Event, seconds: float) -> bool:
            waited.append(seconds)
            if len(waited) == 1:
                running.close()
            if len(waited) == 2:
                running.enter_context(serving(RtspServer(PICTURES[12:], port=server.port)))
            return len(waited) > 2

        monkeypatch.setattr(sources, "wait_for", wait)
        stream = open_source(server.url)
        frames = list(stream.frames(threading.Event()))
    assert stream.live
    assert [frame.index for frame in frames] == list(range(20))
    assert [round(float(frame.pixels.mean()) / STEP) for frame in frames] == list(range(20))
    # Nobody was there at the first attempt.
    assert waited == [1, 2, 1]
    assert list(stream.gaps) == [12]
    assert caplog.text.count(f"rtsp://127.0.0.1:{server.port}/camera stopped after 12 frames") == 2
    assert "secret" not in caplog.text


@pytest.fixture
def arguments(tiny_model: Path, tmp_path: Path) -> list[str]:
    """Of `infer` behind a camera with one person on each of 20 frames."""
    (tmp_path / "gt.txt").write_text("\n".join(f"{frame},1,5,5,15,30,1" for frame in range(1, 21)))
    return ["--model", str(tiny_model), "--boxes", str(tmp_path / "gt.txt"), "--out", str(tmp_path / "out")]


@pytest.fixture
def absent() -> RtspServer:
    """A camera that has gone: nobody answers at its address."""
    with RtspServer() as server:
        return server


@pytest.mark.parametrize("reconnect", ["inf", "20"])
def test_a_camera_that_is_there_only_after_the_run_has_started(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], absent: RtspServer, tmp_path: Path, reconnect: str
) -> None:
    with ExitStack() as running:
        waited: list[float] = []

        def wait(stopping: threading.Event, seconds: float) -> bool:
            waited.append(seconds)
            if len(waited) == 2:
                running.enter_context(serving(RtspServer(PICTURES, port=absent.port)))
            return len(waited) > 2

        monkeypatch.setattr(sources, "wait_for", wait)
        # The second that is wanted of it is over before it would be opened again.
        assert main([absent.url, *arguments, "--reconnect", reconnect, "--seconds", "1"]) == 0
    assert waited == [1, 2]
    np.testing.assert_array_equal(Embeddings.load(tmp_path / "out" / "embeddings.npz").frames, range(20))


def test_a_camera_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    absent: RtspServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(sources, "wait_for", lambda stopping, seconds: waited.append(seconds))
    for options, waits in (([], []), (["--reconnect", "0"], []), (["--reconnect", "7"], [1, 2, 4])):
        waited.clear()
        assert main([absent.url, *arguments, *options]) == 2
        assert waited == waits
        printed = capsys.readouterr().err
        assert "cannot be opened by OpenCV" in printed
        assert "secret" not in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--boxes", "--detector"])
def test_a_wrong_file_is_refused_before_a_camera_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    tiny_model: Path,
    absent: RtspServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    monkeypatch.setattr(sources, "wait_for", lambda stopping, seconds: pytest.fail("waited"))
    arguments = [absent.url, "--model", str(tiny_model), option, str(tmp_path / "none.onnx"), "--out", str(tmp_path)]
    assert main([*arguments, "--reconnect", "inf"]) == 2
    assert "none.onnx" in capsys.readouterr().err


def test_ctrl_c_while_a_camera_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], absent: RtspServer, tmp_path: Path
) -> None:
    def wait(stopping: threading.Event, seconds: float) -> bool:
        signal.raise_signal(signal.SIGINT)
        return stopping.wait(seconds)

    monkeypatch.setattr(sources, "wait_for", wait)
    assert main([absent.url, *arguments, "--reconnect", "inf"]) == 130
    assert not (tmp_path / "out").exists()


def test_a_camera_whose_password_nobody_is_told(repository: Path, arguments: list[str], tmp_path: Path) -> None:
    script = str(repository / "runtime" / "infer.py")
    server = RtspServer(PICTURES)
    with (
        serving(server),
        subprocess.Popen(
            [sys.executable, script, server.url, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        printed = ""
        while "opening it again" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        process.send_signal(signal.SIGINT)
        printed += process.communicate()[0]
    assert process.returncode == 130, printed
    assert f"rtsp://127.0.0.1:{server.port}/camera stopped after 20 frames" in printed
    assert "secret" not in printed
    np.testing.assert_array_equal(Embeddings.load(tmp_path / "out" / "embeddings.npz").frames, range(20))
