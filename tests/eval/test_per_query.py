"""The table of every query: what it says is what the metrics say."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eval.evaluation import Evaluation, Run, evaluate_run
from eval.per_query import write_per_query
from eval.reranking import Reranking
from runtime.embeddings import Embeddings
from runtime.errors import InputError


@pytest.fixture
def run() -> Run:
    """Query 1 has no match, query 2 nothing left in the gallery but junk; names that CSV and UTF-8 stumble over."""
    random = np.random.default_rng(0)
    gallery_persons = np.array([-1, 4, 4, 4, 4])
    return Run(
        Embeddings(
            random.normal(size=(3, 4)).astype(np.float32),
            np.array([4, 5, 4]),
            np.array([1, 1, 3]),
            np.array(['a, "b"\n.jpg', "é\udcff.jpg", "c.jpg"]),
        ),
        Embeddings(
            random.normal(size=(5, 4)).astype(np.float32),
            gallery_persons,
            np.array([1, 3, 3, 3, 3]),
            np.array(["junk.jpg", "g1.jpg", "g2.jpg", "g3.jpg", "g4.jpg"]),
        ),
        {},
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("reranking", [None, Reranking(k1=2, k2=1)])
def test_every_query_has_its_line(run: Run, tmp_path: Path, reranking: Reranking | None) -> None:
    evaluation = evaluate_run(run, reranking)
    write_per_query(tmp_path / "new" / "out.csv", evaluation)
    rows = read(tmp_path / "new" / "out.csv")
    assert [row["row"] for row in rows] == ["0", "1", "2"]
    assert [row["name"] for row in rows] == ['a, "b"\n.jpg', "é\\udcff.jpg", "c.jpg"]
    assert [(row["person_id"], row["camera_id"]) for row in rows] == [("4", "1"), ("5", "1"), ("4", "3")]
    assert [row["valid"] for row in rows] == ["true", "false", "false"]
    prefixes = {"": evaluation.metrics, "reranked_": evaluation.reranked}
    for prefix, metrics in prefixes.items():
        if metrics is None:
            assert not any(name.startswith("reranked_") for name in rows[0])
            continue
        result = metrics.per_query
        first = rows[0]
        assert float(first[prefix + "average_precision"]) == result.average_precision[0]
        assert float(first[prefix + "inverse_negative_penalty"]) == result.inverse_negative_penalty[0]
        assert int(first[prefix + "first_match"]) == result.first_match[0]
        for row in rows[1:]:
            names = ("average_precision", "inverse_negative_penalty", "first_match")
            assert [row[prefix + name] for name in names] == ["", "", ""]
        assert rows[2][prefix + "nearest"] == ""
    similarity = unit(run.query.features) @ unit(run.gallery.features[1:]).T
    assert [row["nearest"] for row in rows[:2]] == [f"g{place + 1}.jpg" for place in similarity[:2].argmax(axis=1)]


def unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_the_means_of_the_table_are_the_figures(tmp_path: Path, make_embeddings: Callable[..., Embeddings]) -> None:
    random = np.random.default_rng(1)
    halves = (
        make_embeddings(random.normal(size=(n, 4)), random.integers(1, 6, n), random.integers(1, 4, n))
        for n in (20, 60)
    )
    evaluation = evaluate_run(Run(*halves, source={}))
    write_per_query(tmp_path / "out.csv", evaluation)
    rows = [row for row in read(tmp_path / "out.csv") if row["valid"] == "true"]
    metrics = evaluation.metrics
    assert len(rows) == metrics.valid_queries
    assert np.mean([float(row["average_precision"]) for row in rows]) == pytest.approx(metrics.mAP)
    assert np.mean([float(row["inverse_negative_penalty"]) for row in rows]) == pytest.approx(metrics.mINP)
    assert np.mean([int(row["first_match"]) <= 5 for row in rows]) == pytest.approx(metrics.rank5)


def test_a_table_that_cannot_be_written_leaves_nothing(run: Run, tmp_path: Path) -> None:
    evaluation: Evaluation = evaluate_run(run)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        write_per_query(tmp_path / "file" / "out.csv", evaluation)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
