"""The nearest known identity."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.embeddings import Embeddings
from runtime.errors import InputError, ManifestError
from runtime.gallery import Gallery
from runtime.manifest import Manifest


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


def test_embeddings_that_point_nowhere() -> None:
    eye = np.eye(3, dtype=np.float32)
    with pytest.raises(InputError, match=r"gallery g\.npz: 1 embeddings, the first in row 1, are zero or hold NaN"):
        Gallery(embeddings(np.diag(np.array([1, 0, 1], np.float32)), [1, 2, 3]), "g.npz")
    queries = np.ones((1100, 3), np.float32)
    queries[1050] = np.nan
    with pytest.raises(InputError, match="the queries: 1 embeddings, the first in row 1050"):
        Gallery(embeddings(eye, [1, 2, 3]), "g.npz").nearest(queries)


def test_who_is_below_a_threshold_is_unknown() -> None:
    matches = Gallery(embeddings(np.eye(2, dtype=np.float32), [1, 2]), "g.npz").nearest(
        np.array([[4, 3], [1, 9]], np.float32)
    )
    known = matches.known_from(0.9)
    assert known.person_ids.tolist() == [-2, 2]
    assert known.names.tolist() == ["", "1.jpg"]
    np.testing.assert_array_equal(known.scores, matches.scores)
    assert matches.known_from(0.8).person_ids.tolist() == [1, 2]


def test_another_models_gallery() -> None:
    gallery = Gallery(embeddings(np.eye(3, dtype=np.float32), [1, 2, 3]), "g.npz")
    with pytest.raises(InputError, match="holds embeddings of size 3, and the model gives 4; make"):
        gallery.nearest(np.ones((1, 4), np.float32))


def test_another_models_gallery_of_the_same_size(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made_by = replace(manifest, checkpoint_sha256="c" * 64)
    other = replace(made_by, checkpoint_sha256="d" * 64)
    features = np.eye(2, manifest.embedding_size, dtype=np.float32)
    embeddings(features, [1, 2]).save(tmp_path / "g.npz")
    Gallery.load(tmp_path / "g.npz").check_model(other)
    assert "g.npz has no manifest.json beside it" in caplog.text
    caplog.clear()
    (tmp_path / "manifest.json").write_text(made_by.to_json())
    gallery = Gallery.load(tmp_path / "g.npz")
    gallery.check_model(replace(made_by, precision="fp16", functions="inline", opset={"": 19}))
    assert not caplog.text
    with pytest.raises(
        ManifestError, match=r"g\.npz was made by another model: .* cccccccccccc; given was .* dddddddd"
    ):
        gallery.check_model(other)
    (tmp_path / "manifest.json").write_text(replace(made_by, checkpoint_sha256=None).to_json())
    with pytest.raises(ManifestError, match=r"g\.npz \(manifest\.json beside it\) names no checkpoint"):
        Gallery.load(tmp_path / "g.npz").check_model(made_by)
