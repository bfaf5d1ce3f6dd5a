"""Where somebody is in embedded footage, against loops in float64."""

import numpy as np
import pytest

from runtime.embeddings import Embeddings
from runtime.footage import find_appearances
from runtime.identities import describe_tracks


def draw(rows: int, *, video: bool = True, tracks: bool = True) -> Embeddings:
    random = np.random.default_rng(rows)
    features = random.normal(size=(rows, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Embeddings(
        features=features,
        person_ids=np.full(rows, -2),
        camera_ids=np.full(rows, -1),
        names=np.array([f"crop{row}" for row in range(rows)]),
        frames=np.sort(random.integers(0, 50, rows)) if video else None,
        tracks=random.integers(-1, 6, rows) if tracks else None,
        boxes=random.uniform(0, 90, (rows, 4)).astype(np.float32) if video else None,
    )


def test_every_track_and_every_crop_without_one_is_found_once_and_the_most_alike_first() -> None:
    embeddings = draw(120)
    assert embeddings.tracks is not None
    assert embeddings.frames is not None
    assert embeddings.boxes is not None
    person = np.eye(8, dtype=np.float32)[3]
    found = find_appearances(person, embeddings, "camera 1")
    described = describe_tracks(embeddings.tracks, embeddings.frames, embeddings.features)
    tracked = {each.track: each for each in found if each.track is not None}
    assert sorted(tracked) == described.tracks.tolist() == list(range(6))
    for number, descriptor in zip(described.tracks.tolist(), described.descriptors, strict=True):
        rows = np.flatnonzero(embeddings.tracks == number)
        best = max(rows, key=lambda row: float(embeddings.features[row, 3]))
        each = tracked[number]
        assert each.similarity == pytest.approx(float(descriptor[3]), abs=1e-6)
        assert (each.footage, each.crops, each.name) == ("camera 1", len(rows), f"crop{best}")
        assert (each.first_frame, each.last_frame) == (min(embeddings.frames[rows]), max(embeddings.frames[rows]))
        assert each.frame == embeddings.frames[best]
        assert (each.x, each.y, each.width, each.height) == pytest.approx(embeddings.boxes[best], abs=0.01)
    single = {each.name: each for each in found if each.track is None}
    alone = np.flatnonzero(embeddings.tracks == -1)
    assert sorted(single) == sorted(f"crop{row}" for row in alone)
    for row in alone:
        assert single[f"crop{row}"].similarity == pytest.approx(float(embeddings.features[row, 3]), abs=1e-6)
        assert single[f"crop{row}"].first_frame == single[f"crop{row}"].last_frame == embeddings.frames[row]
    similarity = [each.similarity for each in found]
    assert similarity == sorted(similarity, reverse=True)


@pytest.mark.parametrize("video", [True, False])
def test_without_tracks_every_crop_is_a_result(video: bool) -> None:
    embeddings = draw(20, video=video, tracks=False)
    found = find_appearances(embeddings.features[7], embeddings, "crops")
    assert (found[0].name, found[0].track, found[0].crops) == ("crop7", None, 1)
    assert found[0].similarity == pytest.approx(1, abs=1e-6)
    assert len(found) == 20
    assert (found[0].frame is None) == (found[0].x is None) == (found[0].first_frame is None) == (not video)


def test_who_looks_alike_comes_in_the_order_of_the_footage() -> None:
    one = draw(1, tracks=False)
    same = Embeddings(
        np.repeat(one.features, 5, axis=0), np.full(5, -2), np.full(5, -1), np.array(list("abcde")),
        frames=np.arange(5), tracks=np.array([9, -1, 2, 9, -1]), boxes=np.ones((5, 4), np.float32),
    )  # fmt: skip
    assert [each.name for each in find_appearances(one.features[0], same, "")] == ["a", "b", "c", "e"]


def test_nobody_is_in_an_empty_video() -> None:
    empty = Embeddings(
        np.empty((0, 8), np.float32), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.str_),
        frames=np.empty(0, np.int64), tracks=np.empty(0, np.int64), boxes=np.empty((0, 4), np.float32),
    )  # fmt: skip
    assert find_appearances(np.eye(8, dtype=np.float32)[0], empty, "") == []
