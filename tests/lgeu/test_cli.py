"""The command line: bad input is one line and status 2, a failed check status 1, and nothing half-written is left."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lgeu.cli import main
from runtime.embedder import Embedder
from train.checkpoint import untrained_checkpoint

Refused = Callable[..., str]


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people in their own colours under two cameras, in the plain layout."""
    folder = tmp_path_factory.mktemp("data") / "people"
    random = np.random.default_rng(0)
    for person in range(4):
        (folder / f"p{person}").mkdir(parents=True)
        clothing = random.integers(0, 256, (4, 2, 3))
        for camera in (1, 2):
            for number in range(3):
                noisy = np.clip(clothing + random.normal(0, 20, clothing.shape), 0, 255).astype(np.uint8)
                image = cv2.resize(noisy, (32, 64), interpolation=cv2.INTER_NEAREST)
                cv2.imwrite(str(folder / f"p{person}" / f"cam{camera}_{number}.png"), image)
    return folder


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail for the user's mistake; gives its one line."""

    def run(*arguments: str | Path, out: Path = tmp_path / "out") -> str:
        capfd.readouterr()
        status = main([*map(str, arguments), "--out", str(out)])
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("lgeu")]
        assert (status, len(lines)) == (2, 1), lines
        assert not out.exists()
        assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []
        return lines[0]

    return run


def test_missing_truncated_and_foreign_files(
    refused: Refused, checkpoint: Path, onnx_folder: Path, people: Path, tmp_path: Path
) -> None:
    assert "does not exist" in refused("export", tmp_path / "no.pt")
    for source, name in ((checkpoint, "checkpoint.pt"), (onnx_folder / "model.onnx", "model.onnx")):
        truncated = tmp_path / name
        truncated.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
        command = "export" if name.endswith(".pt") else "rewrite"
        assert str(truncated) in refused(command, truncated)
        assert str(truncated) in refused("parity", checkpoint, truncated, "--data", people, "--split-by", "person%2")
        assert str(truncated) in refused("infer", people / "p0", "--model", truncated)


def test_an_image_that_is_not_one_and_an_empty_folder(
    refused: Refused, onnx_folder: Path, tmp_path: Path, repository: Path
) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    assert "holds no image" in refused("infer", crops, "--model", onnx_folder / "model.onnx")
    assert "holds no image" in refused("train", "--recipe", repository / "recipes" / "demo.yaml", "--data", crops)
    setting = ("train", "--recipe", repository / "recipes" / "demo.yaml", "--data", crops, "--set")
    assert "--set: unknown key 'epoch'; the nearest known key is 'epochs'" in refused(*setting, "epoch=3")
    (crops / "a.jpg").write_text("not an image")
    assert "a.jpg is not a readable image" in refused("infer", crops, "--model", onnx_folder / "model.onnx")


def test_recipes_with_mistakes(refused: Refused, people: Path, tmp_path: Path, repository: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = (repository / "recipes" / "demo.yaml").read_text()
    recipe.write_text(text.replace("epochs:", "epoch:", 1))
    assert "unknown key 'epoch'; the nearest known key is 'epochs'" in refused(
        "train", "--recipe", recipe, "--data", people, "--split-by", "person%2"
    )
    recipe.write_text(text.replace("strips: 4", "strips: 3"))
    assert "does not divide into 3 equal strips" in refused(
        "train", "--recipe", recipe, "--data", people, "--split-by", "person%2"
    )


def test_an_onnx_file_without_a_manifest(refused: Refused, people: Path, tmp_path: Path) -> None:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    model = tmp_path / "plain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), model)
    for command in (
        ["rewrite", model],
        ["infer", people / "p0", "--model", model],
        ["parity", model, model, "--data", people, "--split-by", "person%2"],
    ):
        assert "has no manifest" in refused(*command)
    assert "has no manifest" in refused("build", model, out=tmp_path / "plain.engine")


def test_a_file_is_rewritten_to_another_layout_and_input(onnx_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "planar.onnx"
    options = ["--layout", "nhwc", "--input", "float-nchw", "--precision", "fp16"]
    assert main(["rewrite", str(onnx_folder / "model.onnx"), *options, "--out", str(out)]) == 0
    images = [np.random.default_rng(0).integers(0, 256, (70, 30, 3), np.uint8)]
    with (
        Embedder.open(out, device="cpu") as planar,
        Embedder.open(onnx_folder / "model.fp16.onnx", device="cpu") as other,
    ):
        assert (planar.manifest.gate_layout, planar.manifest.input_format) == ("nhwc", "float-nchw")
        np.testing.assert_allclose(planar.embed(images, "BGR"), other.embed(images, "BGR"), atol=1e-3)


def test_wrong_usage_is_one_line(refused: Refused, checkpoint: Path, people: Path) -> None:
    assert "No such command 'exprot'" in refused("exprot")
    assert "is not one of 'keep', 'strip', 'inline'; see `lgeu rewrite --help`" in refused(
        "rewrite", checkpoint, "--functions", "drop"
    )
    assert refused("gallery", "serch").endswith("Did you mean 'search'? See `lgeu gallery --help`")
    assert "--data" in refused("parity", checkpoint, checkpoint)
    assert "SOURCE" in refused("infer")
    assert "at least one candidate" in refused("parity", checkpoint, "--data", people)


def test_help_says_what_each_command_does(capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["gallery"]):
        assert main(arguments) == 0
        bare = capfd.readouterr()
        assert bare.err == ""
        assert bare.out.startswith(f"Usage: {' '.join(['lgeu', *arguments])} [OPTIONS] COMMAND")
        assert main([*arguments, "--help"]) == 0
        printed = capfd.readouterr().out
        assert printed.strip() == bare.out.strip()
        commands = [line for line in printed.partition("Commands:")[2].splitlines() if line.strip()]
        assert len(commands) > 5
        assert not [line for line in commands if line.endswith("...")]


def test_the_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"lgeu {version('lgeu-reid')}\n"


def test_options_that_would_be_ignored_are_refused(
    onnx_folder: Path, people: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = str(onnx_folder / "model.onnx")
    for arguments, named in (
        (["evaluate", "--model", model, "--data", str(people), "--k1", "7"], "add --rerank"),
        (["build", model, "--print-trtexec", "--target", "SM86"], "leave --flavour and --target out"),
        (["build", model, "--release", "10.3"], "--release goes with --print-trtexec"),
        (["build", model, "--print-trtexec", "--release", "9.0"], "no TensorRT release from 10.3 to 11"),
        (["build", model, "--use-dla-core", "0"], "CUDA code, which a DLA cannot run"),
        (["build", model, "--batch", "8:8:8"], "or allow it with --allow-min-batch"),
        (["build", model, "--workspace", "2 GiB of it"], "is no size of memory"),
        (["build", model, "--precision", "fp16", "--print-trtexec"], "is fp32, and fp16 was asked for"),
        (["build", "--adopt", "e.engine", "--onnx", model, "--workspace", "1GiB"], "leave --workspace out"),
        (["build", "--adopt", "e.engine", "--onnx", model, "--out", "other.engine"], "leave --out"),
        (["build", model, "--onnx", model], "--onnx goes with --adopt"),
        (["build", model, "--adopt", "e.engine", "--onnx", "other.onnx"], "two ONNX files are given"),
        (
            ["evaluate", "--model", model, "--data", str(people), "--split-by", "person%2", "--plugin", "p.so"],
            "leave it",
        ),
        (["bench", model, "--plugin", "p.so"], "only an engine takes one"),
        (["parity", model, model, "--data", str(people), "--plugin", "p.so", "--out", "o"], "without an engine"),
        (["demo", "--split-by", "person%2"], "without a data set"),
        (["parity", model, "--data", str(people), "--trtexec-inputs", "in", "--out", "out"], "leave --out out"),
    ):
        assert main(arguments) == 2
        assert named in capfd.readouterr().err


# What Typer flushes itself, what it prints through ours, and what ends the process inside it.
@pytest.mark.parametrize("arguments", ["--help", "--version", "infer --help"])
def test_a_reader_that_is_gone_is_no_fault(
    unread: Callable[..., subprocess.CompletedProcess[str]], arguments: str
) -> None:
    done = unread("-m", "lgeu", *arguments.split())
    assert (done.returncode, done.stderr) == (141, "")


def test_ctrl_c_is_status_130(monkeypatch: pytest.MonkeyPatch, people: Path, tmp_path: Path, repository: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("eval.datasets.open_dataset", interrupted)
    recipe = str(repository / "recipes" / "demo.yaml")
    assert main(["train", "--recipe", recipe, "--data", str(people), "--out", str(tmp_path / "out")]) == 130


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, onnx_folder: Path) -> None:
    """In a process of its own: one that has imported a package already would not miss it."""
    code = (
        "import sys; sys.modules['onnx'] = sys.modules['typer'] = sys.modules['cv2'] = None\n"
        "from lgeu.__main__ import main; first = main()\n"
        "del sys.modules['cv2']; second = main()\n"
        "del sys.modules['typer']; from lgeu.cli import main\n"
        "sys.exit(100 * first + 10 * second + main(['rewrite', sys.argv[1], '--out', sys.argv[2]]))"
    )
    out = tmp_path / "out.onnx"
    done = subprocess.run(
        [sys.executable, "-c", code, str(onnx_folder / "model.onnx"), str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 222
    first, second, third = done.stderr.splitlines()
    assert "pip install opencv-python-headless" in first
    assert "pip install 'lgeu-reid[cli]'" in second
    assert "'onnx'" in third
    assert not out.exists()


def test_what_was_there_survives_a_failure(checkpoint: Path, onnx_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "onnx"
    shutil.copytree(onnx_folder, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "half.pt").write_bytes(checkpoint.read_bytes()[:-5000])
    assert main(["export", str(tmp_path / "half.pt"), "--out", str(out)]) == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_checkpoint_and_onnx_give_the_same_figures(
    checkpoint: Path, onnx_folder: Path, people: Path, tmp_path: Path
) -> None:
    def evaluate(*arguments: str) -> dict[str, float]:
        assert main(["evaluate", *arguments, "--json", str(tmp_path / "figures.json")]) == 0
        figures: dict[str, float] = json.loads((tmp_path / "figures.json").read_text())
        return figures

    data = ["--data", str(people), "--split-by", "person%2"]
    kept = tmp_path / "kept"
    reference = evaluate("--model", str(checkpoint), *data, "--rerank", "--embeddings", str(kept))
    exported = evaluate("--model", str(onnx_folder / "model.onnx"), *data, "--rerank")
    again = evaluate("--query", str(kept / "query.npz"), "--gallery", str(kept / "gallery.npz"), "--rerank")
    for name in ("rank1", "rank5", "rank10", "mAP", "mINP", "queries", "valid_queries", "gallery", "junk"):
        assert reference[name] == pytest.approx(exported[name], abs=1e-6)
        assert reference[name] == again[name]


def test_parity_fails_with_status_1_and_writes_the_report(
    checkpoint: Path, people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = untrained_checkpoint(
        tmp_path / "other.pt", backbone="mobilenetv3_small_050", height=64, width=32, strips=2, seed=1
    )
    arguments: Sequence[str | Path] = (checkpoint, other, "--data", people, "--split-by", "person%2")
    assert main(["parity", *map(str, arguments), "--out", str(tmp_path / "report")]) == 1
    assert "other.pt: smallest cosine" in capfd.readouterr().err.splitlines()[-1]
    assert json.loads((tmp_path / "report" / "report.json").read_text())["failures"]
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
