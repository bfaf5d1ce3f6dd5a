"""`lgeu evaluate`: what it writes, and that bad input is one line and status 2 before anything is written."""

import csv
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from eval.evaluation import evaluate_files, evaluate_run, read_run
from eval.expansion import Expansion
from eval.reranking import Reranking
from lgeu.cli import main
from lgeu.sizes import parse_size
from runtime.embeddings import Embeddings
from runtime.errors import InputError
from train.checkpoint import untrained_checkpoint

FIGURES = ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP")
Arrays = dict[str, dict[str, np.ndarray]]
Refused = Callable[..., str]


def make_arrays(noise: float = 0.5) -> Arrays:
    """Eight persons under three cameras, two images each; the same images each time, embedded with noise as told."""
    random = np.random.default_rng(3)
    persons, cameras = np.repeat(np.arange(1, 9), 6), np.tile([1, 1, 2, 2, 3, 3], 8)
    features = random.normal(size=(9, 8))[persons] + noise * random.normal(size=(48, 8))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    query = np.arange(0, 48, 3)
    gallery = np.setdiff1d(np.arange(48), query)
    persons[-1] = -1
    return {
        half: {
            "features": features[rows],
            "person_ids": persons[rows],
            "camera_ids": cameras[rows],
            "names": np.array([f"{half}/{row:04d}.jpg" for row in rows]),
        }
        for half, rows in (("query", query), ("gallery", gallery))
    }


def save(folder: Path, arrays: Arrays) -> list[str]:
    """Writes both files whatever is in them; gives the options that name them."""
    folder.mkdir(exist_ok=True)
    for half, content in arrays.items():
        np.savez(folder / f"{half}.npz", **content)
    return ["--query", str(folder / "query.npz"), "--gallery", str(folder / "gallery.npz")]


def compared(options: list[str]) -> list[str]:
    return [option.replace("--", "--compare-") if option.startswith("--") else option for option in options]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return save(tmp_path / "run", make_arrays())


@pytest.fixture
def baseline(tmp_path: Path) -> list[str]:
    return compared(save(tmp_path / "baseline", make_arrays(noise=1.5)))


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs an evaluation that must fail for the user's mistake and write nothing; gives its one line."""

    def run(*options: str | Path) -> str:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        capfd.readouterr()
        status = main(["evaluate", *map(str, options)])
        captured = capfd.readouterr()
        lines = [line for line in captured.err.splitlines() if line.startswith("lgeu")]
        assert (status, len(lines), captured.out) == (2, 1, ""), captured.err
        assert "Traceback" not in captured.err
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        return lines[0]

    return run


def test_json_and_table_and_csv_say_the_same(
    files: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, table = tmp_path / "new" / "figures.json", tmp_path / "new" / "queries.csv"
    options = ["--rerank", "--k1", "5", "--k2", "2", "--lambda", "0.4", "--flavour", "d1", "--memory-limit", "1GB"]
    assert main(["evaluate", *files, *options, "--json", str(out), "--per-query", str(table)]) == 0
    expected = evaluate_files(Path(files[1]), Path(files[3]), Reranking(5, 2, 0.4, "d1"))
    content = json.loads(out.read_text())
    assert content == expected.to_json()
    assert {*FIGURES, "queries", "valid_queries", "gallery", "junk", "settings", "source"} < content.keys()
    assert capfd.readouterr().out == expected.table() + "\n"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert np.mean([float(row["reranked_average_precision"]) for row in rows]) == pytest.approx(content["mAP"])
    assert sorted(path.name for path in out.parent.iterdir()) == ["figures.json", "queries.csv"]


def test_two_runs_are_compared_before_and_after_reranking(
    files: list[str], baseline: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    assert main(["evaluate", *files, *baseline, "--rerank", "--json", str(out)]) == 0
    content = json.loads(out.read_text())
    comparison = content["comparison"]
    for name in FIGURES:
        after, before = comparison["difference"][name], comparison["difference_before_reranking"][name]
        assert after["difference"] == pytest.approx(content[name] - comparison["baseline"][name])
        earlier = content["before_reranking"][name] - comparison["baseline"]["before_reranking"][name]
        assert before["difference"] == pytest.approx(earlier)
        assert before["low"] <= before["high"]
    assert comparison["difference_before_reranking"]["mAP"]["resolved"]
    printed = capfd.readouterr().out
    assert f"compared with query: {baseline[1]}, gallery: {baseline[3]}" in printed
    assert printed.count("resolved") > 12


def test_both_runs_are_expanded(
    files: list[str], baseline: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    options = ["--query-expansion", "3", "--database-augmentation", "2", "--alpha", "1.5", "--rerank", "--k1", "5"]
    assert main(["evaluate", *files, *baseline, *options, "--json", str(out)]) == 0
    content = json.loads(out.read_text())
    expansion, reranking = Expansion(3, 2, 1.5), Reranking(k1=5)
    runs = [read_run(Path(options[1]), Path(options[3])) for options in (files, baseline)]
    ours, theirs = (evaluate_run(run, reranking, expansion=expansion) for run in runs)
    comparison = content.pop("comparison")
    assert content == ours.to_json()
    assert comparison["baseline"] == theirs.to_json()
    settings = {"query_neighbours": 3, "gallery_neighbours": 2, "alpha": 1.5}
    assert content["settings"]["expansion"] == comparison["baseline"]["settings"]["expansion"] == settings
    assert ours.metrics.mAP != evaluate_run(runs[0]).metrics.mAP
    printed = capfd.readouterr().out
    assert "expansion: queries by 3, gallery by 2, alpha 1.5\n" in printed
    assert printed.count("\nexpanded ") == 2
    assert "\ncosine" not in printed


def set_feature(value: float) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["features"][[3, 7], 1] = value

    return change


def set_first(name: str, value: int) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name][2] = value

    return change


def as_type(name: str, kind: object) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = arrays[name].astype(kind)  # type: ignore[call-overload]

    return change


def shorten(*names: str, rows: int) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays.update({name: arrays[name][:rows] for name in names})

    return change


def narrow(arrays: dict[str, np.ndarray]) -> None:
    arrays["features"] = arrays["features"][:, :5]


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (set_feature(np.nan), ["2 of", "first is row 3", "NaN or infin"]),
        (set_feature(-np.inf), ["2 of", "first is row 3", "NaN or infin"]),
        (narrow, ["features", "5", "8", "same model"]),
        (shorten("camera_ids", rows=4), ["camera_ids has 4 rows and features"]),
        (shorten("features", rows=4), ["person_ids has", "features 4"]),
        (as_type("person_ids", np.float32), ["person_ids is 1-D of type float32; expected 1-D integer"]),
        (as_type("camera_ids", np.str_), ["camera_ids is 1-D of type <U", "expected 1-D integer"]),
        (as_type("names", object), ["is not a readable .npz without pickles"]),
        (set_first("person_ids", -2), ["1 of", "unknown person", "row 2"]),
        (set_first("camera_ids", -1), ["1 of", "unknown camera", "row 2"]),
    ],
)
@pytest.mark.parametrize("half", ["query", "gallery"])
def test_bad_embeddings_are_one_line(
    refused: Refused,
    tmp_path: Path,
    half: str,
    change: Callable[[dict[str, np.ndarray]], None],
    messages: list[str],
) -> None:
    arrays = make_arrays()
    change(arrays[half])
    line = refused(*save(tmp_path / "run", arrays), "--rerank", "--json", tmp_path / "figures.json")
    assert half in line
    for message in messages:
        assert message in line


def test_an_empty_gallery_and_one_of_junk_are_refused(refused: Refused, tmp_path: Path) -> None:
    arrays = make_arrays()
    arrays["gallery"]["person_ids"][:] = -1
    assert "gallery" in refused(*save(tmp_path / "run", arrays))
    arrays["gallery"] = {name: array[:0] for name, array in arrays["gallery"].items()}
    line = refused(*save(tmp_path / "run", arrays))
    assert "gallery" in line
    assert "at least one" in line


def test_queries_without_any_match_are_refused(refused: Refused, tmp_path: Path) -> None:
    arrays = make_arrays()
    arrays["query"]["person_ids"] += 100
    assert "none of the 16 queries has a match" in refused(*save(tmp_path / "run", arrays))


def test_too_little_memory_is_refused(refused: Refused, files: list[str], tmp_path: Path) -> None:
    options = ["--rerank", "--memory-limit", "1kB", "--json", tmp_path / "figures.json"]
    line = refused(*files, *options)
    assert "re-ranking 16 queries and 31 gallery images of 8 elements needs about" in line
    assert "the limit is 1,000 bytes" in line


def test_damaged_and_missing_files_are_refused(refused: Refused, files: list[str], tmp_path: Path) -> None:
    gallery = Path(files[3])
    whole = gallery.read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "is not a readable .npz"),
        (b"", "is empty"),
        (b"not an archive", "is not a readable .npz"),
    ):
        gallery.write_bytes(content)
        line = refused(*files)
        assert str(gallery) in line
        assert message in line
    np.save(gallery.with_suffix(".npy"), np.zeros(3))
    gallery.with_suffix(".npy").rename(gallery)
    assert "holds a single array" in refused(*files)
    with zipfile.ZipFile(gallery, "w") as archive:
        archive.writestr("features.npy", b"\x93NUMPY")
    assert "is not a readable .npz" in refused(*files)
    gallery.unlink()
    assert "does not exist" in refused(*files)


def test_runs_that_cannot_be_compared_are_refused(refused: Refused, files: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    arrays = make_arrays()
    arrays["query"]["person_ids"][9] = 77
    assert "differ in the person of 1 of 16 queries, the first is row 9" in refused(
        *files, *compared(save(other, arrays))
    )
    arrays = make_arrays()
    arrays["gallery"] = {name: array[1:] for name, array in arrays["gallery"].items()}
    assert "different galleries" in refused(*files, *compared(save(other, arrays)))
    arrays = make_arrays()
    arrays["gallery"]["features"][5] = np.nan
    assert "the run to compare with: gallery: 1 of" in refused(*files, *compared(save(other, arrays)))
    one = make_arrays()
    for half in one.values():
        half.update({name: array[half["person_ids"] == 3] for name, array in half.items()})
    options = save(other, one)
    assert "needs at least two" in refused(*options, *compared(options))


def test_usage_and_outputs_are_checked_before_any_file_is_read(refused: Refused, tmp_path: Path) -> None:
    """None of the embeddings is there, so that reading them would be the error."""
    files = ["--query", str(tmp_path / "q.npz"), "--gallery", str(tmp_path / "g.npz")]
    (tmp_path / "file").touch()
    for options, message in (
        (["--json", tmp_path], "it is a folder; name a file"),
        (["--json", tmp_path / "file" / "a.json"], "file is no folder that can be written to"),
        (["--per-query", tmp_path / "file" / "a.csv"], "file is no folder that can be written to"),
        (["--per-query", tmp_path / "q.npz"], "q.npz is read, or written twice"),
        (["--per-query", tmp_path / "a", "--json", tmp_path / "." / "a"], "a is read, or written twice"),
        (["--embeddings", tmp_path, "--json", tmp_path / "manifest.json"], "manifest.json is read, or written twice"),
        (["--rerank", "--memory-limit", "lots"], "'lots' is no size of memory"),
        (["--rerank", "--k1", "0"], "k1 is 0"),
        (["--memory-limit", "4GB"], "add --rerank"),
        (["--query-expansion", "0"], "expansion: 0 neighbours for queries and 0 for the gallery"),
        (["--database-augmentation", "-3"], "-3 for the gallery"),
        (["--query-expansion", "3", "--alpha", "nan"], "alpha is nan"),
        (["--alpha", "2"], "add one of them"),
        (["--compare-query", tmp_path / "c.npz"], "--compare-query and --compare-gallery go together"),
        (["--plugin", "lib.so"], "either --query and --gallery, or --model and --data"),
    ):
        assert message in refused(*files, *options)


def test_the_manifest_of_other_embeddings_is_not_replaced(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "embeddings.npz").touch()
    options = ["--model", str(tmp_path / "a.onnx"), "--data", str(tmp_path), "--embeddings", str(tmp_path)]
    assert "holds embeddings.npz, and manifest.json there, which this run writes" in refused(*options)


def test_a_model_is_compared_with_embeddings_that_were_kept(
    refused: Refused, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    for number in range(24):
        path = tmp_path / "people" / f"p{number // 6}" / f"cam{number % 2}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), random.integers(0, 256, (64, 32, 3), dtype=np.uint8))
    models = [
        untrained_checkpoint(
            tmp_path / f"{seed}.pt", backbone="mobilenetv3_small_050", height=64, width=32, strips=2, seed=seed
        )
        for seed in (0, 1)
    ]
    data = ["--data", str(tmp_path / "people"), "--split-by", "person%2"]
    kept, out = tmp_path / "kept", tmp_path / "figures.json"
    assert main(["evaluate", "--model", str(models[0]), *data, "--embeddings", str(kept)]) == 0
    compare = ["--compare-query", str(kept / "query.npz"), "--compare-gallery", str(kept / "gallery.npz")]
    assert main(["evaluate", "--model", str(models[0]), *data, *compare, "--json", str(out)]) == 0
    comparison = json.loads(out.read_text())["comparison"]
    assert {comparison["difference"][name]["high"] for name in FIGURES} == {0.0}
    assert main(["evaluate", "--model", str(models[1]), *data, *compare, "--json", str(out)]) == 0
    assert json.loads(out.read_text())["source"]["model"].startswith(str(models[1]))

    model = ["--model", str(models[1]), *data, *compare]
    assert "is read, or written twice" in refused(*model, "--embeddings", kept)
    half = Embeddings.load(kept / "query.npz")
    half.person_ids[0] += 2
    half.save(kept / "query.npz")
    models[1].write_bytes(b"the first thing that would be opened")
    assert "differ in the person of 1 of" in refused(*model)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused(refused: Refused, files: list[str]) -> None:
    line = refused(*files, "--search-on", "cuda")
    assert re.search(r"--search-on cuda was asked for, but torch .* finds no GPU; leave it out", line)


def test_the_device_is_the_model_s(refused: Refused, files: list[str]) -> None:
    assert "--device and --plugin for the model" in refused(*files, "--device", "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
def test_the_gpu_says_the_same(files: list[str], baseline: list[str], tmp_path: Path) -> None:
    results = {}
    for device in ("cpu", "cuda"):
        options = ["--rerank", "--query-expansion", "2", "--search-on", device, "--json", str(tmp_path / device)]
        assert main(["evaluate", *files, *baseline, *options]) == 0
        results[device] = json.loads((tmp_path / device).read_text())
    for name in FIGURES:
        assert results["cuda"][name] == pytest.approx(results["cpu"][name], abs=1e-5)


def test_sizes_of_memory() -> None:
    assert parse_size("4GB") == parse_size("4 gb") == parse_size("4000000000") == parse_size("4000MB") == 4 * 10**9
    assert parse_size("1.5GiB") == 3 << 29
    assert (parse_size("7B"), parse_size("2kB"), parse_size("2KiB")) == (7, 2000, 2048)
    for text in ("", "GB", "-4GB", "0", "0.2B", "4 G", "4GBB", "nan", "1e9", "four GB"):
        with pytest.raises(InputError, match="is no size of memory"):
            parse_size(text)
