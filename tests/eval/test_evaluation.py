"""From files of embeddings, or a model and a data set, to the same figures, in a table and in JSON."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.datasets import open_dataset
from eval.embedding import embed_images, embed_timed
from eval.evaluation import embed_run, evaluate_files, evaluate_model, figures, labels_of
from eval.exported import save_embeddings
from eval.metrics import evaluate
from eval.parity import Candidate, ExportedCandidate, compare
from eval.reranking import Reranking
from runtime.embedder import Embedder
from runtime.embeddings import Embeddings
from runtime.errors import InputError, MissingDependencyError


def make_clusters(make_embeddings: Callable[..., Embeddings]) -> tuple[Embeddings, Embeddings]:
    random = np.random.default_rng(3)
    persons, cameras = np.repeat(np.arange(1, 9), 6), np.tile([1, 1, 2, 2, 3, 3], 8)
    features = random.normal(size=(9, 12))[persons] + 0.9 * random.normal(size=(48, 12))
    query = np.arange(0, 48, 6)
    gallery = np.setdiff1d(np.arange(48), query)
    persons[-1] = -1
    return tuple(make_embeddings(features[rows], persons[rows], cameras[rows]) for rows in (query, gallery))  # type: ignore[return-value]


def test_files_give_figures_before_and_after_reranking(
    tmp_path: Path, make_embeddings: Callable[..., Embeddings]
) -> None:
    query, gallery = make_clusters(make_embeddings)
    query.save(tmp_path / "q.npz")
    gallery.save(tmp_path / "g.npz")
    plain = evaluate_files(tmp_path / "q.npz", tmp_path / "g.npz")
    reranked = evaluate_files(tmp_path / "q.npz", tmp_path / "g.npz", Reranking(k1=5, k2=2, flavour="d1"))
    expected = evaluate(query, gallery)

    plain_json = json.loads(json.dumps(plain.to_json(), allow_nan=False))
    for name in ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP"):
        assert plain_json[name] == getattr(expected, name)
    assert {name: plain_json[name] for name in ("queries", "valid_queries", "gallery", "junk")} == {
        "queries": 8,
        "valid_queries": 8,
        "gallery": 39,
        "junk": 1,
    }
    assert plain_json["settings"] == {"distance": "cosine", "expansion": None, "reranking": None}

    reranked_json = json.loads(json.dumps(reranked.to_json(), allow_nan=False))
    assert reranked_json["settings"]["reranking"] == {"k1": 5, "k2": 2, "lambda": 0.3, "flavour": "d1"}
    assert reranked_json["before_reranking"]["mAP"] == expected.mAP
    assert reranked_json["mAP"] > expected.mAP
    assert reranked_json["junk"] == 1


def test_the_table_shows_percent(tmp_path: Path, make_embeddings: Callable[..., Embeddings]) -> None:
    query, gallery = make_clusters(make_embeddings)
    query.save(tmp_path / "q.npz")
    gallery.save(tmp_path / "g.npz")
    result = evaluate_files(tmp_path / "q.npz", tmp_path / "g.npz", Reranking())
    *_, settings, counted, titles, cosine, reranked = result.table().splitlines()
    assert settings == "re-ranking: d2, k1 20, k2 6, lambda 0.3"
    assert counted == "8 of 8 queries have a match among 39 gallery images (1 junk left out)"
    assert titles.split() == ["rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP"]
    assert result.reranked is not None
    for line, name, metrics in ((cosine, "cosine", result.metrics), (reranked, "re-ranked", result.reranked)):
        title, *cells = line.split()
        assert title == name
        assert [float(cell) for cell in cells] == pytest.approx(
            [100 * value for value in figures(metrics).values()], abs=0.005
        )


def test_a_model_and_a_data_set_give_the_figures_of_its_embeddings(
    market: Path, make_embedder: Callable[..., Embedder], tmp_path: Path
) -> None:
    dataset = open_dataset(market)
    with make_embedder() as embedder:
        result = evaluate_model(embedder, dataset, model="means.onnx", save_to=tmp_path)
        query, gallery = (embed_images(embedder, dataset, images) for images in (dataset.query, dataset.gallery))
    assert result.metrics.mAP == evaluate(query, gallery).mAP
    assert evaluate_files(tmp_path / "query.npz", tmp_path / "gallery.npz").metrics.mAP == result.metrics.mAP
    report = compare(Candidate("means", make_embedder), [ExportedCandidate("kept", tmp_path)], dataset)
    assert report.stages[0].trained_on == embedder.manifest.trained_on
    assert report.failures == ()
    assert (result.metrics.junk, result.metrics.gallery) == (1, 4)
    assert result.to_json()["source"] == {"data": "market", "model": "means.onnx on colour means, fp32"}


def test_embeddings_that_cannot_all_be_written_leave_the_earlier_ones(
    market: Path,
    make_embedder: Callable[..., Embedder],
    full_disk: Callable[[int], AbstractContextManager[None]],
    tmp_path: Path,
) -> None:
    dataset = open_dataset(market)
    with make_embedder() as embedder:
        embed_run(embedder, dataset, save_to=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    assert len(before["query.npz"]) < len(before["gallery.npz"])
    full, refused = full_disk(len(before["query.npz"])), pytest.raises(InputError, match=r"cannot write .*gallery")
    with make_embedder(rounding=50) as other, refused, full:
        embed_run(other, dataset, save_to=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def test_halves_that_different_models_made_are_refused(
    make_embeddings: Callable[..., Embeddings], make_embedder: Callable[..., Embedder], tmp_path: Path
) -> None:
    manifest = replace(make_embedder().manifest, checkpoint_sha256="1" * 64)
    for name, each in (
        ("one", manifest),
        ("rounded", replace(manifest, precision="fp16")),
        ("other", replace(manifest, checkpoint_sha256="2" * 64)),
        ("unknown", replace(manifest, checkpoint_sha256=None)),
    ):
        save_embeddings(tmp_path / name, *make_clusters(make_embeddings), each)
    query = tmp_path / "one" / "query.npz"
    expected = evaluate_files(query, tmp_path / "one" / "gallery.npz").metrics.mAP
    for name in ("rounded", "unknown"):
        assert evaluate_files(query, tmp_path / name / "gallery.npz").metrics.mAP == expected
    with pytest.raises(InputError, match=r"different models: .*checkpoint 111111.*checkpoint 222222"):
        evaluate_files(query, tmp_path / "other" / "gallery.npz")


def test_without_scipy_no_model_is_run_for_reranking(
    market: Path, make_embedder: Callable[..., Embedder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with make_embedder() as embedder, pytest.raises(MissingDependencyError, match="re-ranking needs"):
        evaluate_model(embedder, open_dataset(market), Reranking(), save_to=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_embeddings_keep_order_labels_and_names(market: Path, make_embedder: Callable[..., Embedder]) -> None:
    dataset = open_dataset(market)
    with make_embedder(batch_size=2) as embedder:
        timed = embed_timed(embedder, dataset, dataset.gallery)
        one_by_one = [embedder.embed([dataset.read(image)], "BGR")[0] for image in dataset.gallery]
    embeddings = timed.embeddings
    np.testing.assert_array_equal(embeddings.features, one_by_one)
    assert embeddings.names.tolist() == [image.name for image in dataset.gallery]
    assert embeddings.person_ids.tolist() == [-1, 0, 3, 3, 5]
    assert embeddings.camera_ids.tolist() == [3, 1, 2, 2, 1]
    assert timed.milliseconds_per_image > 0


def test_labels_are_known_before_anything_is_embedded(market: Path, make_embedder: Callable[..., Embedder]) -> None:
    dataset = open_dataset(market)
    labels = labels_of(dataset)
    with make_embedder() as embedder:
        embedded = embed_images(embedder, dataset, dataset.gallery)
    np.testing.assert_array_equal(labels.gallery.person_ids, embedded.person_ids)
    np.testing.assert_array_equal(labels.gallery.camera_ids, embedded.camera_ids)
    np.testing.assert_array_equal(labels.gallery.names, embedded.names)
    assert labels.query.features.shape == (len(dataset.query), 0)


def test_a_data_set_without_a_test_half_is_refused(
    tmp_path: Path, make_images: Callable[..., Path], make_embedder: Callable[..., Embedder]
) -> None:
    dataset = open_dataset(make_images(tmp_path / "people", ["anna/a_1.jpg", "bob/a_1.jpg"]))
    with make_embedder() as embedder, pytest.raises(InputError, match="--split-by"):
        evaluate_model(embedder, dataset)
