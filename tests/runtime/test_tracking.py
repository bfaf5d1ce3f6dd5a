"""People who walk, cross, are hidden and leave: the tracks that their boxes get."""

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.motion import BoxMotion
from runtime.tracking import AppearanceTracker

pytest.importorskip("scipy", reason="SciPy is not installed")

LOOKS = np.eye(4, dtype=np.float32)


def boxes(*left: float, y: float = 50) -> NDArray[np.float32]:
    return np.array([(x, y, 40, 100) for x in left], np.float32).reshape(-1, 4)


def update(
    tracker: AppearanceTracker, frame: int, people: NDArray[np.float32], looks: NDArray[np.float32]
) -> list[int]:
    return tracker.update(frame, people, np.ones(len(people), np.float32), looks).tolist()


def test_people_who_walk_keep_their_tracks_in_any_order() -> None:
    tracker = AppearanceTracker(confirmation=1)
    for frame in range(40):
        people = boxes(10 + 5 * frame, 600 - 7 * frame)
        people[1, 1] = 400
        order = [0, 1] if frame % 2 else [1, 0]
        tracks = update(tracker, frame, people[order], LOOKS[order])
        assert tracks == ([2, 1] if frame % 2 else [1, 2])


def test_people_who_cross_are_told_apart_by_their_looks() -> None:
    tracker = AppearanceTracker(confirmation=1)
    # They meet, stand in one place for a while, and turn back: position alone says that they passed each other.
    way = [*range(0, 100, 5), *[100] * 10, *range(100, 0, -5)]
    for frame, step in enumerate(way):
        assert update(tracker, frame, boxes(step, 220 - step), LOOKS[:2]) == [1, 2]


def test_a_person_who_is_hidden_comes_out_where_they_were_heading() -> None:
    tracker = AppearanceTracker(confirmation=1)
    for frame in range(20):
        update(tracker, frame, boxes(8 * frame), LOOKS[:1])
    for frame in range(20, 30):
        assert update(tracker, frame, boxes(), LOOKS[:0]) == []
    assert update(tracker, 30, boxes(8 * 30), LOOKS[:1]) == [1]


def test_frames_that_were_left_out_count() -> None:
    tracker = AppearanceTracker(confirmation=1, patience=15)
    for frame in range(0, 40, 4):
        assert update(tracker, frame, boxes(3 * frame), LOOKS[:1]) == [1]
    for frame in range(40, 52, 4):
        update(tracker, frame, boxes(), LOOKS[:0])
    # Where they were heading, but too late.
    assert update(tracker, 36 + 16, boxes(3 * 52), LOOKS[:1]) == [2]


def test_however_few_frames_are_looked_at_somebody_may_be_missed_on_two() -> None:
    tracker = AppearanceTracker(confirmation=1, patience=15)
    frames = iter(range(0, 1000, 12))
    for _ in range(8):
        assert update(tracker, next(frames), boxes(50), LOOKS[:1]) == [1]
    for missed, track in ((2, 1), (3, 2)):
        for _ in range(missed):
            update(tracker, next(frames), boxes(), LOOKS[:0])
        assert update(tracker, next(frames), boxes(50), LOOKS[:1]) == [track]


@pytest.mark.parametrize("every", [1, 2, 4, 5, 6, 12, 25])
def test_how_long_a_person_is_waited_for_at_an_even_pace(every: int) -> None:
    longest = max(15, 3 * every) // every
    for steps, track in ((longest, 1), (longest + 1, 2)):
        tracker = AppearanceTracker(confirmation=1, patience=15)
        for look in range(5):
            assert update(tracker, every * look, boxes(50), LOOKS[:1]) == [1]
        for look in range(5, 4 + steps):
            update(tracker, every * look, boxes(), LOOKS[:0])
        assert update(tracker, every * (4 + steps), boxes(50), LOOKS[:1]) == [track]


@pytest.mark.parametrize(
    "frames",
    [
        [0, 18, 36, 54, 55, 73, 91, 92, 110],
        [0, 1, 2, 3, 23, 43, 63, 64, 84],
        [0, 12, 24, 36, 120, 132, 133, 217],
    ],
)
def test_nobody_is_lost_where_the_pace_changes(frames: list[int]) -> None:
    tracker = AppearanceTracker()
    found = [update(tracker, frame, boxes(50), LOOKS[:1]) for frame in frames]
    assert found == [[-1], *[[1]] * (len(frames) - 1)]


def test_who_left_is_forgotten_where_the_pace_changes() -> None:
    # Three looks, or fifteen frames, are not enough.
    for looks, track in (([60, 61, 79], 1), ([60, 61, 62, 79], 2), ([48, 49, 50, 51, 52], 1)):
        tracker = AppearanceTracker(confirmation=1, patience=15)
        for frame in (0, 20, 40, 41, 42):
            assert update(tracker, frame, boxes(50), LOOKS[:1]) == [1]
        *missed, last = looks
        for frame in missed:
            update(tracker, frame, boxes(), LOOKS[:0])
        assert update(tracker, last, boxes(50), LOOKS[:1]) == [track]


def test_frames_that_have_no_numbers_count_when_they_are_told_of() -> None:
    tracker = AppearanceTracker(confirmation=1, patience=15)
    for frame in range(20):
        assert update(tracker, frame, boxes(3 * frame), LOOKS[:1]) == [1]
    tracker.miss(10)
    assert update(tracker, 20, boxes(3 * 30), LOOKS[:1]) == [1]
    tracker.miss(15)
    assert update(tracker, 21, boxes(3 * 46), LOOKS[:1]) == [2]


@pytest.mark.parametrize("every", [1, 4, 12, 25])
def test_a_gap_is_as_long_as_the_frames_that_are_missed(every: int) -> None:
    longest = max(15, 3 * every)
    for frames, track in ((longest, 1), (longest + 1, 2)):
        tracker = AppearanceTracker(confirmation=1, patience=15)
        for look in range(5):
            assert update(tracker, every * look, boxes(50), LOOKS[:1]) == [1]
        tracker.miss(frames - every)
        assert update(tracker, every * 5, boxes(50), LOOKS[:1]) == [track]


def test_which_tracks_have_ended() -> None:
    tracker = AppearanceTracker(confirmation=2, patience=15)
    update(tracker, 0, boxes(0, 200, 400, 600), LOOKS)
    update(tracker, 1, boxes(0, 200, 400), LOOKS[:3])
    update(tracker, 2, boxes(0, 200), LOOKS[:2])
    assert update(tracker, 3, boxes(0, 200), LOOKS[:2]) == [1, 2]
    for frame in range(4, 17):
        assert update(tracker, frame, boxes(0), LOOKS[:1]) == [1]
    assert tracker.ended_tracks() == []
    update(tracker, 17, boxes(0), LOOKS[:1])
    assert tracker.ended_tracks() == [3]
    update(tracker, 18, boxes(0), LOOKS[:1])
    assert tracker.ended_tracks() == []
    update(tracker, 19, boxes(0), LOOKS[:1])
    tracker.miss(15)
    update(tracker, 20, boxes(0), LOOKS[:1])
    # What nobody asked for did not pile up.
    assert tracker.ended_tracks() == [1]


def test_who_is_seen_once_has_no_track() -> None:
    tracker = AppearanceTracker(confirmation=3)
    assert update(tracker, 0, boxes(0, 500), LOOKS[:2]) == [-1, -1]
    assert update(tracker, 1, boxes(0), LOOKS[:1]) == [-1]
    assert update(tracker, 2, boxes(0, 500), LOOKS[:2]) == [1, -1]
    assert update(tracker, 3, boxes(0, 500), LOOKS[:2]) == [1, -1]
    assert update(tracker, 4, boxes(0, 500), LOOKS[:2]) == [1, 2]


def test_the_same_input_gives_the_same_tracks() -> None:
    def run() -> list[list[int]]:
        random = np.random.default_rng(3)
        tracker = AppearanceTracker()
        found = []
        for frame in range(60):
            people = boxes(*random.uniform(0, 600, 12))
            looks = random.normal(size=(12, 16)).astype(np.float32)
            found.append(update(tracker, frame, people, looks / np.linalg.norm(looks, axis=1, keepdims=True)))
        return found

    assert run() == run()
    assert len({track for each in run() for track in each}) > 12


def test_motion_is_learned_and_kept() -> None:
    motion = BoxMotion(boxes(0)[0])
    for step in range(1, 31):
        motion.predict()
        motion.correct(boxes(4 * step)[0])
    for _ in range(10):
        motion.predict()
    np.testing.assert_allclose(motion.box, boxes(4 * 40)[0], atol=2)


def test_refusals() -> None:
    with pytest.raises(InputError, match="expected 1 at least"):
        AppearanceTracker(patience=0)
    tracker = AppearanceTracker()
    update(tracker, 5, boxes(0), LOOKS[:1])
    with pytest.raises(InputError, match="frame 5 was given after frame 5"):
        update(tracker, 5, boxes(0), LOOKS[:1])
    with pytest.raises(InputError, match=r"features \(2, 4\); expected \(N, 4\)"):
        update(tracker, 6, boxes(0), LOOKS[:2])
    for people, looks in ((boxes(0), LOOKS[:1] * np.nan), (boxes(np.inf), LOOKS[:1])):
        with pytest.raises(InputError, match="of frame 6 are not finite"):
            update(tracker, 6, people, looks)
    # Nothing of it was taken in.
    assert update(tracker, 6, boxes(0), LOOKS[:1]) == [1]
