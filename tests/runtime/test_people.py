"""Finding people on frames and cutting them out in batches."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.boxes import FrameBoxes, cut
from runtime.errors import InputError
from runtime.people import Batching, PeopleOnFrame, batch_crops, check_all_seen, find_people, given_boxes
from runtime.preprocess import preprocess
from runtime.video import Frame

HEIGHT, WIDTH = 16, 8


def boxes(count: int, seed: int) -> FrameBoxes:
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, 20, (count, 2))
    sizes = generator.integers(5, 20, (count, 2))
    return FrameBoxes.without_tracks(
        np.concatenate([corners, sizes], axis=1).astype(np.float32), np.ones(count, np.float32)
    )


def frame(index: int) -> Frame:
    pixels = np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)
    return Frame(index, index / 10, pixels)


def people_on(counts: list[int]) -> list[PeopleOnFrame]:
    given = {index: boxes(count, index) for index, count in enumerate(counts) if count}
    return list(find_people(map(frame, range(len(counts))), given_boxes(given), at_once=3))


def crops_of(people: PeopleOnFrame) -> list[NDArray[np.uint8]]:
    pixels = frame(people.index).pixels
    return [preprocess(cut(pixels, box), HEIGHT, WIDTH, "BGR") for box in people.found.boxes]


@given(counts=st.lists(st.integers(0, 9), max_size=20), size=st.integers(1, 7), most=st.integers(1, 6))
def test_batches_hold_every_person_once_in_order(counts: list[int], size: int, most: int) -> None:
    people = people_on(counts)
    batches = list(batch_crops(iter(people), Batching(size, HEIGHT, WIDTH, frames=most)))
    expected = [crop for each in people for crop in crops_of(each)]
    found = [image for batch in batches for image in batch.images]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [each.index for batch in batches for each in batch.complete] == list(range(len(counts)))
    seen = done = 0
    for batch in batches:
        assert len(batch.images) <= size
        assert len(batch.complete) <= most
        assert len(batch.images) == size or len(batch.complete) == most or batch is batches[-1]
        seen += len(batch.images)
        done += len(batch.complete)
        # A frame is complete with the batch that has its last person, not later.
        assert sum(counts[:done]) <= seen
        if done < len(counts) and counts[done]:
            assert sum(counts[: done + 1]) > seen or len(batch.complete) == most


def test_a_batch_is_memory_of_its_own() -> None:
    first, second, *_ = batch_crops(iter(people_on([4, 4])), Batching(2, HEIGHT, WIDTH, frames=9))
    before = first.images.copy()
    second.images[...] = 0
    np.testing.assert_array_equal(first.images, before)


@pytest.mark.parametrize("keep", [False, True])
def test_frames_are_kept_where_they_are_needed(keep: bool) -> None:
    (batch,) = batch_crops(iter(people_on([1, 0])), Batching(4, HEIGHT, WIDTH, frames=9, keep_pixels=keep))
    assert [people.pixels is not None for people in batch.complete] == [keep, keep]


def batched_live(
    arrivals: list[tuple[float, PeopleOnFrame | None]], *, busy: float = 0.0
) -> list[tuple[float, list[int]]]:
    """When batches with which frames are given, to a stream that gives these frames at these times.

    After each batch nobody takes another one for `busy` seconds; what comes meanwhile waits.
    """
    now = arrivals[0][0]

    def frames() -> Iterator[PeopleOnFrame | None]:
        nonlocal now
        for time, people in arrivals:
            now = max(now, time)
            yield people

    given = []
    batches = batch_crops(frames(), Batching(32, HEIGHT, WIDTH, frames=99, seconds=0.25), lambda: now)
    for batch in batches:
        given.append((now, [each.index for each in batch.complete]))
        now += busy
    return given


def test_people_in_a_live_stream_do_not_wait_for_long() -> None:
    times = [10.0, 10.1, 10.3, 10.4, 10.5]
    arrivals = list(zip(times, people_on([1, 1, 1, 1, 1]), strict=True))
    assert batched_live(arrivals) == [(10.3, [0, 1, 2]), (10.5, [3, 4])]


def test_people_in_a_live_stream_do_not_wait_for_long_where_no_frame_comes_after_them() -> None:
    first, second, third = people_on([1, 0, 1])
    arrivals = [(9.9, None), (10.0, first), (10.1, second), (10.2, None), (10.3, None), (10.4, None), (300.0, third)]
    assert batched_live(arrivals) == [(10.3, [0, 1]), (300.0, [2])]


def test_frames_of_a_live_stream_that_come_seldom_do_not_wait_for_each_other() -> None:
    times = [10.0, 11.0, 12.0, 12.1, 12.2, 12.3]
    arrivals = list(zip(times, people_on([1, 0, 2, 1, 1, 1]), strict=True))
    assert batched_live(arrivals) == [(11.0, [0, 1]), (12.0, [2]), (12.3, [3, 4, 5])]


def test_frames_that_waited_for_a_slow_network_share_a_batch() -> None:
    first, second, *others = people_on([1] * 9)
    later = list(zip([10.3, 10.4, 10.5, 10.6, 11.4, 11.45, 11.5], others, strict=True))
    full = [2, 3, 4, 5, 6, 7, 8]
    assert batched_live([(10.0, first), (10.25, second), *later], busy=1) == [(10.25, [0, 1]), (11.5, full)]
    silent = [(10.0, first), (10.2, second), (10.25, None), *later]
    assert batched_live(silent, busy=1) == [(10.25, [0, 1]), (11.5, full)]


def test_frames_are_looked_at_together() -> None:
    groups = []

    def find(frames: list[Frame]) -> list[FrameBoxes]:
        groups.append([each.index for each in frames])
        return [FrameBoxes.nobody() for _ in frames]

    def endless() -> Iterator[Frame]:
        index = 0
        while True:
            yield frame(index)
            index += 1

    found = find_people(endless(), find, at_once=4)
    assert [next(found).index for _ in range(6)] == list(range(6))
    assert groups == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_boxes_outside_the_frame_are_counted() -> None:
    corners = np.array([[5, 5, 10, 10], [64, 5, 10, 10], [-20, 0, 5, 5], [60, 40, 10, 10]], np.float32)
    given = {0: FrameBoxes(corners, np.arange(4), np.array([0.1, 0.2, 0.3, 0.4], np.float32))}
    (people,) = find_people(iter([frame(0)]), given_boxes(given), at_once=1)
    assert people.outside == 2
    np.testing.assert_array_equal(people.found.tracks, [0, 3])
    np.testing.assert_array_equal(people.found.boxes[1], [60, 40, 4, 8])


def test_boxes_beyond_the_end() -> None:
    given = {index: boxes(2, index) for index in (3, 8, 9)}
    check_all_seen(given, "video", 10)
    with pytest.raises(InputError, match=r"ended after frame 7, and 4 boxes lie on 2 later frames \(8 to 9"):
        check_all_seen(given, "video", 8)
