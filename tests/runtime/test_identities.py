"""Descriptors of tracks, known people, and people who come back."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.embeddings import Embeddings
from runtime.errors import InputError
from runtime.gallery import Gallery
from runtime.identities import Tracklets, describe_tracks, identify, link_tracks


def unit(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    array = np.array(rows, np.float32)
    return np.asarray(array / np.linalg.norm(array, axis=1, keepdims=True))


def tracklets(spans: list[tuple[int, int]], descriptors: NDArray[np.float32]) -> Tracklets:
    first, last = np.array(spans, np.int64).T
    return Tracklets(np.arange(1, len(spans) + 1), descriptors, first, last)


def test_a_descriptor_is_the_mean_without_the_crops_that_are_unlike_it() -> None:
    random = np.random.default_rng(0)
    person = unit((1, 0, 0, 0, 0, 0, 0, 0))
    good = person + 0.05 * random.normal(size=(12, 8)).astype(np.float32)
    good /= np.linalg.norm(good, axis=1, keepdims=True)
    bad = np.repeat(unit((0, 1, 0, 0, 0, 0, 0, 0)), 4, axis=0)
    features = np.concatenate([good[:5], bad, good[5:]])
    people = describe_tracks(np.full(16, 3, np.int64), np.arange(16, dtype=np.int64), features)
    expected = good.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(people.descriptors[0], expected / np.linalg.norm(expected), atol=1e-6)
    assert (people.tracks.tolist(), people.first.tolist(), people.last.tolist()) == ([3], [0], [15])


def looks_of_one(rows: int, size: int) -> NDArray[np.float32]:
    """Of somebody who turns around slowly."""
    random = np.random.default_rng(rows)
    person, back = random.normal(size=(2, size)).astype(np.float32)
    looks = person + np.linspace(0, 1, rows, dtype=np.float32)[:, None] * back
    looks += random.normal(scale=0.5, size=(rows, size)).astype(np.float32)
    return np.asarray(looks / np.linalg.norm(looks, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("rows", [1, 4, 1023, 1024, 1025, 3000])
def test_a_track_of_any_length_is_described_as_if_read_at_once(rows: int) -> None:
    looks = looks_of_one(rows, 16)
    # Between two rows of the track lies one of another.
    features = np.repeat(looks, 2, axis=0)
    features[1::2] = np.roll(looks, 1, axis=1)
    people = describe_tracks(np.tile([5, 2], rows), np.repeat(np.arange(rows), 2), features)
    similarity = looks.astype(np.float64) @ looks.astype(np.float64).sum(axis=0)
    kept = np.sort(np.argsort(-similarity, kind="stable")[: rows - rows // 4])
    expected = looks[kept].astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(people.descriptors[1], expected / np.linalg.norm(expected), atol=1e-6)
    assert people.tracks.tolist() == [2, 5]


def test_memory_does_not_grow_with_the_length_of_a_track(tmp_path: Path) -> None:
    def needed(rows: int) -> int:
        np.save(tmp_path / "features.npy", looks_of_one(rows, 512))
        features = np.load(tmp_path / "features.npy", mmap_mode="r")
        tracks, frames = np.ones(rows, np.int64), np.arange(rows)
        tracemalloc.start()
        describe_tracks(tracks, frames, features)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    # Of each row no more than some numbers: its embedding has 2048 bytes.
    assert needed(10_000) - needed(2_000) < 8_000 * 100


def test_who_has_no_track_is_left_out() -> None:
    features = np.eye(4, dtype=np.float32)
    people = describe_tracks(np.array([9, -1, 2, 9]), np.array([0, 0, 1, 7]), features)
    assert people.tracks.tolist() == [2, 9]
    assert people.last.tolist() == [1, 7]
    np.testing.assert_allclose(np.linalg.norm(people.descriptors, axis=1), 1, atol=1e-6)
    assert len(describe_tracks(np.array([-1]), np.array([0]), features[:1])) == 0
    with pytest.raises(InputError, match="1 tracks, 2 frames and 4 embeddings"):
        describe_tracks(np.array([1]), np.array([0, 1]), features)


def test_one_crop_that_is_not_finite_is_refused() -> None:
    features = np.repeat(np.eye(5, dtype=np.float32), 4, axis=0)
    features[5] = np.nan
    with pytest.raises(InputError, match="embeddings of track 2 are not finite"):
        describe_tracks(np.repeat(np.arange(1, 6), 4), np.arange(20), features)


def test_below_the_threshold_nobody_is_known() -> None:
    gallery = Gallery(
        Embeddings(np.eye(3, dtype=np.float32), np.array([5, 6, 7]), np.ones(3, np.int64), np.array(["a", "b", "c"])),
        "g.npz",
    )
    people = tracklets([(0, 1), (0, 1)], unit((0.1, 1, 0), (1, 1, 1)))
    matches = identify(people, gallery, 0.7)
    assert matches.person_ids.tolist() == [6, -2]
    assert matches.names.tolist() == ["b", ""]
    np.testing.assert_allclose(matches.scores, [0.995, 0.577], atol=1e-3)
    # A score that equals the threshold is known.
    assert identify(people, gallery, float(matches.scores[1])).person_ids[1] != -2


def test_people_who_come_back_are_the_same() -> None:
    looks = unit((1, 0, 0), (0, 1, 0), (0.95, 0.05, 0), (0, 0, 1), (0.05, 1, 0))
    people = tracklets([(0, 10), (5, 20), (30, 40), (32, 50), (60, 70)], looks)
    assert link_tracks(people, 0.9).tolist() == [1, 2, 1, 3, 2]
    assert link_tracks(people, 0.9999).tolist() == [1, 2, 3, 4, 5]


def test_two_in_one_picture_are_never_the_same() -> None:
    looks = unit((1, 0, 0), (1, 0, 0.01), (1, 0, 0))
    people = tracklets([(0, 10), (10, 20), (21, 30)], looks)
    assert link_tracks(people, 0.5).tolist() == [1, 2, 1]


def test_the_order_of_beginning_decides_not_the_number() -> None:
    people = tracklets([(50, 60), (0, 10)], unit((1, 0), (1, 0)))
    assert link_tracks(people, 0.5).tolist() == [1, 1]
    assert link_tracks(people, 1.1).tolist() == [2, 1]


def linked_pair_by_pair(people: Tracklets, threshold: float) -> list[int]:
    """What `link_tracks` says it does, looking at every member of every identity."""
    members: list[list[int]] = []
    found = [0] * len(people)
    for track in sorted(range(len(people)), key=lambda row: (people.first[row], people.tracks[row])):
        best, most = None, threshold
        for number, group in enumerate(members):
            apart = all(
                people.last[other] < people.first[track] or people.last[track] < people.first[other] for other in group
            )
            mean = people.descriptors[group].astype(np.float64).mean(axis=0)
            similarity = float(mean @ people.descriptors[track]) / float(np.linalg.norm(mean))
            if apart and similarity >= most and (best is None or similarity > most):
                best, most = number, similarity
        if best is None:
            members.append([])
            best = len(members) - 1
        members[best].append(track)
        found[track] = best + 1
    return found


@pytest.mark.parametrize("seed", range(5))
def test_many_tracks_are_linked_as_pair_by_pair(seed: int) -> None:
    random = np.random.default_rng(seed)
    looks = np.repeat(random.normal(size=(12, 16)), 6, axis=0) + 0.5 * random.normal(size=(72, 16))
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    first = random.integers(0, 300, 72)
    people = Tracklets(random.permutation(72), looks.astype(np.float32), first, first + random.integers(0, 60, 72))
    linked = link_tracks(people, 0.6).tolist()
    assert linked == linked_pair_by_pair(people, 0.6)
    assert 12 <= len(set(linked)) < 60
