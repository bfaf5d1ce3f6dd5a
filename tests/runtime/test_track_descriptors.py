"""Tracks that are described as they end, against all embeddings at once."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from runtime.boxes import FrameBoxes
from runtime.errors import InputError
from runtime.identities import describe_tracks, join_tracklets
from runtime.pipeline import EmbeddedFrame
from runtime.track_descriptors import TrackDescriptors

SIZE = 16


def frame(index: int, tracks: list[int], ended: tuple[int, ...] = ()) -> EmbeddedFrame:
    random = np.random.default_rng(index)
    features = random.normal(size=(len(tracks), SIZE)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    found = FrameBoxes(
        np.ones((len(tracks), 4), np.float32), np.array(tracks, np.int64), np.ones(len(tracks), np.float32)
    )
    images = np.zeros((len(tracks), 4, 2, 3), np.uint8)
    return EmbeddedFrame(index, index / 10, None, found, 0, images, features, ended_tracks=ended)


# 7 and 3 last on; 9 ends before the others, 12 is seen once.
FRAMES = [
    *(frame(index, [7, 9, -1]) for index in range(1500)),
    frame(1502, [3, 12]),
    frame(1510, [], ended=(9,)),
    *(frame(index, [3, -1, 7], ended=(12,) if index == 1511 else ()) for index in range(1511, 1700)),
]


def test_descriptors_are_those_of_all_embeddings_at_once(tmp_path: Path) -> None:
    descriptors = TrackDescriptors(tmp_path / "tracks", SIZE)
    parts = []
    for each in FRAMES:
        parts.append(descriptors.end(each.ended_tracks))
        descriptors.add(each)
    people = join_tracklets([*parts, descriptors.end_all()])
    assert [part.tracks.tolist() for part in parts if len(part)] == [[9], [12]]
    expected = describe_tracks(
        np.concatenate([each.found.tracks for each in FRAMES]),
        np.concatenate([np.full(len(each.features), each.index) for each in FRAMES]),
        np.concatenate([each.features for each in FRAMES]),
    )
    assert people.tracks.tolist() == [3, 7, 9, 12]
    np.testing.assert_array_equal(people.tracks, expected.tracks)
    np.testing.assert_array_equal(people.descriptors, expected.descriptors)
    np.testing.assert_array_equal(people.first, expected.first)
    np.testing.assert_array_equal(people.last, expected.last)


def test_only_tracks_that_last_need_room_on_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "tracks"
    descriptors = TrackDescriptors(folder, SIZE)
    for index in range(200):
        descriptors.end([index - 1] if index else [])
        descriptors.add(frame(index, [index, index + 1, 1000]))
        assert sum(path.stat().st_size for path in folder.iterdir()) == 4 * SIZE * (index + 1 + 2 + bool(index))
    assert descriptors.end_all().tracks.tolist() == [199, 200, 1000]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("crops", "kept"),
    [
        (2047, range(2047)),
        (2048, range(2048)),
        (2049, range(0, 2049, 2)),
        (4097, range(0, 4097, 4)),
        (9000, range(0, 9000, 8)),
    ],
)
def test_a_track_that_does_not_end_is_known_by_some_of_its_crops(tmp_path: Path, crops: int, kept: range) -> None:
    folder = tmp_path / "tracks"
    descriptors = TrackDescriptors(folder, SIZE)
    largest = 0
    features = []
    for index in range(crops):
        each = frame(index, [1])
        features.append(each.features)
        descriptors.add(each)
        largest = max(largest, (folder / "1.f32").stat().st_size)
    assert largest <= 2048 * 4 * SIZE
    assert (folder / "1.f32").stat().st_size == len(kept) * 4 * SIZE
    people = descriptors.end_all()
    chosen = np.concatenate([features[index] for index in kept])
    expected = describe_tracks(np.ones(len(kept), np.int64), np.array(kept), chosen)
    np.testing.assert_array_equal(people.descriptors, expected.descriptors)
    assert (people.first.tolist(), people.last.tolist()) == ([0], [crops - 1])


def test_a_video_without_tracks(tmp_path: Path) -> None:
    descriptors = TrackDescriptors(tmp_path / "tracks", SIZE)
    descriptors.add(frame(0, [-1]))
    people = descriptors.end_all()
    assert (len(people), people.descriptors.shape) == (0, (0, SIZE))


def test_what_was_kept_before_the_disk_was_full_is_described(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    descriptors = TrackDescriptors(tmp_path / "tracks", SIZE)
    with full_disk(4 * SIZE * 10 + 5):
        for index in range(10):
            descriptors.add(frame(index, [1]))
        with pytest.raises(InputError, match=r"cannot write to .*tracks: File too large; free some space"):
            descriptors.add(frame(10, [1]))
    features = np.concatenate([frame(index, [1]).features for index in range(10)])
    expected = describe_tracks(np.ones(10, np.int64), np.arange(10), features)
    np.testing.assert_array_equal(descriptors.end_all().descriptors, expected.descriptors)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        TrackDescriptors(tmp_path / "none" / "tracks", SIZE)
