"""Ctrl-C: the real signal, to this process and to a real build in another."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engines.interrupt import deferred_interrupt

# Profiles enough for the tiny network to be built for seconds.
PROFILES = [option for size in range(1, 65) for option in ("--batch", f"1:{size}:64")]


def test_it_is_held_back_to_the_end_of_the_block() -> None:
    before = signal.getsignal(signal.SIGINT)
    steps = []

    def block() -> None:
        with deferred_interrupt() as interrupted:
            steps.append(interrupted())
            os.kill(os.getpid(), signal.SIGINT)
            steps.append(interrupted())

    with pytest.raises(KeyboardInterrupt):
        block()
    assert steps == [False, True]
    assert signal.getsignal(signal.SIGINT) is before
    with deferred_interrupt() as interrupted:
        assert not interrupted()


def test_an_error_in_the_block_stays_what_it_is() -> None:
    before = signal.getsignal(signal.SIGINT)

    def block() -> None:
        with deferred_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        block()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_one_ends_the_process() -> None:
    code = (
        "import os, signal\nfrom engines.interrupt import deferred_interrupt\n"
        "with deferred_interrupt():\n    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n    print('survived')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")


def test_it_stays_ignored_where_it_was() -> None:
    """As in a job that a script starts in the background, which another job's Ctrl-C is not to end."""
    code = (
        "import os, signal\nfrom engines.interrupt import deferred_interrupt\n"
        "with deferred_interrupt() as interrupted:\n    os.kill(os.getpid(), signal.SIGINT)\n    print(interrupted())"
    )
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_other_threads_leave_it_to_the_main_one() -> None:
    answers = []

    def work() -> None:
        with deferred_interrupt() as interrupted:
            answers.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]


def test_a_build_is_stopped_and_leaves_nothing(tiny_onnx: Path, plugin_library: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    pytest.importorskip("typer", reason="the command line is not installed")
    (tmp_path / "model.engine").write_bytes(b"old")
    command = [*("lgeu", "build", str(tiny_onnx), "--flavour", "tensorrt-rtx", "--target", "SM86"), *PROFILES]
    command += ["--plugin", str(plugin_library), "--out", str(tmp_path / "model.engine")]
    with subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.PIPE, text=True) as build:
        assert build.stderr is not None
        for line in build.stderr:
            if line.startswith("building"):
                build.send_signal(signal.SIGINT)
                break
        rest = build.stderr.read()
    assert build.returncode == 128 + signal.SIGINT
    assert rest.strip() == "lgeu: interrupted"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.engine": b"old"}
