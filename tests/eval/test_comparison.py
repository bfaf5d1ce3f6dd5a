"""Two runs side by side: what is compared, what the table and JSON say of it, and which runs are refused."""

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest

from eval.bootstrap import paired_difference
from eval.comparison import check_comparable, compare_runs
from eval.evaluation import Run, evaluate_run, figures
from eval.reranking import Reranking
from runtime.embeddings import Embeddings
from runtime.errors import InputError

MakeEmbeddings = Callable[..., Embeddings]


@pytest.fixture
def make_run(make_embeddings: MakeEmbeddings) -> Callable[[float], Run]:
    """Twelve persons under three cameras, one junk image; the same images each time, embedded with noise as told."""

    def make(noise: float) -> Run:
        random = np.random.default_rng(3)
        persons, cameras = np.repeat(np.arange(1, 13), 6), np.tile([1, 1, 2, 2, 3, 3], 12)
        features = random.normal(size=(13, 8))[persons] + noise * random.normal(size=(72, 8))
        query = np.arange(0, 72, 3)
        gallery = np.setdiff1d(np.arange(72), query)
        persons[-1] = -1
        halves = (make_embeddings(features[rows], persons[rows], cameras[rows]) for rows in (query, gallery))
        return Run(*halves, source={"model": f"noise {noise}"})

    return make


def changed(embeddings: Embeddings, name: str, row: int, value: object) -> Embeddings:
    array = getattr(embeddings, name).copy()
    array[row] = value
    return dataclasses.replace(embeddings, **{name: array})


def test_a_comparison_is_of_what_each_run_gives_alone(make_run: Callable[[float], Run]) -> None:
    good, bad, reranking = make_run(0.5), make_run(1.5), Reranking(k1=5, k2=2)
    compared = compare_runs(good, bad, reranking)
    alone = [evaluate_run(run, reranking) for run in (good, bad)]
    assert [compared.evaluation.to_json(), compared.baseline.to_json()] == [each.to_json() for each in alone]
    before = paired_difference(*(each.metrics.per_query for each in alone), good.query.person_ids)
    after = paired_difference(*(each.final.per_query for each in alone), good.query.person_ids)
    assert (compared.difference, compared.reranked_difference) == (before, after)
    assert before != after
    for name, interval in before.intervals.items():
        ours, theirs = (figures(each.metrics)[name] for each in alone)
        assert interval.difference == pytest.approx(ours - theirs, abs=1e-12)
    assert before.intervals["mAP"].difference > 0
    assert before.intervals["mAP"].resolved


def test_json_holds_both_runs_and_their_differences(make_run: Callable[[float], Run]) -> None:
    compared = compare_runs(make_run(0.5), make_run(1.5), Reranking(k1=5, k2=2))
    content = json.loads(json.dumps(compared.to_json(), allow_nan=False))
    comparison = content.pop("comparison")
    assert content == compared.evaluation.to_json()
    assert comparison["baseline"]["source"] == {"model": "noise 1.5"}
    mean = comparison["difference"]["mAP"]
    assert mean["difference"] == pytest.approx(content["mAP"] - comparison["baseline"]["mAP"])
    earlier = comparison["difference_before_reranking"]["rank1"]
    assert earlier["difference"] == pytest.approx(
        content["before_reranking"]["rank1"] - comparison["baseline"]["before_reranking"]["rank1"]
    )
    assert mean["resolved"] == (mean["low"] > 0 or mean["high"] < 0)
    assert (comparison["bootstrap"]["persons"], comparison["bootstrap"]["resamples"]) == (12, 10_000)
    plain = compare_runs(make_run(0.5), make_run(1.5)).to_json()
    assert "difference_before_reranking" not in plain["comparison"]


def test_the_table_shows_every_figure_with_its_interval(make_run: Callable[[float], Run]) -> None:
    compared = compare_runs(make_run(0.5), make_run(1.5), Reranking(k1=5, k2=2))
    own, other = compared.table().split("\n\n")
    assert own == compared.evaluation.table()
    lines = other.splitlines()
    assert lines[0] == "compared with model: noise 1.5"
    blocks = (lines[2:9], lines[9:])
    for block, title, difference in zip(
        blocks, ("cosine", "re-ranked"), (compared.difference, compared.reranked_difference), strict=True
    ):
        assert block[0].split()[0] == title
        assert difference is not None
        for line, interval in zip(block[1:], difference.intervals.values(), strict=True):
            cells = line.split()
            shown = [float(cells[place]) for place in (3, 4, 6)]
            expected = [interval.difference, interval.low, interval.high]
            assert shown == pytest.approx([100 * value for value in expected], abs=0.0005)
            assert line.endswith("  resolved" if interval.resolved else "not resolved")


def test_the_same_run_twice_differs_by_nothing(make_run: Callable[[float], Run]) -> None:
    compared = compare_runs(make_run(1.0), make_run(1.0))
    assert {(each.difference, each.low, each.high) for each in compared.difference.intervals.values()} == {(0, 0, 0)}


def test_order_and_junk_of_the_gallery_and_unknown_names_do_not_matter(make_run: Callable[[float], Run]) -> None:
    run = make_run(1.0)
    gallery = run.gallery
    rows = np.random.default_rng(0).permutation(np.flatnonzero(gallery.person_ids != -1))
    shuffled = Embeddings(
        gallery.features[rows], gallery.person_ids[rows], gallery.camera_ids[rows], gallery.names[rows]
    )
    nameless = dataclasses.replace(run.query, names=np.full_like(run.query.names, ""))
    compared = compare_runs(run, Run(nameless, shuffled, {}))
    assert compared.difference.intervals["mAP"].difference == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("person_ids", 77, "differ in the person of 1 of 24 queries, the first is row 5: 3 and 77"),
        ("camera_ids", 9, "differ in the camera of 1 of 24 queries, the first is row 5: 2 and 9"),
        ("names", "other.jpg", r"differ in the name of 1 of 24 queries, the first is row 5: 00005\.jpg and other\.jpg"),
    ],
)
def test_other_queries_are_refused(make_run: Callable[[float], Run], name: str, value: object, message: str) -> None:
    run = make_run(1.0)
    with pytest.raises(InputError, match=message):
        check_comparable(run, dataclasses.replace(run, query=changed(run.query, name, 5, value)))


def test_fewer_queries_and_another_gallery_are_refused(make_run: Callable[[float], Run]) -> None:
    run = make_run(1.0)
    query = run.query
    fewer = Embeddings(query.features[1:], query.person_ids[1:], query.camera_ids[1:], query.names[1:])
    with pytest.raises(InputError, match="24 and 23 queries"):
        check_comparable(run, dataclasses.replace(run, query=fewer))
    other = dataclasses.replace(run, gallery=changed(run.gallery, "camera_ids", 0, 7))
    with pytest.raises(InputError, match="47 and 47 images without junk: of person 1 under camera 1 1 and 0"):
        check_comparable(run, other)


def test_bad_input_says_when_it_is_the_other_run_s(make_run: Callable[[float], Run]) -> None:
    run = make_run(1.0)
    other = dataclasses.replace(run, query=changed(run.query, "features", 4, np.nan))
    with pytest.raises(InputError, match=r"^the run to compare with: query: 1 of 24 .* row 4"):
        compare_runs(run, other)
    with pytest.raises(InputError, match=r"^query: 1 of 24"):
        compare_runs(other, run)
