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


def test_a_camera_whose_password_nobody_is_told(repository: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("\n".join(f"{frame},1,5,5,15,30,1" for frame in range(1, 21)))
    script = str(repository / "runtime" / "infer.py")
    options = ["--model", str(tiny_model), "--boxes", str(tmp_path / "gt.txt"), "--out", str(tmp_path / "out")]
    server = RtspServer(PICTURES)
    with (
        serving(server),
        subprocess.Popen(
            [sys.executable, script, server.url, *options],
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
