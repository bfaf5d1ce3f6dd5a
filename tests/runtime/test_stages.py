"""Stages in threads: order, bounded memory, errors, stopping, and no deadlock at any depth."""

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from itertools import count, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import stages
from runtime.errors import InputError
from runtime.stages import Stage, StageRunner, run_in_turn

Items = Generator[int, None, None]


def each(name: str, add: int = 0, *, fail_at: int | None = None) -> Stage:
    """Adds to every item; fails at the item `fail_at`."""

    def transform(items: Iterator[int]) -> Items:
        for item in items:
            if item == fail_at:
                raise ValueError(f"{name} failed at {item}")
            yield item + add

    return Stage(name, transform)


def grouped(size: int) -> Stage:
    """Sums of `size` items, the last ones of fewer."""

    def transform(items: Iterator[int]) -> Items:
        while group := list(islice(items, size)):
            yield sum(group)

    return Stage("group", transform)


def spread(times: int) -> Stage:
    """Every item several times."""

    def transform(items: Iterator[int]) -> Items:
        for item in items:
            yield from [item] * times

    return Stage("spread", transform)


def failing_source(items: int) -> Iterator[int]:
    yield from range(items)
    raise ValueError("source failed")


def threads_left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in {"source", "a", "b", "group", "spread"}]


# No deadline: how long threads take is the machine's business.
@settings(deadline=None, derandomize=True)
@given(
    items=st.integers(0, 40),
    depth=st.integers(1, 5),
    size=st.integers(1, 7),
    times=st.integers(0, 3),
    fail_at=st.none() | st.integers(0, 60),
)
def test_threads_give_what_one_thread_gives(items: int, depth: int, size: int, times: int, fail_at: int | None) -> None:
    line = [each("a", 1), grouped(size), spread(times), each("b", 2, fail_at=fail_at)]

    def run(results: Iterator[int]) -> tuple[list[int], str]:
        found = []
        try:
            for item in results:
                found.append(item)
        except ValueError as error:
            return found, str(error)
        return found, ""

    with StageRunner("source", range(items), line, depth=depth) as runner:
        found = run(iter(runner))
    assert found == run(run_in_turn("source", range(items), line, {}))
    assert not threads_left()


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("failing", ["source", "a", "b"])
def test_an_error_comes_once_after_what_came_before_it(failing: str, depth: int) -> None:
    source = failing_source(20) if failing == "source" else count()
    line = [each(name, fail_at=20 if name == failing else None) for name in ("a", "b")]
    found: list[int] = []
    with StageRunner("source", source, line, depth=depth) as runner:
        results = iter(runner)
        with pytest.raises(ValueError, match=f"{failing} failed"):
            found.extend(results)
        assert list(results) == []
    assert found == list(range(20))
    assert not threads_left()


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_a_slow_consumer_sets_the_pace(depth: int) -> None:
    started = 0

    def source() -> Iterator[int]:
        nonlocal started
        for item in range(100):
            started += 1
            yield item

    with StageRunner("source", source(), [each("a"), each("b")], depth=depth) as runner:
        for item in runner:
            # Three queues, and one item in the hands of each of the three threads; the consumer has `item`.
            assert started <= item + 1 + 3 * depth + 3
    assert started == 100


def test_leaving_early_stops_endless_stages() -> None:
    closed = threading.Event()

    def transform(items: Iterator[int]) -> Items:
        try:
            yield from items
        finally:
            closed.set()

    with StageRunner("source", count(), [Stage("a", transform), each("b")]) as runner:
        assert next(iter(runner)) == 0
    assert closed.is_set()
    assert not threads_left()


def test_a_runner_that_is_never_iterated_over_ends() -> None:
    with StageRunner("source", count(), [each("a")]):
        pass
    assert not threads_left()


def test_a_stage_that_has_enough_ends_those_before_it() -> None:
    def transform(items: Iterator[int]) -> Items:
        yield from islice(items, 3)

    with StageRunner("source", count(), [each("a"), Stage("b", transform)]) as runner:
        assert list(runner) == [0, 1, 2]


def test_stopping_finishes_what_was_begun() -> None:
    with StageRunner("source", count(), [each("a"), grouped(4), spread(4)]) as runner:
        found = []
        for item in runner:
            found.append(item)
            if len(found) == 10:
                runner.stop()
    assert len(found) < 200
    # Every item of the source is in a group, the last of which may be a smaller one.
    groups = found[::4]
    total = next(n for n in count() if sum(range(n)) >= sum(groups))
    assert sum(range(total)) == sum(groups)


def test_a_source_that_hangs_does_not_keep_back_what_it_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "_SOURCE_PATIENCE", 0.01)
    hanging, released = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        yield from range(5)
        hanging.set()
        released.wait()

    with StageRunner("source", source(), [each("a"), grouped(10)]) as runner:
        hanging.wait()
        runner.stop()
        assert list(runner) == [10]
    released.set()


@pytest.mark.parametrize("fails", [False, True])
def test_a_source_that_is_not_to_wait_gives_its_newest_items(fails: bool) -> None:
    taken, given = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        yield 0
        assert taken.wait(10)
        yield from range(1, 10)
        given.set()
        if fails:
            raise ValueError("source failed")

    def transform(items: Iterator[int]) -> Items:
        for item in items:
            taken.set()
            assert given.wait(10)
            yield item

    found: list[int] = []
    expected = pytest.raises(ValueError, match="source failed") if fails else nullcontext()
    with StageRunner("source", source(), [Stage("a", transform)], depth=2, keeps_up=True) as runner, expected:
        found.extend(runner)
    assert found == [0, 8, 9]
    assert runner.passed_over() == 7


@settings(deadline=None, derandomize=True)
@given(items=st.integers(0, 200), depth=st.integers(1, 4), times=st.integers(1, 3))
def test_what_was_passed_over_is_counted(items: int, depth: int, times: int) -> None:
    line = [each("a"), spread(times)]
    with StageRunner("source", range(items), line, depth=depth, keeps_up=True) as runner:
        found = list(runner)[::times]
    assert found == sorted(set(found))
    assert found[-depth:] == list(range(items))[-depth:]
    assert len(found) + runner.passed_over() == items


def test_stopping_passes_over_nothing_that_was_given() -> None:
    taken, stopped, given = threading.Event(), threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        yield 0
        assert taken.wait(10)
        yield from range(1, 4)
        given.set()
        assert stopped.wait(10)
        yield 4

    def transform(items: Iterator[int]) -> Items:
        for item in items:
            taken.set()
            assert stopped.wait(10)
            yield item

    with StageRunner("source", source(), [Stage("a", transform)], depth=2, keeps_up=True) as runner:
        assert given.wait(10)
        runner.stop()
        stopped.set()
        assert list(runner) == [0, 2, 3]
    assert runner.passed_over() == 1


def test_a_stage_may_ask_to_be_told_that_nothing_comes() -> None:
    noticed = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        assert noticed.wait(10)
        yield 2

    def transform(items: Iterator[int | None]) -> Items:
        for item in items:
            if item is None:
                noticed.set()
            else:
                yield item

    with StageRunner("source", source(), [Stage("a", transform, idle=0.01), each("b")]) as runner:
        assert list(runner) == [1, 2]


def test_a_waiting_source_sees_that_it_is_to_stop() -> None:
    stopping = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        stopping.wait()

    with StageRunner("source", source(), [each("a")], stopping=stopping) as runner:
        found = []
        for item in runner:
            found.append(item)
            runner.stop()
    assert found == [1]


def test_an_interrupt_of_the_consumer_goes_through() -> None:
    def interrupted() -> None:
        with StageRunner("source", count(), [each("a")]) as runner:
            for _ in runner:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not threads_left()


def test_busy_seconds_are_of_the_stage_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0

    def work(items: Iterator[int]) -> Items:
        nonlocal now
        for item in items:
            now += 1
            yield item

    # Time goes on while `b` works only.
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    alone: dict[str, float] = {}
    list(run_in_turn("source", range(30), [each("a"), Stage("b", work)], alone))
    assert alone == {"source": 0, "a": 0, "b": 30}
    with StageRunner("source", range(30), [each("a"), Stage("b", work)]) as runner:
        assert len(list(runner)) == 30
    busy = runner.busy()
    assert list(busy) == ["source", "a", "b", "write"]
    assert busy["b"] == 30


def test_a_stage_that_waits_is_not_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0
    waiting = threading.Event()

    def clock() -> int:
        read = now
        if threading.current_thread().name == "a":
            asked.append(read)
            # It asks when it starts, and when it begins to wait.
            if len(asked) == 2:
                waiting.set()
        return read

    def source() -> Iterator[int]:
        nonlocal now
        waiting.wait()
        now += 7
        yield 1

    asked: list[int] = []
    monkeypatch.setattr(time, "perf_counter", clock)
    with StageRunner("source", source(), [each("a")]) as runner:
        assert list(runner) == [1]
    assert runner.busy()["a"] == 0
    assert runner.busy()["source"] == 7


def test_what_cannot_be_a_line() -> None:
    with pytest.raises(InputError, match="room for 0 items"):
        StageRunner("source", [], [], depth=0)
    with pytest.raises(InputError, match="names that differ"):
        StageRunner("source", [], [each("a"), each("a")])
