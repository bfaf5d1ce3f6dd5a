"""Ctrl-C, once and twice."""

import signal
import threading
from collections.abc import Iterator

import pytest

from runtime.interrupt import ends_cleanly

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _as_in_a_terminal() -> Iterator[None]:
    """Under nohup, and in the background of a script, some of them are ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_one_asks_and_the_second_one_ends(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in SIGNALS}
    stops = []
    with ends_cleanly(lambda: stops.append(1)) as interruption:
        assert not interruption.asked
        signal.raise_signal(number)
        assert interruption.asked
        assert stops == [1]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stops == [1]
    assert {each: signal.getsignal(each) for each in before} == before


def test_handlers_are_put_back_when_nobody_asked() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ends_cleanly(lambda: None) as interruption:
        assert signal.getsignal(signal.SIGINT) is not before
    assert not interruption.asked
    assert signal.getsignal(signal.SIGINT) is before


def test_what_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ends_cleanly(lambda: None) as interruption:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        assert not interruption.asked
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_python_does_not_know_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    known = signal.getsignal
    before = known(signal.SIGTERM), known(signal.SIGINT)
    # So it is where C code installed one before Python started.
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGTERM else known(number))
    with ends_cleanly(lambda: None):
        assert known(signal.SIGTERM) is before[0]
        assert known(signal.SIGINT) is not before[1]
    assert (known(signal.SIGTERM), known(signal.SIGINT)) == before


def test_the_work_is_asked_to_end_before_anybody_is_told(caplog: pytest.LogCaptureFixture) -> None:
    told_before: list[bool] = []
    with ends_cleanly(lambda: told_before.append("ending after" in caplog.text)):
        signal.raise_signal(signal.SIGHUP)
    assert told_before == [False]
    assert "ending after the frames that were read" in caplog.text


def test_in_another_thread_signals_are_left_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with ends_cleanly(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
