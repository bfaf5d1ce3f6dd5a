"""The nearest known identity."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.embeddings import Embeddings
from runtime.errors import InputError
from runtime.gallery import Gallery


def embeddings(features: NDArray[np.float32], ids: list[int]) -> Embeddings:
    return Embeddings(
        features=features,
        person_ids=np.array(ids, np.int64),
        camera_ids=np.full(len(ids), 1, np.int64),
        names=np.array([f"{i}.jpg" for i in range(len(ids))], np.str_),
    )


def test_against_a_loop_without_junk_and_distractors(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    ids = [int(i) for i in generator.integers(-1, 6, 50)]
    entries = embeddings(generator.normal(size=(50, 8)).astype(np.float32) * 3, ids)
    entries.save(tmp_path / "g.npz")
    queries = generator.normal(size=(2100, 8)).astype(np.float32)  # more than are compared at a time
    matches = Gallery.load(tmp_path / "g.npz").nearest(queries)
    known = [row for row in range(50) if ids[row] > 0]
    for index in range(0, 2100, 37):
        cosines = {
            row: float(queries[index].astype(float) @ entries.features[row])
            / float(np.linalg.norm(queries[index].astype(float)) * np.linalg.norm(entries.features[row].astype(float)))
            for row in known
        }
        best = max(cosines, key=lambda row: cosines[row])
        assert matches.person_ids[index] == ids[best]
        assert matches.names[index] == f"{best}.jpg"
        assert matches.scores[index] == pytest.approx(cosines[best], abs=1e-5)


def test_no_queries() -> None:
    gallery = Gallery(embeddings(np.eye(3, dtype=np.float32), [1, 2, 3]), "g.npz")
    assert gallery.nearest(np.empty((0, 3), np.float32)).person_ids.shape == (0,)


def test_galleries_that_are_none() -> None:
    eye = np.eye(3, dtype=np.float32)
    with pytest.raises(InputError, match=r"gallery g\.npz has 1 of 3 entries with person -2 \(unknown\)"):
        Gallery(embeddings(eye, [1, -2, 3]), "g.npz")
    with pytest.raises(InputError, match="names nobody: it has 3 entries"):
        Gallery(embeddings(eye, [0, -1, 0]), "g.npz")


def test_another_models_gallery() -> None:
    gallery = Gallery(embeddings(np.eye(3, dtype=np.float32), [1, 2, 3]), "g.npz")
    with pytest.raises(InputError, match="holds embeddings of size 3, and the model gives 4; make"):
        gallery.nearest(np.ones((1, 4), np.float32))
