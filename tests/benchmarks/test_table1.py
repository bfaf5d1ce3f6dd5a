"""Table 1's benchmark on toy data: what it trains and goes on with, what it says of it, and the page about it."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import table1
import table1_page
import torch
from table1_figures import Evaluated, gate_differences, gate_figures, standard_error_persons, verdict

from eval.evaluation import evaluate_files
from eval.metrics import Metrics, PerQuery
from runtime.errors import InputError
from train.recipe import Recipe

RECIPE = """
backbone: resnet10t
strips: 2
reduction: 4
height: 64
width: 32
epochs: 1
batch_size: 8
lr: 0.02
milestones: []
crop_padding: 2
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven persons in their colours under two cameras; 5, 10 and 15 are held out."""
    folder = tmp_path_factory.mktemp("toy")
    random = np.random.default_rng(0)
    for person in (1, 2, 3, 4, 5, 10, 15):
        clothing = np.kron(random.integers(0, 256, (2, 1, 3)), np.ones((32, 32, 1)))
        for camera in (1, 2):
            for frame in (1, 2):
                noisy = np.clip(clothing + random.normal(0, 40, clothing.shape), 0, 255).astype(np.uint8)
                path = folder / "bounding_box_train" / f"{person:04d}_c{camera}s1_{frame:06d}_00.png"
                path.parent.mkdir(exist_ok=True)
                cv2.imwrite(str(path), noisy)
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def run(work: Path, data: Path, **options: object) -> dict[str, Any]:
    arguments = {"weights": None, "gate": None, "seed": None, "minutes": None, "evaluate_only": False, "outside": None}
    arguments |= {"data": data, "work": work, "out": work / "table1.json", "recipe": work / "recipe.yaml", **options}
    torch.set_num_threads(1)
    table1.run(argparse.Namespace(**arguments))
    result: dict[str, Any] = json.loads((work / "table1.json").read_text())
    return result


def test_what_is_unfinished_is_named_and_left_out_and_the_rest_is_trained_once(
    work: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table1, "SEEDS", (0, 1))
    first = run(work, data, gate=["none", "strip"], seed=[0])
    assert not first["complete"]
    assert [each["run"] for each in first["unfinished"]] == ["se-0", "none-1", "se-1", "strip-1"]
    assert list(first["gates"]) == ["none", "strip"]
    assert list(first["differences"]) == ["strip-none"]
    assert first["differences"]["strip-none"]["cosine"]["mAP"]["seeds"]["standard_error"] is None

    before = {path: path.stat().st_mtime_ns for path in work.glob("*/checkpoint.pt")}
    assert len(before) == 2
    second = run(work, data)
    assert second["complete"]
    assert len(second["runs"]) == 6
    assert before == {path: path.stat().st_mtime_ns for path in before}
    for each in second["runs"]:
        kept = work / each["run"] / "embeddings"
        evaluation = evaluate_files(kept / "query.npz", kept / "gallery.npz")
        assert each["cosine"]["mAP"] == evaluation.metrics.mAP
    maps = {(each["gate"], each["seed"]): each["cosine"]["mAP"] for each in second["runs"]}
    expected = np.mean([maps["strip", seed] - maps["se", seed] for seed in (0, 1)])
    assert second["differences"]["strip-se"]["cosine"]["mAP"]["difference"] == pytest.approx(expected)
    assert second["data"]["validation_persons"] == 3
    strips = {each["gate"]: each["gate_values"] and each["gate_values"]["strips"] for each in second["runs"]}
    assert strips == {"none": None, "se": 1, "strip": 2}

    page = table1_page.section(second, "table1.json")
    correlations = [each["gate_values"]["correlation"][1][0] for each in second["runs"] if each["gate"] == "strip"]
    assert f"correlate by {min(correlations):+.2f} to {max(correlations):+.2f}" in page
    assert "Not complete" not in page
    assert f"| se (SE unit) | {100 * second['gates']['se']['cosine']['rank1']['mean']:.1f} ±" in page

    again = run(work, data, evaluate_only=True)
    assert again["gates"] == second["gates"]

    (work / "recipe.yaml").write_text(RECIPE.replace("lr: 0.02", "lr: 0.03"))
    with pytest.raises(InputError, match=r"none-0/checkpoint.pt was trained with lr 0.02, not 0.03"):
        run(work, data, evaluate_only=True)


def make_run(gate: str, seed: int, precision: np.ndarray, person_ids: np.ndarray) -> Evaluated:
    queries = len(precision)
    valid = np.ones(queries, np.bool_)
    first = np.where(precision > 0.5, 1, 2)
    per_query = PerQuery(valid, precision, precision, first, np.zeros(queries, np.int64))
    cmc = np.array([np.mean(first <= rank) for rank in range(1, 51)])
    metrics = Metrics(cmc, float(precision.mean()), 0.0, queries, queries, 9, 0, per_query)
    run = SimpleNamespace(query=SimpleNamespace(person_ids=person_ids))
    evaluation = SimpleNamespace(run=run, metrics=metrics, reranked=metrics)
    return Evaluated(gate, seed, evaluation)  # type: ignore[arg-type]


def test_a_difference_must_outlast_both_other_persons_and_other_seeds() -> None:
    """Strip is better by the same with every seed; se only with one of them, and by a lot."""
    random = np.random.default_rng(0)
    person_ids = np.repeat(np.arange(60), 4)
    base = random.uniform(0.2, 0.6, (3, 240))
    runs = [make_run("none", seed, base[seed], person_ids) for seed in range(3)]
    runs += [make_run("strip", seed, base[seed] + 0.05 + 0.001 * seed, person_ids) for seed in range(3)]
    runs += [make_run("se", seed, base[seed] + (0.2 if seed == 1 else 0.01), person_ids) for seed in range(3)]
    found = gate_differences(runs)
    strip, se = (found[pair]["cosine"]["mAP"] for pair in ("strip-none", "se-none"))
    assert strip["verdict"] == "resolved"
    assert strip["difference"] == pytest.approx(0.051)
    # Student's t for three: 4.303 standard errors, here of .050, .051 and .052.
    assert strip["seeds"]["standard_error"] == pytest.approx(0.001 / 3**0.5)
    assert strip["seeds"]["low"] == pytest.approx(0.051 - 4.302653 * 0.001 / 3**0.5)
    assert se["persons"]["resolved"]
    assert se["verdict"] == "not resolved beyond these seeds"
    assert gate_figures(runs)["se"]["cosine"]["mAP"]["mean"] == pytest.approx(base.mean() + 0.22 / 3)


def test_one_seed_resolves_nothing() -> None:
    assert verdict({"resolved": True}, {"resolved": False}) == "not resolved beyond these seeds"
    assert verdict({"resolved": False}, {"resolved": True}) == "not resolved"


def test_the_standard_error_over_persons_is_that_of_repeated_draws() -> None:
    """Against the spread of means over persons drawn anew, who share their luck between their queries."""
    random = np.random.default_rng(1)
    means, errors = [], []
    for _ in range(400):
        person_ids = np.repeat(np.arange(50), random.integers(1, 8, 50))
        precision = np.clip(random.normal(0.5, 0.2, 50)[person_ids] + random.normal(0, 0.05, len(person_ids)), 0, 1)
        metrics = make_run("se", 0, precision, person_ids).metrics("cosine")
        means.append(metrics.mAP)
        errors.append(standard_error_persons([metrics], person_ids, "mAP"))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)


def test_of_one_query_each_it_is_the_standard_error_of_a_mean() -> None:
    precision = np.random.default_rng(0).uniform(size=7)
    metrics = make_run("se", 0, precision, np.arange(7)).metrics("cosine")
    assert standard_error_persons([metrics], np.arange(7), "mAP") == pytest.approx(precision.std(ddof=1) / 7**0.5)


def figures_of(difference: float, found: str) -> dict[str, Any]:
    interval = {"low": difference - 0.01, "high": difference + 0.01}
    each = {"difference": difference, "persons": interval, "verdict": found}
    each["seeds"] = {**interval, "standard_error": 0.002}
    return {distance: dict.fromkeys(("rank1", "mAP"), each) for distance in ("cosine", "reranked")}


@pytest.mark.parametrize(
    ("difference", "found", "line", "claim"),
    [
        (
            0.03,
            "resolved",
            "higher in rank-1 (cosine), mAP (cosine)",
            "these trainings support LGEU before the SE unit (rank-1, cosine; mAP, cosine; rank-1, re-ranked; mAP, ",
        ),
        (
            -0.03,
            "resolved",
            "**lower** in rank-1 (cosine)",
            "these trainings speak against LGEU before the SE unit (rank-1, cosine;",
        ),
        (
            0.01,
            "not resolved",
            "not resolved in rank-1",
            "these trainings do not settle LGEU before the SE unit, the SE unit before",
        ),
    ],
)
def test_the_page_says_what_came_out_either_way(
    tmp_path: Path, difference: float, found: str, line: str, claim: str
) -> None:
    result = {
        "recipe": Recipe(backbone="mobilenetv2_100", height=128, width=64).model_dump(),
        "recipe_file": "table1-cpu.yaml",
        "weights": None,
        "data": {"name": "a split", "training_images": 9000, "training_persons": 600, "validation_persons": 150}
        | {"queries": 600, "valid_queries": 590, "gallery": 2000},
        "unfinished": [{"run": "none-2", "epochs_done": 4}],
        "runs": [{"gate": "se", "parameters": 2264832}],
        "bootstrap": {"resamples": 10000, "persons": 142},
        "gates": gate_figures([make_run("se", seed, np.full(4, 0.4), np.arange(4)) for seed in range(2)]),
        "differences": {"strip-se": figures_of(difference, found)},
    }
    figures, page = tmp_path / "table1.json", tmp_path / "results.md"
    figures.write_text(json.dumps(result))
    page.write_text("# Results\n\n<!-- from table1.json -->\nold\n<!-- end of table1.json -->\n\n## After\n")
    table1_page.write(figures, page)
    text = page.read_text()
    assert text.startswith("# Results\n\n<!-- from table1.json -->\n## Table 1")
    assert text.endswith("<!-- end of table1.json -->\n\n## After\n")
    assert "old" not in text
    assert f"strip − se: {line}" in text
    assert claim in " ".join(text.split())
    assert "none-2 (after 4 epochs)" in text
    table1_page.write(figures, page)
    assert page.read_text() == text


def test_a_section_without_its_end_is_refused_and_nothing_after_it_is_lost() -> None:
    with pytest.raises(InputError, match=r"without '<!-- end of table1\.json -->' after it"):
        table1_page.updated("# Results\n\n<!-- from table1.json -->\nold\n\n## After\n", "table1.json", "new\n")
    with_none = table1_page.updated("# Results\n", "table1.json", "new\n")
    assert with_none == "# Results\n\n<!-- from table1.json -->\nnew\n<!-- end of table1.json -->\n"


def test_the_results_page_is_that_of_the_figures(repository: Path) -> None:
    measured = sorted((repository / "benchmarks" / "results").glob("table1*.json"))
    if not measured:
        pytest.skip("Table 1 has not been measured yet")
    page = (repository / "docs" / "results.md").read_text()
    for path in measured:
        text = table1_page.section(json.loads(path.read_text()), path.name)
        assert table1_page.updated(page, path.name, text) == page, f"run benchmarks/table1_page.py {path}"
