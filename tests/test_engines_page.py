"""The commands of docs/engines.md, in its order: run where no GPU is needed, else as far as this machine goes."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.tensorrt_library import default_plugin
from train.checkpoint import untrained_checkpoint

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "engines.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("lgeu ")]
# What the page says that a command prints.
PRINTED = dict(re.findall(r"^```sh\n(lgeu [^\n]*)\n```\n\n```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
NEEDS_GPU = [line for line in COMMANDS if line.startswith("lgeu build") and "--print" not in line and "rtx" not in line]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two ONNX files."""
    from export.onnx_export import export_checkpoint

    folder = tmp_path_factory.mktemp("engines")
    backbone = {"backbone": "mobilenetv3_small_050", "height": 256, "width": 128}
    export_checkpoint(untrained_checkpoint(folder / "checkpoint.pt", **backbone, strips=4), folder, None)
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("lgeu", path=Path(sys.executable).parent)
    assert tool, "lgeu is not in the environment that runs the tests"
    return subprocess.run(
        [tool, *shlex.split(command)[1:]], cwd=folder, env=os.environ, capture_output=True, text=True, check=False
    )


def test_the_page_has_what_is_tested_here() -> None:
    assert len(PRINTED) == PAGE.count("```text")
    assert len(NEEDS_GPU) == 2


@pytest.mark.parametrize("command", [line for line in COMMANDS if line not in NEEDS_GPU])
def test_the_commands_run(command: str, workplace: Path) -> None:
    if "tensorrt-rtx" in command.split() or ".engine" in command:
        pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
        if not default_plugin().is_file():
            pytest.skip("the StripGate plugin is not built: make plugin")
    done = run(command, workplace)
    assert done.returncode == 0, done.stderr
    if command in PRINTED:
        assert done.stdout == PRINTED[command]


@pytest.mark.parametrize("command", NEEDS_GPU)
def test_the_commands_that_need_a_gpu(command: str, workplace: Path, has_gpu: bool) -> None:
    if not default_plugin().is_file():
        pytest.skip("the StripGate plugin is not built: make plugin")
    if has_gpu:
        pytest.skip("this machine has a GPU: scripts/verify_tensorrt.sh builds and runs")
    done = run(command, workplace)
    assert done.returncode == 2
    # All of it was understood; what is missing is the library or the GPU.
    assert re.search("needs the Python package 'tensorrt'|TensorRT builds for the GPU at hand", done.stderr)
