"""The parity report: what agrees, what differs and by how much, what could not run."""

import dataclasses
import json
import re
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from eval.agreement import GAP_EDGES, agreement
from eval.datasets import ReidDataset, open_dataset
from eval.embedding import embed_images
from eval.metrics import evaluate
from eval.parity import Candidate, ExportedCandidate, ParityReport, Tolerance, candidate, compare, distinct_names
from eval.plots import cmc_plot, gap_plot
from eval.report import check_report, render_html, write_report
from eval.reranking import Reranking, evaluate_reranked
from runtime.embedder import Embedder
from runtime.embeddings import Embeddings, save_manifest
from runtime.errors import DeviceError, EngineMismatchError, InputError, LgeuError, MissingDependencyError

MakeEmbedder = Callable[..., Embedder]


@pytest.fixture
def dataset(crowd: Path) -> ReidDataset:
    return open_dataset(crowd, "person%2")


@pytest.fixture
def reference(make_embedder: MakeEmbedder) -> Candidate:
    return Candidate("checkpoint.pt", make_embedder)


class Broken:
    """A backend that answers with one NaN, or not at all."""

    def __init__(self, embedder: Embedder, *, fails: bool) -> None:
        self._inner = embedder.backend
        self._fails = fails
        self.name, self.device, self.manifest, self.max_batch = "broken", "cpu", self._inner.manifest, None

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._fails:
            raise DeviceError("the device fell off")
        features = self._inner.run(images)
        features[0, 0] = np.nan
        return features

    def close(self) -> None:
        """Nothing is held."""


def embed_halves(embedder: Embedder, dataset: ReidDataset) -> tuple[Embeddings, Embeddings]:
    return embed_images(embedder, dataset, dataset.query), embed_images(embedder, dataset, dataset.gallery)


def test_the_same_model_agrees_exactly(dataset: ReidDataset, reference: Candidate, make_embedder: MakeEmbedder) -> None:
    report = compare(reference, [Candidate("same.onnx", make_embedder)], dataset)
    (stage,) = report.stages
    assert stage.comparison is not None
    assert stage.comparison.agreement is not None
    assert stage.comparison.difference is not None
    assert report.failures == ()
    assert stage.comparison.agreement.max_abs_difference == 0
    assert stage.comparison.agreement.min_cosine == pytest.approx(1, abs=1e-12)
    assert stage.comparison.difference.rank1_agreement == 1
    assert stage.comparison.difference.mAP == 0
    assert stage.figures == report.reference.figures
    assert sum(stage.comparison.agreement.cosine_gaps) == len(dataset.query) + len(dataset.gallery)


def test_a_coarser_model_differs_by_what_its_own_evaluation_says(
    dataset: ReidDataset, reference: Candidate, make_embedder: MakeEmbedder
) -> None:
    reranking = Reranking(k1=4, k2=2)
    coarse = Candidate("coarse.onnx", lambda: make_embedder(rounding=120.0))
    (stage,) = compare(reference, [coarse], dataset, reranking).stages
    halves = [embed_halves(embedder, dataset) for embedder in (make_embedder(), make_embedder(rounding=120.0))]
    (before, after), (reranked_before, reranked_after) = (
        [evaluate(*half) for half in halves],
        [evaluate_reranked(*half, reranking) for half in halves],
    )
    comparison = stage.comparison
    assert comparison is not None
    assert comparison.agreement is not None
    assert comparison.difference is not None
    assert comparison.reranked_difference is not None
    assert comparison.difference.mAP == pytest.approx(after.mAP - before.mAP)
    assert comparison.difference.mAP != 0
    assert comparison.reranked_difference.mAP == pytest.approx(reranked_after.mAP - reranked_before.mAP)
    assert comparison.difference.rank1_agreement == np.mean(before.per_query.nearest == after.per_query.nearest) < 1
    left, right = (np.concatenate([half[0].features, half[1].features]) for half in halves)
    assert comparison.agreement.min_cosine == pytest.approx((left * right).sum(axis=1).min(), abs=1e-6)
    assert comparison.agreement.mean_cosine == pytest.approx((left * right).sum(axis=1).mean(), abs=1e-6)
    assert comparison.agreement.max_abs_difference == pytest.approx(np.abs(left - right).max())
    assert len(comparison.failures) == 2


def test_tolerances_go_by_precision(dataset: ReidDataset, reference: Candidate, make_embedder: MakeEmbedder) -> None:
    candidates = [
        Candidate(precision, lambda precision=precision: make_embedder(rounding=4.0, precision=precision))  # type: ignore[misc]
        for precision in ("fp32", "fp16")
    ]
    strict, loose = Tolerance(100, 0.999999), Tolerance(100, 0.9)
    report = compare(reference, candidates, dataset, tolerances={"fp32": strict, "fp16": loose})
    assert [len(stage.comparison.failures) for stage in report.stages if stage.comparison] == [1, 0]
    assert report.failures[0].startswith("fp32: smallest cosine")
    by_map = compare(
        reference,
        [Candidate("coarse", lambda: make_embedder(rounding=120.0))],
        dataset,
        tolerances={"fp32": Tolerance(0.001, -1)},
    )
    assert len(by_map.failures) == 1
    assert "mAP differs by" in by_map.failures[0]


class Given:
    """A backend that answers with given embeddings, whatever it sees."""

    def __init__(self, embedder: Embedder, features: NDArray[np.float32]) -> None:
        self.name, self.device, self.manifest, self.max_batch = "given", "cpu", embedder.manifest, None
        self._left = features

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        answer, self._left = self._left[: len(images)], self._left[len(images) :]
        return answer

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(("nearer", "fails"), [(1e-6, False), (4e-4, True)])
def test_images_at_nearly_the_same_distance_may_change_places(
    dataset: ReidDataset, make_embedder: MakeEmbedder, nearer: float, fails: bool
) -> None:
    """A match and somebody else, as near to a query as each other but for so much, once more and once less."""
    features = np.concatenate([half.features for half in embed_halves(make_embedder(), dataset)])
    is_own = np.array([image.person_id == dataset.query[0].person_id for image in dataset.gallery])
    own, other = (len(dataset.query) + np.flatnonzero(chosen)[0] for chosen in (is_own, ~is_own))
    left, right = features.copy(), features.copy()
    for each, sign in ((left, -1), (right, 1)):
        each[other] = each[own] + sign * nearer * each[0]

    def given(rows: NDArray[np.float32]) -> Embedder:
        return Embedder(Given(make_embedder(), rows))

    report = compare(Candidate("one.pt", lambda: given(left)), [Candidate("other.onnx", lambda: given(right))], dataset)
    comparison = report.stages[0].comparison
    assert comparison is not None
    assert comparison.difference is not None
    assert comparison.difference.mAP < -0.0001
    said = report.failures if fails else report.remarks
    assert said[0].startswith(f"other.onnx: mAP differs by {100 * comparison.difference.mAP:+.4f} points")
    assert (len(report.failures), len(report.remarks)) == (int(fails), int(not fails))
    assert all(line in report.table() and line in render_html(report) for line in report.remarks)


@pytest.fixture
def many(tmp_path: Path) -> ReidDataset:
    """120 queries of one match each, and five distractors."""
    picture = np.zeros((24, 12, 3), np.uint8)
    names = ["bounding_box_train/0999_c1s1_000001_00.png"]
    names += [f"query/{person:04d}_c1s1_000001_00.png" for person in range(1, 121)]
    names += [f"bounding_box_test/{person:04d}_c2s1_000001_00.png" for person in range(1, 121)]
    names += [f"bounding_box_test/0000_c3s1_00000{number}_00.png" for number in range(1, 6)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), picture)
    return open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("change", "swaps", "said"),
    [
        (0.9e-5, 1, "points, by +0.0000 without swaps of near ties (images"),
        (1.1e-5, 1, "points, by -0.4167 without swaps of near ties; 0.01 allowed"),
        (0.9e-5, 5, "points, by +0.0000 without swaps of near ties, but more than 1 cannot be theirs"),
    ],
)
def test_how_near_ties_are_and_how_much_they_explain(
    many: ReidDataset, make_embedder: MakeEmbedder, change: float, swaps: int, said: str
) -> None:
    """Distractors are behind the matches of some queries by half the change, and then before them by as much."""
    query = np.random.default_rng(8).normal(size=(120, 27))
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    across = np.random.default_rng(9).normal(size=(120, 27))
    across -= (across * query).sum(axis=1, keepdims=True) * query
    across /= np.linalg.norm(across, axis=1, keepdims=True)

    def turned(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        return cosines[:, None] * query[: len(cosines)] + np.sqrt(1 - cosines[:, None] ** 2) * across[: len(cosines)]

    def given(sign: int) -> Embedder:
        nearly = np.where(np.arange(5) < swaps, 0.9 + sign * change / 2, -0.9)
        people = {image.name: place for place, image in enumerate(many.gallery)}
        rows = np.empty((125, 27))
        rows[[place for name, place in people.items() if "/0000_" in name]] = turned(nearly)
        rows[[place for name, place in people.items() if "/0000_" not in name]] = turned(np.full(120, 0.9))
        return Embedder(Given(make_embedder(), np.concatenate([query, rows]).astype(np.float32)))

    report = compare(Candidate("one.pt", lambda: given(-1)), [Candidate("other.onnx", lambda: given(1))], many)
    (line,) = (*report.failures, *report.remarks)
    assert said in line
    assert f"mAP differs by {-50 * swaps / 120:+.4f}" in line
    assert bool(report.remarks) == ("(images" in said)


def test_of_a_model_that_gives_nearly_the_same_for_every_image_ties_explain_nothing(
    dataset: ReidDataset, make_embedder: MakeEmbedder
) -> None:
    features = np.concatenate([half.features for half in embed_halves(make_embedder(), dataset)])
    collapsed = features[0] + 1e-6 * features
    mixed = np.random.default_rng(0).permutation(collapsed)

    def given(rows: NDArray[np.float32]) -> Embedder:
        return Embedder(Given(make_embedder(), rows))

    report = compare(
        Candidate("one.pt", lambda: given(collapsed)), [Candidate("mixed.onnx", lambda: given(mixed))], dataset
    )
    assert report.stages[0].comparison is not None
    assert report.stages[0].comparison.agreement is not None
    assert report.stages[0].comparison.agreement.min_cosine == pytest.approx(1, abs=1e-9)
    assert len(report.failures) == 1
    assert "by +0.0000 without swaps of near ties, but more than 4.16667 cannot be theirs" in report.failures[0]


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 0.001), ("fp16", 0.01)])
def test_a_lost_norm_fails_though_every_cosine_and_figure_agrees(
    dataset: ReidDataset,
    reference: Candidate,
    make_embedder: MakeEmbedder,
    tmp_path: Path,
    precision: str,
    allowed: float,
) -> None:
    features = np.concatenate([half.features for half in embed_halves(make_embedder(), dataset)])
    save_manifest(tmp_path, make_embedder(precision=precision).manifest)
    lengths = np.ones((len(features), 1), np.float32)
    for factor, failures in ((1 + 0.9 * allowed, 0), (1 - 0.9 * allowed, 0), (1 + 1.1 * allowed, 1), (37, 1)):
        lengths[5] = factor
        write_trtexec(tmp_path / "0000.json", features * lengths)
        report = compare(reference, [ExportedCandidate("outputs", tmp_path)], dataset)
        assert len(report.failures) == failures
    assert report.stages[0].comparison is not None
    assert report.stages[0].comparison.agreement is not None
    assert report.stages[0].comparison.agreement.max_length_error == pytest.approx(36, rel=1e-6)
    assert "by up to 3,600.00 %, more than" in report.failures[0]


def test_nan_is_counted_and_fails(dataset: ReidDataset, reference: Candidate, make_embedder: MakeEmbedder) -> None:
    broken = Candidate("nan.onnx", lambda: Embedder(Broken(make_embedder(), fails=False), batch_size=10))
    report = compare(reference, [broken], dataset)
    (stage,) = report.stages
    images = len(dataset.query) + len(dataset.gallery)
    assert stage.comparison is not None
    assert stage.comparison.agreement is not None
    assert stage.comparison.agreement.non_finite == -(-images // 10)
    assert stage.figures is stage.reranked is stage.comparison.difference is None
    assert report.failures == (f"nan.onnx: {-(-images // 10)} embeddings hold NaN or infinity",)
    json.dumps(report.to_json(), allow_nan=False)
    with pytest.raises(InputError, match=r"reference nan\.onnx gives embeddings with NaN"):
        compare(broken, [reference], dataset)


@pytest.mark.parametrize("kind", [DeviceError, EngineMismatchError, MissingDependencyError])
def test_what_this_machine_lacks_is_listed_and_is_no_failure(
    dataset: ReidDataset, reference: Candidate, make_embedder: MakeEmbedder, kind: type[LgeuError]
) -> None:
    def lacking() -> Embedder:
        raise kind("no GPU was found;\nuse a machine with one")

    report = compare(reference, [Candidate("model.engine", lacking), Candidate("same.onnx", make_embedder)], dataset)
    assert [(item.name, item.reason) for item in report.not_run] == [
        ("model.engine", "no GPU was found; use a machine with one")
    ]
    assert [stage.name for stage in report.stages] == ["same.onnx"]
    assert report.failures == ()
    with pytest.raises(kind):
        compare(Candidate("model.engine", lacking), [], dataset)


def test_a_candidate_that_opens_and_then_fails_is_a_failure(
    dataset: ReidDataset, reference: Candidate, make_embedder: MakeEmbedder
) -> None:
    fails = Candidate("fails.onnx", lambda: Embedder(Broken(make_embedder(precision="fp16"), fails=True)))
    report = compare(reference, [fails, Candidate("same.onnx", make_embedder)], dataset)
    assert report.not_run == ()
    assert [stage.name for stage in report.stages] == ["fails.onnx", "same.onnx"]
    assert (report.stages[0].precision, report.stages[0].figures) == ("fp16", None)
    assert report.failures == ("fails.onnx: did not run to its end: the device fell off",)
    assert re.search(r"^fails\.onnx .*FAILED$", report.table(), re.MULTILINE)
    html = render_html(report)
    assert "Beyond the tolerances" in html
    assert "did not run to its end: the device fell off" in html
    with pytest.raises(DeviceError, match="fell off"):
        compare(fails, [], dataset)


def test_a_damaged_candidate_is_an_error_and_not_left_out(
    dataset: ReidDataset, reference: Candidate, tmp_path: Path
) -> None:
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(b"not ONNX")
    with pytest.raises(InputError, match=r"model\.onnx"):
        compare(reference, [candidate(damaged, Embedder.open)], dataset)


def test_another_embedding_size_fails(dataset: ReidDataset, reference: Candidate, make_embedder: MakeEmbedder) -> None:
    report = compare(reference, [Candidate("small.onnx", lambda: make_embedder(size=9))], dataset)
    assert report.failures == ("small.onnx: embeddings have 9 elements, the reference's 27: another model",)


def write_trtexec(path: Path, features: NDArray[np.float32]) -> Path:
    dimensions = "x".join(map(str, features.shape))
    path.write_text(json.dumps([{"name": "embeddings", "dimensions": dimensions, "values": features.ravel().tolist()}]))
    return path


def test_exported_embeddings_are_compared_as_a_model_is(
    dataset: ReidDataset, reference: Candidate, make_embedder: MakeEmbedder, tmp_path: Path
) -> None:
    features = np.concatenate([half.features for half in embed_halves(make_embedder(), dataset)])
    path = write_trtexec(tmp_path / "trtexec.json", features)
    report = compare(reference, [ExportedCandidate("trtexec.json", path)], dataset)
    (stage,) = report.stages
    assert (stage.milliseconds_per_image, stage.batch_size, report.failures) == (None, None, ())
    path.write_text(json.dumps([]))
    with pytest.raises(InputError, match="not what `trtexec"):
        compare(reference, [ExportedCandidate("trtexec.json", path)], dataset)


def test_exported_embeddings_are_judged_by_the_precision_of_their_manifest(
    dataset: ReidDataset, reference: Candidate, make_embedder: MakeEmbedder, tmp_path: Path
) -> None:
    half = make_embedder(rounding=2.0, precision="fp16")
    features = np.concatenate([part.features for part in embed_halves(half, dataset)])
    write_trtexec(tmp_path / "0000.json", features)
    folder = ExportedCandidate("outputs", tmp_path)
    report = compare(reference, [folder], dataset)
    assert "no manifest: judged as fp32" in report.stages[0].runs_on
    assert report.stages[0].precision == "fp32"
    assert report.failures[0].startswith("outputs: smallest cosine")
    save_manifest(tmp_path, half.manifest)
    judged = compare(reference, [folder], dataset, tolerances={"fp16": Tolerance(100, 0.99)})
    assert judged.stages[0].precision == "fp16"
    assert judged.failures == ()


def test_a_candidate_is_what_its_suffix_says(tmp_path: Path, make_embedder: MakeEmbedder) -> None:
    for name in ("model.onnx", "out.json"):
        (tmp_path / name).touch()
    opened: list[Path] = []

    def open_model(path: Path) -> Embedder:
        opened.append(path)
        return make_embedder()

    model = candidate(tmp_path / "model.onnx", open_model)
    assert isinstance(model, Candidate)
    assert opened == []
    model.open()
    assert opened == [tmp_path / "model.onnx"]
    for name in ("out.json", "."):
        assert isinstance(candidate(tmp_path / name, open_model), ExportedCandidate)
    with pytest.raises(InputError, match="does not exist"):
        candidate(tmp_path / "typo.onnx", open_model)


def test_files_of_the_same_name_are_told_apart_by_their_folders() -> None:
    files = ["x/a/model.onnx", "y/a/model.onnx", "y/b/model.onnx", "checkpoint.pt", "z/checkpoint.pt", "z/only.onnx"]
    paths = [Path("/data") / file for file in files]
    assert distinct_names(paths) == [
        "x/a/model.onnx", "y/a/model.onnx", "b/model.onnx", "data/checkpoint.pt", "z/checkpoint.pt", "only.onnx",
    ]  # fmt: skip
    assert distinct_names([Path("/m.onnx"), Path("/a/m.onnx")]) == ["/m.onnx", "a/m.onnx"]
    assert distinct_names([Path("m.onnx"), Path("m.onnx")]) == ["m.onnx", "m.onnx"]


def test_cosine_gaps_fall_into_their_half_decade() -> None:
    angles = np.arccos(1 - np.array([3e-1, 3e-2, 3e-3]))
    right = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    left = np.tile([1.0, 0.0], (3, 1))
    gaps = agreement(left.astype(np.float32), right.astype(np.float32)).cosine_gaps
    filled = [(GAP_EDGES[bin], GAP_EDGES[bin + 1]) for bin, count in enumerate(gaps) if count]
    assert all(low < gap < high for (low, high), gap in zip(filled, [3e-3, 3e-2, 3e-1], strict=True))


def test_rows_are_compared_a_block_at_a_time() -> None:
    random = np.random.default_rng(4)
    left = random.normal(size=(4001, 500)).astype(np.float32)
    right = (left + random.normal(scale=0.1, size=left.shape)).astype(np.float32)
    right[[7, 4000], 3] = np.nan, np.inf
    tracemalloc.start()
    close = agreement(left, right)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * left.nbytes
    finite = np.setdiff1d(np.arange(4001), [7, 4000])
    one, other = (each[finite].astype(np.float64) for each in (left, right))
    lengths = [np.sqrt((each**2).sum(axis=1)) for each in (one, other)]
    cosines = (one * other).sum(axis=1) / lengths[0] / lengths[1]
    assert (close.min_cosine, close.mean_cosine) == pytest.approx((cosines.min(), cosines.mean()), abs=1e-14)
    assert close.max_abs_difference == np.abs(one - other).max()
    assert close.max_length_error == pytest.approx(np.abs(lengths[1] / lengths[0] - 1).max(), rel=1e-12)
    assert (close.non_finite, sum(close.cosine_gaps)) == (2, 3999)


def test_no_direction_and_no_finite_row_do_not_stop_the_comparison() -> None:
    ones = np.ones((2, 3), np.float32)
    assert agreement(ones, np.zeros((2, 3), np.float32)).min_cosine == 0
    assert agreement(ones, np.full((2, 3), np.inf, np.float32)).min_cosine is None


def full_report(dataset: ReidDataset, make_embedder: MakeEmbedder) -> ParityReport:
    def no_gpu() -> Embedder:
        raise DeviceError("<b>no GPU</b> & no driver")

    return compare(
        Candidate("<script>alert(1)</script>.pt", make_embedder),
        [
            Candidate("same.onnx", make_embedder),
            Candidate("coarse.fp16.onnx", lambda: make_embedder(rounding=120.0, precision="fp16")),
            Candidate("nan.onnx", lambda: Embedder(Broken(make_embedder(), fails=False))),
            Candidate("small.onnx", lambda: make_embedder(size=9)),
            Candidate("model.engine", no_gpu),
        ],
        dataset,
    )


def test_the_report_is_one_json_and_one_html_without_links(
    dataset: ReidDataset, make_embedder: MakeEmbedder, tmp_path: Path
) -> None:
    report = full_report(dataset, make_embedder)
    html = write_report(report, tmp_path / "new" / "out").read_text()
    content = json.loads((tmp_path / "new" / "out" / "report.json").read_text())
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == ["report.html", "report.json"]
    assert content["failures"] == list(report.failures)
    assert len(content["failures"]) == 4
    assert content["stages"][0]["figures"]["mAP"] == report.stages[0].figures.mAP  # type: ignore[union-attr]
    assert content["data"] == {
        "name": "crowd (person%2)",
        "synthetic": False,
        "queries": 12,
        "valid_queries": 12,
        "gallery": 12,
        "junk": 0,
    }
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.pt" in html
    assert "&lt;b&gt;no GPU&lt;/b&gt; &amp; no driver" in html
    assert set(re.findall(r'(?:src|href)="([^,"]*)', html)) == {"data:image/svg+xml;base64"}
    assert "http" not in re.sub(r'src="[^"]*"', "", html)
    assert html.count("<img ") == 2
    assert "Beyond the tolerances" in html
    assert "Synthetic data" not in html


def test_plots_name_every_stage_as_its_file_is_called(dataset: ReidDataset, make_embedder: MakeEmbedder) -> None:
    names = ["_reference.pt", "_model.onnx", "cost$a_b$.onnx"]
    first, *others = (Candidate(name, make_embedder) for name in names)
    report = compare(first, others, dataset)
    for plot, shown in ((cmc_plot(report), names), (gap_plot(report), names[1:])):
        texts = [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", plot)]
        assert set(shown) <= set(texts)


def test_a_report_that_cannot_all_be_written_leaves_the_earlier_one(
    dataset: ReidDataset,
    reference: Candidate,
    full_disk: Callable[[int], AbstractContextManager[None]],
    tmp_path: Path,
) -> None:
    write_report(compare(reference, [], dataset), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    later = compare(reference, [reference], dataset)
    with pytest.raises(InputError, match=r"cannot write .*report"), full_disk(len(before["report.html"])):
        write_report(later, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_report_says_when_the_data_is_synthetic_and_when_nothing_ran(
    dataset: ReidDataset, reference: Candidate
) -> None:
    synthetic = dataclasses.replace(dataset, synthetic=True)
    html = render_html(compare(reference, [], synthetic))
    assert "random weights" in html
    assert "Synthetic data" in html
    assert "Nothing could run here" in html
    assert "Beyond the tolerances" not in html


def test_a_report_that_cannot_be_written_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_report(tmp_path)
    check_report(tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match=r"file is no folder that can be written to"):
            check_report(out)
    for module in ("jinja2", "matplotlib.figure"):
        with monkeypatch.context() as context:
            context.setitem(sys.modules, module, None)
            with pytest.raises(MissingDependencyError, match=r"lgeu-reid\[report\]"):
                check_report(tmp_path)


def test_without_scipy_nothing_is_run(
    dataset: ReidDataset, make_embedder: MakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(MissingDependencyError, match="re-ranking needs"):
        compare(Candidate("fails", lambda: Embedder(Broken(make_embedder(), fails=True))), [], dataset)
