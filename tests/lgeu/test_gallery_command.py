"""`lgeu gallery`: from crops and embeddings to people found, and its refusals."""

import csv
import io
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from lgeu.cli import main
from runtime.embedder import Embedder
from runtime.embeddings import Embeddings, save_manifest
from runtime.gallery_changes import build_gallery
from runtime.gallery_entries import GalleryEntries
from runtime.gallery_index import GalleryIndex
from runtime.gallery_manifest import ModelIdentity
from runtime.images import read_image
from train.checkpoint import untrained_checkpoint

pytest.importorskip("faiss", reason="FAISS is not installed")

PEOPLE = ("7", "anna", "bo")


def run(*arguments: object) -> int:
    return main(["gallery", *map(str, arguments)])


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two noise pictures each of three people, in a folder for each."""
    folder = tmp_path_factory.mktemp("crops") / "people"
    random = np.random.default_rng(0)
    for person in PEOPLE:
        draw(folder / person, random)
    return folder


def draw(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for number in (1, 2):
        noise = random.integers(0, 256, (8, 4, 3), np.uint8)
        image = cv2.resize(noise, (32, 64), interpolation=cv2.INTER_NEAREST)
        assert cv2.imwrite(str(folder / f"cam{number}_{number}.png"), image)


@pytest.fixture(scope="module")
def model(onnx_folder: Path) -> Path:
    return onnx_folder / "model.onnx"


@pytest.fixture(scope="module")
def built(crops: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "gallery"
    assert run("build", path, crops, "--model", model, "--time", "2026-05-01T12:00:00+02:00") == 0
    return path


@pytest.fixture
def gallery(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "gallery")
    return tmp_path / "gallery"


def embedded(model: Path, paths: list[Path]) -> NDArray[np.float32]:
    with Embedder.open(model, device="cpu") as embedder:
        return embedder.embed([read_image(path) for path in paths], "BGR")


def found(capfd: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, str]]:
    capfd.readouterr()
    assert run("search", *arguments, "--format", "csv") == 0
    return list(csv.DictReader(io.StringIO(capfd.readouterr().out)))


def test_a_gallery_of_crops(built: Path, crops: Path, model: Path) -> None:
    index = GalleryIndex.open(built)
    paths = sorted(crops.glob("*/*.png"))
    assert index.entries.people() == {7: "", 8: "anna", 9: "bo"}
    assert index.entries.names.tolist() == [str(path.relative_to(crops)) for path in paths]
    assert index.entries.camera_ids.tolist() == [1, 2] * 3
    assert set(index.entries.times) == {1777629600.0}
    result = index.search(embedded(model, paths), 1)
    assert result.rows[:, 0].tolist() == list(range(6))
    np.testing.assert_allclose(result.scores, 1, atol=1e-6)


def test_all_files_of_one_checkpoint_search_it(
    built: Path, crops: Path, checkpoint: Path, onnx_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    query = crops / "bo" / "cam1_1.png"
    for file in (checkpoint, onnx_folder / "model.onnx", onnx_folder / "model.fp16.onnx"):
        first, second = found(capfd, built, query, "--model", file, "-k", 2)
        assert (first["person_name"], first["name"], first["rank"]) == ("bo", "bo/cam1_1.png", "1")
        assert float(first["score"]) > 0.999 >= float(second["score"]) - 1e-3
        assert (first["known"], first["time"]) == ("", "2026-05-01T10:00:00+00:00")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_somebody_with_a_name_never_gets_the_number_of_somebody_in_another_source(
    crops: Path, model: Path, tmp_path: Path, order: tuple[int, int]
) -> None:
    named, numbered = tmp_path / "named", tmp_path / "numbered"
    for source, folder in (
        (crops / "anna", named / "anna"),
        (crops / "bo", named / "bo"),
        (crops / "7", numbered / "2"),
    ):
        shutil.copytree(source, folder)
    sources = [(named, numbered)[place] for place in order]
    assert run("build", tmp_path / "gallery", *sources, "--model", model) == 0
    assert GalleryIndex.open(tmp_path / "gallery").entries.people() == {2: "", 3: "anna", 4: "bo"}


def test_a_time_in_a_name_is_no_camera(crops: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "people" / "anna").mkdir(parents=True)
    shutil.copy(crops / "anna" / "cam1_1.png", tmp_path / "people" / "anna" / "20261130141640123456_1.png")
    assert run("build", tmp_path / "gallery", tmp_path / "people", "--model", model) == 0
    assert GalleryIndex.open(tmp_path / "gallery").entries.camera_ids.tolist() == [-1]


def test_another_checkpoint_is_refused(
    built: Path, crops: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = untrained_checkpoint(
        tmp_path / "other.pt", backbone="mobilenetv3_small_050", height=64, width=32, strips=1, seed=3
    )
    assert run("search", built, crops / "bo", "--model", other) == 2
    assert "was made by another model" in capfd.readouterr().err


def test_adding_by_name_and_removing(
    gallery: Path, crops: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("add", gallery, crops / "bo", "--person", "cy", "--model", model) == 0
    assert run("add", gallery, crops / "7", "--person", "anna", "--model", model) == 0
    assert "10 entries of 4 people, generation 3" in capfd.readouterr().out
    assert GalleryIndex.open(gallery).entries.people() == {7: "", 8: "anna", 9: "bo", 10: "cy"}
    assert run("remove", gallery, "--person", "anna") == 0
    assert "6 entries of 3 people" in capfd.readouterr().out
    assert {row["person_id"] for row in found(capfd, gallery, crops / "7", "--model", model)} == {"7", "9", "10"}
    assert run("remove", gallery, "--person", "anna") == 2
    assert "has nobody called 'anna'" in capfd.readouterr().err


def test_embeddings_with_their_manifest_and_without(
    crops: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(crops.glob("*/*.png"))
    file = tmp_path / "embeddings.npz"
    ids = np.array([3, 3, 0, -1, 4, 4], np.int64)
    Embeddings(
        embedded(model, paths), ids, np.ones(6, np.int64), np.array([path.name for path in paths], np.str_)
    ).save(file)
    assert run("build", tmp_path / "g", file) == 2
    assert "has no manifest.json beside it" in capfd.readouterr().err
    assert not (tmp_path / "g").exists()
    assert run("build", tmp_path / "g", file, "--model", model) == 0
    assert "4 entries of 2 people" in capfd.readouterr().out
    with Embedder.open(model, device="cpu") as embedder:
        save_manifest(tmp_path, embedder.manifest)
    assert run("add", tmp_path / "g", file) == 0
    people = [row["person_id"] for row in found(capfd, tmp_path / "g", file, "-k", 1)]
    assert [people[row] for row in (0, 1, 4, 5)] == ["3", "3", "4", "4"]


def test_what_is_printed(built: Path, crops: Path, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = (built, crops / "anna" / "cam2_2.png", "--model", model, "-k", 6, "--threshold", 0.99999)
    capfd.readouterr()
    assert run("search", *arguments, "--format", "json") == 0
    hits = json.loads(capfd.readouterr().out)
    assert [hit["known"] for hit in hits] == [True] + [False] * 5
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5, 6]
    assert run("search", *arguments) == 0
    header, first, second, *_ = capfd.readouterr().out.splitlines()
    assert header.split()[:3] == ["query", "rank", "person_id"]
    assert first.split()[:6] == ["cam2_2.png", "1", "8", "anna", "1.0000", "yes"]
    assert "unknown" in second


def test_a_threshold_that_is_kept(
    gallery: Path, crops: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("threshold", gallery, "--false-accept-rate", 0.2, "--save") == 0
    printed = capfd.readouterr().out
    assert "of 6 strangers" in printed
    kept = GalleryIndex.open(gallery).manifest.threshold
    assert kept is not None
    assert kept.false_accept_rate <= 0.2
    hits = found(capfd, gallery, crops / "bo", "--model", model)
    assert {hit["known"] for hit in hits if float(hit["score"]) < kept.score - 1e-5} == {"False"}
    assert run("info", gallery, "--verify", "--json", tmp_path / "info.json") == 0
    printed = capfd.readouterr().out
    assert f"{kept.score:.4f}" in printed
    assert "every file has the hash" in printed
    assert json.loads((tmp_path / "info.json").read_text())["who"][1] == {
        "person_id": 8,
        "person_name": "anna",
        "entries": 2,
    }


def test_a_threshold_of_queries_in_folders(
    built: Path, crops: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of two known people, whose pictures are the gallery's own, and a stranger."""
    queries = tmp_path / "queries"
    for person in ("7", "anna"):
        shutil.copytree(crops / person, queries / person)
    draw(queries / "dora", np.random.default_rng(1))
    assert run("threshold", built, "--queries", queries, "--model", model, "--false-accept-rate", 0.2) == 0
    chosen, accepted, identified = capfd.readouterr().out.splitlines()
    assert float(chosen.split()[1]) < 0.99
    assert accepted.endswith("of 6 strangers")
    assert identified == "identified: 100.0 % of 4 who are in the gallery"


def test_folders_whose_number_nobody_can_have_are_names(
    crops: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(crops / "7", tmp_path / "crops" / "0")
    shutil.copytree(crops / "bo", tmp_path / "crops" / ("9" * 19))
    assert run("build", tmp_path / "g", tmp_path / "crops", "--model", model) == 0
    assert GalleryIndex.open(tmp_path / "g").entries.people() == {1: "0", 2: "9" * 19}
    assert run("add", tmp_path / "g", crops / "bo", "--model", model, "--person", "0") == 0
    assert "6 entries of 2 people" in capfd.readouterr().out


def test_infer_takes_a_gallery(built: Path, crops: Path, model: Path, checkpoint: Path, tmp_path: Path) -> None:
    for file in (model, checkpoint):
        out = tmp_path / file.stem
        assert main(["infer", str(crops / "bo"), "--model", str(file), "--gallery", str(built), "--out", str(out)]) == 0
        rows = list(csv.DictReader((out / "matches.csv").open()))
        assert [(row["person_id"], row["gallery_name"]) for row in rows] == [
            ("9", "bo/cam1_1.png"),
            ("9", "bo/cam2_2.png"),
        ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "{built}", "{crops}", "--model", "{model}"), "is a gallery already"),
        (("build", "{new}", "{crops}"), "holds crops, which a model must embed; name it with --model"),
        (("build", "{new}", "{crops}/bo", "--model", "{model}"), "has no layout that is known here"),
        (("build", "{new}", "{crops}", "--model", "{model}", "--time", "yesterday"), "is not ISO 8601"),
        (("build", "{new}", "{crops}", "--model", "{model}", "--time", "2026-05-01T12:00:00"), "names no time zone"),
        (("search", "{new}", "{crops}/bo", "--model", "{model}"), "is not a gallery"),
        (("search", "{built}", "{crops}/bo", "--model", "{model}", "-k", "0"), "0 results were asked for"),
        (("search", "{built}", "{crops}/bo", "--device", "cpu"), "--device and --plugin are the model's"),
        (("search", "{built}", "{crops}/none.png", "--model", "{model}"), "none.png does not exist"),
        (("search", "{built}", "{crops}/bo", "--model", "{model}", "--threshold", "5"), "expected a cosine similarity"),
        (("search", "{built}", "{crops}/bo", "--model", "{model}", "--threshold", "nan"), "--threshold is nan"),
        (("search", "{built}", "{crops}/bo", "--model", "{model}", "--plugin", "no.so"), "only an engine takes one"),
        (("add", "{built}", "{crops}/bo", "--model", "{model}", "--person", " "), "--person is blank"),
        (("build", "{new}", "{crops}/bo", "--model", "{model}", "--person", "0"), "--person 0 is no person's number"),
        (("add", "{built}", "{crops}/bo", "--model", "{model}", "--person", "9" * 19), "is no person's number"),
        (("info", "{built}", "--json", "{built}/gallery.json"), "lies in the gallery"),
        (("info", "{built}", "--json", "{built}/new/info.json"), "lies in the gallery"),
        (("threshold", "{built}"), "6 queries cannot tell a false accept rate of 0.01; give at least 100"),
    ],
)
def test_refusals(
    arguments: tuple[str, ...],
    message: str,
    built: Path,
    crops: Path,
    model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    new = tmp_path / "new"
    places = {"built": built, "crops": crops, "model": model, "new": new}
    before = {path: path.stat().st_mtime_ns for path in built.iterdir()}
    assert run(*(argument.format(**places) for argument in arguments)) == 2
    assert message in " ".join(capfd.readouterr().err.split())
    assert not new.exists()
    assert {path: path.stat().st_mtime_ns for path in built.iterdir()} == before


def test_a_long_list_of_people_is_cut(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    count = 130
    entries = GalleryEntries(
        person_ids=np.arange(1, count + 1),
        person_names=np.full(count, ""),
        camera_ids=np.full(count, -1),
        names=np.full(count, "crop.jpg"),
        times=np.full(count, np.nan),
    )
    features = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    build_gallery(tmp_path / "g", features, entries, ModelIdentity("c" * 64, 8, 16, 8, "none"))
    assert run("info", tmp_path / "g", "--json", tmp_path / "info.json") == 0
    lines = capfd.readouterr().out.splitlines()
    assert (lines[-2].split()[0], lines[-1]) == ("100", "and 30 more, which --json has")
    assert len(json.loads((tmp_path / "info.json").read_text())["who"]) == count
