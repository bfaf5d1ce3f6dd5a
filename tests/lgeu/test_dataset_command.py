"""`lgeu dataset`: what it prints and writes."""

import json
import shutil
from pathlib import Path

import pytest

from lgeu.cli import main
from lgeu.synthetic.dataset import write_dataset
from lgeu.synthetic.world import World


@pytest.fixture
def data(world: World, tmp_path: Path) -> Path:
    return write_dataset(world, tmp_path / "people")


def test_it_prints_a_table_and_writes_json(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "summary.json"
    assert main(["dataset", str(data), "--json", str(out)]) == 0
    text = capfd.readouterr().out
    assert f"people (synthetic people): {data}" in text
    content = json.loads(out.read_text())
    files = {part: len(list((data / part).iterdir())) for part in ("bounding_box_train", "query", "bounding_box_test")}
    assert [part["images"] for part in content["parts"].values()] == list(files.values())
    rows = [line.split() for line in text.splitlines()]
    assert [row[1] for row in rows if row[0] in ("train", "query", "gallery")] == [str(n) for n in files.values()]
    assert content["differences"] == []


def test_it_says_what_a_copy_lacks(
    data: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (data / "SYNTHETIC.txt").unlink()
    copy = data.rename(data.parent / "Market-1501-v15.09.15")
    assert main(["dataset", str(copy)]) == 0
    images = len(list((copy / "query").iterdir()))
    assert f"\nquery has {images} images, Market-1501 has 3,368\n" in capfd.readouterr().out
    assert "is not Market-1501 as it was published" in caplog.text


def test_what_cannot_be_opened_or_written_is_refused(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", str(tmp_path / "absent")]) == 2
    assert main(["dataset", str(data), "--json", str(data)]) == 2
    packed = shutil.make_archive(str(data), "zip", data.parent, data.name)
    before = Path(packed).read_bytes()
    assert main(["dataset", packed, "--json", packed]) == 2
    assert Path(packed).read_bytes() == before
    errors = capfd.readouterr().err.splitlines()
    assert "does not exist" in errors[0]
    assert "it is a folder" in errors[1]
    assert "people.zip is read" in errors[2]
