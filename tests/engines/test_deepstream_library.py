"""The library that registers StripGate by being loaded, built by the command of docs/deepstream.md."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def test_loading_the_library_registers_the_plugin(repository: Path, plugin_library: Path, tmp_path: Path) -> None:
    includes = _includes(plugin_library)
    build = tmp_path / "engines" / "plugin" / "build"
    build.mkdir(parents=True)
    shutil.copy(plugin_library, build)
    (tmp_path / "engines" / "plugin" / "deepstream").symlink_to(repository / "engines" / "plugin" / "deepstream")
    registry = repository / "tests" / "engines" / "deepstream" / "plugin_registry.cpp"
    _compile(["g++", "-std=c++17", "-shared", "-fPIC", str(registry), "-o", "libnvinfer.so", *includes], tmp_path)

    _compile([*_documented_command(repository), *includes, f"-L{tmp_path}"], tmp_path)

    load = "import ctypes, sys; ctypes.CDLL(sys.argv[1], ctypes.RTLD_LOCAL | 1)"  # 1: RTLD_LAZY, as nvinfer opens it
    done = subprocess.run(
        [sys.executable, "-c", load, str(build / "libstrip_gate_deepstream.so")],
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "StripGate 1 in namespace lgeu, of namespace lgeu, PLUGIN CREATOR_V3ONE\n"


def _documented_command(repository: Path) -> list[str]:
    page = repository / "docs" / "deepstream.md"
    if not page.is_file():
        pytest.skip("docs/ is not here, as in a container image")
    (command,) = re.findall(r"^g\+\+ .*", page.read_text().replace("\\\n", ""), re.MULTILINE)
    return shlex.split(command)


def _compile(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _includes(library: Path) -> list[str]:
    """The headers that the plugin was compiled with."""
    commands = json.loads((library.parent / "compile_commands.json").read_text())
    words = next(entry["command"] for entry in commands if entry["file"].endswith(".cpp")).split()
    return [word for place, word in enumerate(words) if word == "-isystem" or words[place - 1] == "-isystem"]
