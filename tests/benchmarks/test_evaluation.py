"""What the benchmarks of evaluation keep of a run that was cut off, and which earlier figures they go on from."""

import json
import subprocess
import sys
from pathlib import Path


def run(repository: Path, *options: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "benchmarks/evaluation.py", "--rounds", "1", *map(str, options)]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


def test_what_was_measured_before_a_failure_is_kept(repository: Path, tmp_path: Path) -> None:
    """A toolbox whose files are there and whose re-ranking cannot be loaded ends the run after the metrics."""
    out, folder = tmp_path / "figures.json", tmp_path / "peer"
    for name in ("metrics", "reranking"):
        (folder / "utils").mkdir(parents=True, exist_ok=True)
        (folder / "utils" / f"{name}.py").write_text("raise RuntimeError('not a toolbox')\n")
    options = ["--transreid", folder, "--only", "product", "transreid-rerank", "--out", out]
    done = run(repository, *options)
    assert done.returncode
    assert "transreid-rerank ended with status" in done.stderr
    content = json.loads(out.read_text())
    assert list(content["contenders"]) == ["product"]
    assert content["features"]["from"] == "generated, small"


def test_sizes_that_were_measured_before_a_failure_are_kept(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    assert run(repository, "--growth", "100", "0", "--out", out).returncode
    growth = json.loads(out.read_text())["growth"]
    assert {name: list(each["gallery"]) for name, each in growth.items()} == {
        name: ["100"] for name in ("product", "metrics", "pairs-product", "rerank-metrics")
    }


def test_where_the_figures_go_is_checked_first(repository: Path, tmp_path: Path) -> None:
    done = run(repository, "--features", tmp_path / "none.npz", "--out", tmp_path)
    assert done.returncode == 2
    assert "it is a folder; name a file" in done.stderr
