"""`lgeu visualise` from end to end on synthetic people."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from eval.datasets import open_dataset
from eval.rank_pictures import FRAME, GAP, IMAGE_WIDTH, RIGHT, WRONG
from lgeu.cli import main
from lgeu.gate_pictures import HEIGHT
from lgeu.gate_sheets import write_gate_sheets
from lgeu.synthetic.dataset import write_dataset
from lgeu.synthetic.world import World
from train.checkpoint import untrained_checkpoint


@pytest.fixture(scope="module")
def data(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(world, tmp_path_factory.mktemp("data") / "people")


def frames(picture: Path) -> list[str]:
    """The colours of the frames of what was found, from a JPEG file."""
    pixels = cv2.imread(str(picture)).astype(int)
    step = IMAGE_WIDTH + 2 * FRAME + GAP
    found = [pixels[GAP + 2, GAP + 2 + column * step] for column in range(1, (pixels.shape[1] - GAP) // step)]
    named = {"right": np.array(RIGHT), "wrong": np.array(WRONG)}
    return [min(named, key=lambda name: int(abs(named[name] - colour).sum())) for colour in found]


def person(name: str) -> int:
    return int(Path(name).name.split("_")[0])


def figures(out: Path) -> Any:
    return json.loads((out / "visualised.json").read_text())


def test_a_checkpoint_gives_rank_lists_and_gates(
    checkpoint: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pictures"
    command = ["visualise", str(checkpoint), "--data", str(data), "--out", str(out), "--queries", "1", "--top", "5"]
    assert main(command) == 0
    assert "mAP" in capfd.readouterr().out
    content = figures(out)
    assert [query["reason"] for query in content["queries"]] == ["worst", "best", "random"]
    pictures = sorted((out / "rank-lists").iterdir())
    for query, picture in zip(content["queries"], pictures, strict=True):
        names = [found["name"] for found in query["found"]]
        assert len(names) == 5
        assert not any(name.rpartition("/")[2].startswith("-1") for name in names)
        expected = ["right" if person(name) == person(query["name"]) else "wrong" for name in names]
        assert frames(picture) == expected
    assert sorted(path.name for path in (out / "gate-responses").iterdir()) == [
        *("001.jpg", "002.jpg", "003.jpg", "mean.jpg")
    ]
    assert content["gates"]["strips"] == 2
    page = (out / "index.html").read_text()
    assert page.count("<img") == page.count(' alt="') == 7
    assert f"<h1>people: {checkpoint} on torch" in page
    assert "These pictures show people." in page
    assert "between the strips of an image" in page
    assert [path.name for path in out.iterdir() if path.name.startswith("unfinished")] == []


def test_another_model_gives_rank_lists_alone_and_says_so(
    onnx_folder: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, model = tmp_path / "pictures", onnx_folder / "model.onnx"
    (out / "gate-responses").mkdir(parents=True)
    (out / "gate-responses" / "001.jpg").write_text("of an earlier run")
    name = sorted((data / "query").iterdir())[1].name
    assert main(["visualise", str(model), "--data", str(data), "--out", str(out), "--query", name]) == 0
    assert "does not give its gates' values" in caplog.text
    [query] = figures(out)["queries"]
    assert (query["reason"], query["name"].rpartition("/")[2]) == ("asked for", name)
    assert not (out / "gate-responses").exists()


def test_plain_pooling_has_no_gates_to_show(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = untrained_checkpoint(
        tmp_path / "plain.pt", backbone="mobilenetv3_small_050", gate="none", height=64, width=32
    )
    out = tmp_path / "pictures"
    assert main(["visualise", str(model), "--data", str(data), "--out", str(out), "--queries", "1"]) == 0
    assert "has no gates (plain pooling)" in caplog.text
    assert figures(out)["gates"] is None


def test_a_single_gate_is_not_said_to_differ_between_strips(data: Path, tmp_path: Path) -> None:
    model = untrained_checkpoint(tmp_path / "se.pt", backbone="mobilenetv3_small_050", gate="se", height=64, width=32)
    dataset = open_dataset(data)
    section, figures = write_gate_sheets(model, dataset, dataset.query[:1], tmp_path / "gates")
    assert not any("between the strips" in line or "Correlation" in line for line in section.text)
    assert (figures["strips"], figures["between_strips"]) == (1, 0)
    persons = [image.person_id for image in dataset.gallery]
    assert figures["images"] == len(persons) - persons.count(-1) < len(persons)
    drawn = cv2.imread(str(tmp_path / "gates" / "001.jpg"))[:, : HEIGHT // 2].mean((0, 1))
    blue, green, red = dataset.read(dataset.query[0]).mean((0, 1))
    assert abs(blue - red) > 8
    np.testing.assert_allclose(drawn, [blue, green, red], atol=3)


def test_what_cannot_be_shown_is_refused_and_earlier_pictures_stay(
    checkpoint: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pictures"
    out.mkdir()
    (out / "index.html").write_text("earlier")
    command = ["visualise", str(checkpoint), "--data", str(data), "--out", str(out)]
    assert main([*command, "--query", "absent.jpg"]) == 2
    assert main(["visualise", str(checkpoint), "--data", str(data), "--out", str(out / "index.html")]) == 2
    for inside in (data, data / "query" / "new"):
        assert main(["visualise", str(checkpoint), "--data", str(data), "--out", str(inside)]) == 2
    errors = capfd.readouterr().err.splitlines()
    assert "no query is called 'absent.jpg'" in errors[0]
    assert "no folder that can be written to" in errors[1]
    assert all("lies in the data set" in error for error in errors[2:])
    assert not (data / "query" / "new").exists()
    assert [path.name for path in out.iterdir()] == ["index.html"]
    assert (out / "index.html").read_text() == "earlier"
