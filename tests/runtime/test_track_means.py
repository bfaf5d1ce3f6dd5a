"""What tracks look like so far, against means over all of their embeddings."""

import numpy as np

from runtime.track_means import TrackMeans


def test_means_are_those_of_each_track_until_then() -> None:
    random = np.random.default_rng(1)
    means, seen = TrackMeans(), {}
    for _ in range(60):
        tracks = random.permutation([-1, *range(1, 5)])[: random.integers(0, 5)]
        features = random.normal(size=(len(tracks), 8)).astype(np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        found = means.add(tracks, features)
        assert found.shape == features.shape
        for track, feature, mean in zip(tracks.tolist(), features, found, strict=True):
            own = [feature] if track == -1 else [*seen.get(track, []), feature]
            seen[track] = own
            expected = np.mean(own, axis=0, dtype=np.float64)
            np.testing.assert_allclose(mean, expected / np.linalg.norm(expected), atol=1e-6)


def test_a_number_is_forgotten_with_its_track() -> None:
    means = TrackMeans()
    means.add(np.array([7, 8]), np.eye(2, dtype=np.float32))
    means.end([7, 9])
    again = means.add(np.array([7, 8]), np.eye(2, dtype=np.float32)[::-1])
    np.testing.assert_allclose(again, [[0, 1], [0.5**0.5, 0.5**0.5]], atol=1e-6)


def test_where_embeddings_cancel_each_other_out_the_last_one_counts() -> None:
    means = TrackMeans()
    means.add(np.array([1]), np.array([[1, 0]], np.float32))
    assert means.add(np.array([1]), np.array([[-1, 0]], np.float32)).tolist() == [[-1, 0]]
