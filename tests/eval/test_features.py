"""What is accepted as features and labels, and the one line that refuses the rest."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.features import LabelledFeatures, open_side
from eval.metrics import Metrics, evaluate
from eval.reranking import Reranking, evaluate_reranked, rerank
from eval.threads import Threads
from runtime.embeddings import Embeddings
from runtime.errors import InputError

GOOD = ([[1.0, 0.0], [0.0, 1.0]], [1, 2], [1, 1])
GALLERY = ([[1.0, 0.0], [0.0, 1.0]], [1, 2], [2, 2])


def side(features: Any, person_ids: Any, camera_ids: Any) -> LabelledFeatures:
    return LabelledFeatures(np.asarray(features, np.float32), np.array(person_ids, int), np.array(camera_ids, int))


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (([[1.0, np.nan], [np.inf, 0.0]], [1, 2], [1, 1]), GALLERY, "query: 2 of 2 rows, the first is row 0, hold NaN"),
        (GOOD, ([[1.0, 0.0], [np.nan, 0.0]], [1, 2], [2, 2]), "gallery: 1 of 2 rows, the first is row 1, hold NaN"),
        (GOOD, ([[1.0, 0.0], [0.0, -np.inf]], [1, -1], [2, 2]), "gallery: 1 of 2 rows, the first is row 1, hold NaN"),
        (GOOD, ([[1e20, 0.0], [1.0, 0.0]], [1, 2], [2, 2]), "gallery: 1 of 2 rows, the first is row 0, have a length"),
        (([[1.0, 0.0], [1e-20, 0.0]], [1, 2], [1, 1]), GALLERY, "query: 1 of 2 rows, the first is row 1, have a len"),
        (GOOD, ([[1.0], [0.0]], [1, 2], [2, 2]), "query features have 2 elements and gallery features 1"),
        (GOOD, (np.empty((0, 2)), [], []), r"gallery: nothing to evaluate, shape \(0, 2\)"),
        ((np.empty((0, 2)), [], []), GALLERY, "query: nothing to evaluate"),
        (GOOD, (np.empty((2, 0)), [1, 2], [2, 2]), "gallery: nothing to evaluate"),
        (GOOD, ([1.0, 0.0], [1, 2], [2, 2]), r"gallery: features are 1-D of type float32; expected \(N, D\) floats"),
        (GOOD, (GALLERY[0], [-1, -1], [2, 2]), "gallery is empty, junk left out"),
        (GOOD, (GALLERY[0], [1, -2], [2, 2]), "gallery: 1 of 2 images have an unknown person, the first is row 1"),
        ((GOOD[0], [-2, 1], [1, 1]), GALLERY, "query: 1 of 2 images have an unknown person"),
        ((GOOD[0], [1, 2], [1, -1]), GALLERY, "query: 1 of 2 images have an unknown camera"),
        (GOOD, (GALLERY[0], [1, 2], [1, 1]), "none of the 2 queries has a match"),
    ],
)
@pytest.mark.parametrize(
    "evaluation", [evaluate, lambda query, gallery: evaluate_reranked(query, gallery, Reranking())]
)
def test_bad_input_is_refused_in_one_line(
    evaluation: Callable[..., Metrics], query: tuple[Any, Any, Any], gallery: tuple[Any, Any, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        evaluation(side(*query), side(*gallery))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("person_ids", "camera_ids", "message"),
    [
        ([1.0, 2.0], [1, 1], r"person_ids has shape \(2,\) and type float64; expected \(2,\) integers"),
        ([1, 2], ["a", "b"], "camera_ids has shape .2,. and type <U1"),
        ([True, False], [1, 1], "person_ids .* type bool"),
        ([1, 2, 3], [1, 1], r"person_ids has shape \(3,\)"),
        ([1, 2], [1], r"camera_ids has shape \(1,\)"),
        ([[1], [2]], [1, 1], r"person_ids has shape \(2, 1\)"),
    ],
)
def test_ids_of_another_type_or_length_are_refused(person_ids: Any, camera_ids: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelledFeatures(np.zeros((2, 3), np.float32), person_ids, camera_ids)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.bool_, np.complex64, np.object_, np.str_])
def test_features_that_are_no_floats_are_refused(kind: Any) -> None:
    with pytest.raises(InputError, match=r"query: features are 2-D of type .*; expected \(N, D\) floats"):
        rerank(np.eye(2).astype(kind), np.eye(2))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
@pytest.mark.parametrize("ids", [np.int32, np.uint8, np.int64])
def test_every_float_and_integer_type_gives_the_same(kind: Any, ids: Any) -> None:
    random = np.random.default_rng(0)
    features = random.integers(-3, 4, (60, 8))

    def metrics(kind: Any, ids: Any) -> Metrics:
        halves = (features[:20], np.arange(20) % 5 + 1, 1), (features[20:], np.arange(40) % 6 + 1, 2)
        sides = (
            LabelledFeatures(values.astype(kind), persons.astype(ids), np.full(len(values), camera, ids))
            for values, persons, camera in halves
        )
        return evaluate(*sides)

    result, expected = metrics(kind, ids), metrics(np.float32, np.int64)
    np.testing.assert_array_equal(result.per_query.average_precision, expected.per_query.average_precision)


@pytest.mark.parametrize("layout", ["order of columns", "every second", "reversed", "read-only", "on disk"])
def test_features_may_lie_in_memory_as_they_like(layout: str, tmp_path: Path) -> None:
    features = np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32)
    expected = rerank(features[:10], features)
    np.save(tmp_path / "features.npy", features)
    frozen = features.copy()
    frozen.setflags(write=False)
    laid = {
        "order of columns": np.asfortranarray(features),
        "every second": np.repeat(features, 2, axis=1)[:, ::2],
        "reversed": features[::-1].copy()[::-1],
        "read-only": frozen,
        "on disk": np.load(tmp_path / "features.npy", mmap_mode="r"),
    }
    np.testing.assert_array_equal(rerank(laid[layout][:10], laid[layout]), expected)


def test_lengths_other_than_one_are_normalised_and_said(caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(2)
    features, ids = random.normal(size=(30, 6)).astype(np.float32), random.integers(1, 4, 30)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    halved = unit * np.where(np.arange(30) < 7, 0.5, 2.0)[:, None].astype(np.float32)

    def both(values: Any) -> tuple[LabelledFeatures, LabelledFeatures]:
        return LabelledFeatures(values, ids, np.full(30, 1)), LabelledFeatures(values, ids, np.full(30, 2))

    with caplog.at_level(logging.INFO, "eval"):
        expected = evaluate(*both(unit))
        assert evaluate(*both(unit.astype(np.float16))).mAP == pytest.approx(expected.mAP, abs=0.05)
        assert not caplog.messages
        result = evaluate(*both(halved))
    assert caplog.messages == [
        f"{what}: features of length 0.5 to 2, not 1: normalised" for what in ("query", "gallery")
    ]
    np.testing.assert_array_equal(result.per_query.average_precision, expected.per_query.average_precision)


def test_tensors_are_taken_and_integers_refused() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    random = np.random.default_rng(3)
    features, ids = random.integers(-3, 4, (30, 6)).astype(np.float32), random.integers(1, 4, 30)

    def both(values: Any, kind: Any) -> tuple[LabelledFeatures, LabelledFeatures]:
        return LabelledFeatures(values, kind(ids), kind(np.full(30, 1))), LabelledFeatures(values, ids, np.full(30, 2))

    expected = evaluate(*both(features, np.asarray))
    tensor = torch.from_numpy(features)
    for values in (tensor, tensor.bfloat16(), tensor.half(), tensor.double(), tensor.clone().requires_grad_()):
        result = evaluate(*both(values, torch.from_numpy))
        np.testing.assert_array_equal(result.per_query.average_precision, expected.per_query.average_precision)
    with pytest.raises(InputError, match="query: features are 2-D of type"):
        evaluate(*both(tensor.long(), np.asarray))
    bad = tensor.clone()
    bad[4, 2] = torch.nan
    with pytest.raises(InputError, match="query: 1 of 30 rows, the first is row 4, hold NaN"):
        evaluate(*both(bad, np.asarray))


def test_what_is_float32_is_not_copied() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    features = np.eye(3, dtype=np.float32)
    with Threads(1) as threads:
        for values in (features, torch.from_numpy(features)):
            assert np.shares_memory(open_side("query", values, threads).features, features)


def test_embeddings_on_disk_are_evaluated_and_pickles_refused(
    tmp_path: Path, make_embeddings: Callable[..., Embeddings]
) -> None:
    query, gallery = make_embeddings(*GOOD), make_embeddings(*GALLERY)
    query.save(tmp_path / "query.npz")
    assert evaluate(Embeddings.load(tmp_path / "query.npz"), gallery).mAP == 1
    np.savez(tmp_path / "bad.npz", features=np.array([{}], object), person_ids=[1], camera_ids=[1], names=["a"])
    with pytest.raises(InputError, match=r"is not a readable \.npz without pickles"):
        Embeddings.load(tmp_path / "bad.npz")
