"""What a command line makes of how its work ended."""

import errno
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.console import configure_logging, run_command
from runtime.errors import CheckFailedError, InputError, LgeuError


def raising(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "status"), [(InputError("two\nlines"), 2), (CheckFailedError("off"), 1), (KeyboardInterrupt(), 130)]
)
def test_exit_statuses(error: BaseException, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("lgeu", lambda: raising(error)) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("lgeu: ")


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("end", ["", "; raise CheckFailedError('off')", "; sys.exit()"])
@pytest.mark.parametrize("letters", [1, 100_000])
def test_nobody_reads_what_is_printed(
    unread: Callable[..., subprocess.CompletedProcess[str]], letters: int, end: str, buffered: bool
) -> None:
    code = (
        "import sys; from runtime.console import run_command; from runtime.errors import CheckFailedError\n"
        f"def command(): print({letters} * 'a'){end}\n"
        "sys.exit(run_command('lgeu', command))"
    )
    done = unread(*([] if buffered else ["-u"]), "-c", code)
    assert done.returncode == 141
    assert done.stderr in ("", "lgeu: error: off\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("end", ["", "; raise InputError('off')", "; sys.exit()"])
@pytest.mark.parametrize("letters", [1, 100_000])
def test_a_full_disk_under_what_is_printed(repository: Path, letters: int, end: str, buffered: bool) -> None:
    code = (
        "import sys; from runtime.console import run_command; from runtime.errors import InputError\n"
        f"def command(): print({letters} * 'a'){end}\n"
        "sys.exit(run_command('lgeu', command))"
    )
    options = [] if buffered else ["-u"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, *options, "-c", code],
            cwd=repository,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr in (
        "lgeu: error: cannot write to standard output: No space left on device; free some space\n",
        "lgeu: error: off\n",
    )


def test_a_disk_that_is_full_elsewhere_is_a_bug() -> None:
    with pytest.raises(OSError, match="No space left"):
        run_command("lgeu", lambda: raising(OSError(errno.ENOSPC, "No space left on device", "a.txt")))


def test_a_pipe_to_another_program_that_breaks_is_a_bug() -> None:
    with pytest.raises(BrokenPipeError):
        run_command("lgeu", lambda: raising(BrokenPipeError()))


def test_without_a_standard_output() -> None:
    code = "import sys; from runtime.console import run_command; sys.exit(run_command('lgeu', lambda: print('a')))"
    done = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, code], check=False)
    assert done.returncode == 0


def test_success_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("lgeu", lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_the_traceback_comes_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LGEU_TRACEBACK", "1")
    with pytest.raises(LgeuError):
        run_command("lgeu", lambda: raising(InputError("x")))


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command("lgeu", lambda: raising(ZeroDivisionError()))


@pytest.mark.parametrize(("error", "status"), [(InputError("torn"), 2), (KeyboardInterrupt(), 130)])
def test_of_processes_that_were_launched_together_one_speaks(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert run_command("lgeu", lambda: raising(error)) == status
        assert capsys.readouterr().err.count("\n") == lines


def test_what_faiss_says_of_its_start_is_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    loader = logging.getLogger("faiss.loader")
    try:
        for verbose in (False, True):
            configure_logging(verbose)
            assert loader.isEnabledFor(logging.INFO) == verbose
            assert loader.isEnabledFor(logging.WARNING)
    finally:
        logging.getLogger("faiss").setLevel(logging.NOTSET)
