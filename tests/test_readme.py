"""The commands that the README shows, run in its order on a tiny demo."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.tensorrt_library import default_plugin

README = Path(__file__).resolve().parents[1] / "README.md"


def readme_commands() -> list[str]:
    """The lines of the README's shell blocks that start with `lgeu` or `python`."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.split()[0] in ("lgeu", "python")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder from which the README's relative paths lead where they do in a checkout."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("models", "recipes", "runtime"):
        (folder / name).symlink_to(repository / name)
    # The pictures of one's own.
    random = np.random.default_rng(0)
    for picture in ("crops/anna/camera1_0001.jpg", "crops/bo/camera1_0001.jpg", "query.jpg"):
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / picture), random.integers(0, 256, (128, 64, 3), np.uint8))
    return folder


def test_the_readme_shows_every_command() -> None:
    shown = {command.split()[1] for command in readme_commands() if command.startswith("lgeu")}
    assert shown == {
        "dataset",
        "train",
        "export",
        "rewrite",
        "build",
        "inspect",
        "infer",
        "bench",
        "evaluate",
        "visualise",
        "gallery",
        "parity",
        "demo",
    }


@pytest.mark.parametrize("command", readme_commands())
def test_the_readme_commands_run(command: str, workplace: Path) -> None:
    if "tensorrt-rtx" in command.split():
        pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
        if not default_plugin().is_file():
            pytest.skip("the StripGate plugin is not built: make plugin")
    program, *arguments = shlex.split(command)
    tool = shutil.which(program, path=Path(sys.executable).parent)
    assert tool, f"{program} is not in the environment that runs the tests"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [tool, *arguments], cwd=workplace, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
