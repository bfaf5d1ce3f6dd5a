import json
from pathlib import Path

import pytest

from eval.datasets import open_dataset
from lgeu.demo import check_learning, run_demo
from lgeu.demo_size import SIZES, DemoSize
from lgeu.journal import Journal
from lgeu.models import open_model
from lgeu.synthetic.dataset import write_dataset
from lgeu.synthetic.world import World
from runtime.embedder import Embedder
from runtime.embeddings import Embeddings
from runtime.errors import CheckFailedError, InputError
from runtime.gallery import Gallery
from train.recipe import load_recipe

RECIPE = "backbone: mobilenetv4_conv_small\nheight: 128\nwidth: 64\nepochs: 1\nbatch_size: 4\nlr: 0.01\n"


@pytest.fixture(scope="module")
def size(world: World, tmp_path_factory: pytest.TempPathFactory) -> DemoSize:
    recipe = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    recipe.write_text(RECIPE)
    return DemoSize(world.size, recipe)


@pytest.fixture(scope="module")
def demo(size: DemoSize, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo so short that its network learns nothing: all runs, and the check on mAP fails."""
    out = tmp_path_factory.mktemp("demo")
    with pytest.raises(CheckFailedError, match="mAP"):
        run_demo(out, size=size, seed=5)
    return out


def test_every_stage_is_run_or_named_with_its_reason(demo: Path) -> None:
    result = json.loads((demo / "demo.json").read_text())
    stages = {stage["name"]: stage for stage in result["stages"]}
    assert {"train", "export", "build with tensorrt-rtx", "build with tensorrt", "parity report"} <= stages.keys()
    assert stages["infer on the video"]["outcome"] == "run"
    assert all(stage["detail"] for stage in result["stages"])
    assert all(stage["outcome"] in ("run", "not run") for stage in result["stages"])


def test_the_figures_are_those_of_synthetic_data_and_both_are_there(demo: Path) -> None:
    result = json.loads((demo / "demo.json").read_text())
    assert result["synthetic"] is True
    assert "synthetic" in result["data"]
    assert 0 <= result["untrained"]["mAP"] <= 1
    assert 0 <= result["trained"]["mAP"] <= 1
    assert all("mAP" in failure for failure in result["failures"])


def test_its_files_go_on_from_room_to_room(demo: Path, world: World, caplog: pytest.LogCaptureFixture) -> None:
    with Embedder.open(demo / "export" / "model.fp16.onnx") as embedder:
        assert "synthetic" in embedder.manifest.trained_on
    with open_model(demo / "training" / "checkpoint.pt") as reference:
        Gallery.load(demo / "gallery.npz").check_model(reference.manifest)
    assert "no manifest.json" not in caplog.text
    embeddings = Embeddings.load(demo / "inference" / "embeddings.npz")
    assert len(embeddings) == len((demo / "video" / "boxes.txt").read_text().splitlines())
    assert (demo / "inference" / "annotated.mp4").stat().st_size > 0
    assert (demo / "report" / "report.html").stat().st_size > 0
    assert len(open_dataset(demo / "synthetic-pedestrians").query) == world.size.test_people * world.size.cameras


def test_an_earlier_demo_is_replaced_and_real_data_need_no_video(
    demo: Path, world: World, size: DemoSize, tmp_path: Path
) -> None:
    data = write_dataset(world, tmp_path / "given")
    out = tmp_path / "out"
    out.mkdir()
    (out / "made-by-lgeu-demo.txt").touch()
    (out / "old").mkdir()
    result = run_demo(out, size=size, data=data)
    assert not (out / "old").exists()
    assert result.failures == ()
    outcomes = {stage.name: stage.outcome for stage in result.stages}
    assert outcomes["infer on the video"] == "not run"
    assert outcomes["parity report"] == "run"
    # Drawn, and given all the same: the marker in the folder says so.
    assert result.synthetic


def test_what_no_demo_wrote_is_left_alone(size: DemoSize, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not of an earlier demo"):
        run_demo(tmp_path, size=size)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_neither_the_data_that_are_given_nor_an_earlier_demo_are_lost(
    size: DemoSize, world: World, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    data = write_dataset(world, out / "synthetic-pedestrians")
    (out / "made-by-lgeu-demo.txt").touch()
    (out / "linked").symlink_to(write_dataset(world, tmp_path / "elsewhere"))
    (tmp_path / "link").symlink_to(data)
    before = sorted(out.rglob("*"))
    for inside in (out, data, out / "linked", tmp_path / "link"):
        with pytest.raises(InputError, match="which the demo empties"):
            run_demo(out, size=size, data=inside)
    with pytest.raises(InputError, match="mistyped"):
        run_demo(out, size=size, data=tmp_path / "mistyped")
    with pytest.raises(InputError, match="recipe"):
        run_demo(out, size=DemoSize(size.world, tmp_path / "none.yaml"))
    assert sorted(out.rglob("*")) == before


def test_a_split_needs_a_data_set(size: DemoSize, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data"):
        run_demo(tmp_path / "out", size=size, split_by="person%5")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("before", "after", "failures"), [(0.1, 0.7, 0), (0.1, 0.6, 0), (0.1, 0.59, 1), (0.5, 0.7, 1), (0.5, 0.5, 2)]
)
def test_training_must_reach_sixty_points_and_halve_the_error(before: float, after: float, failures: int) -> None:
    assert len(check_learning(before, after)) == failures


@pytest.mark.parametrize("name", SIZES)
def test_the_recipes_of_the_sizes_are_valid(name: str) -> None:
    assert load_recipe(SIZES[name].recipe).gate == "strip"


def test_the_journal_names_what_was_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal()
    assert journal.run("add", lambda: 1 + 1, str) == 2
    journal.skip("fly", "no\nwings")
    table = journal.table()
    assert "fly       not run        –  no wings" in table
    assert "no wings" in capsys.readouterr().out
