"""scripts/build_plugin.sh: which options reach CMake, also after other calls. What CMake builds is a stand-in."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = """
cmake_minimum_required(VERSION 3.21)
set(STRIP_GATE_ARCHITECTURES "" CACHE STRING "")
project(stand_in LANGUAGES NONE)
message(STATUS "built for '${STRIP_GATE_ARCHITECTURES}' with '${TensorRT_ROOT}'")
"""


class Checkout:
    def __init__(self, root: Path) -> None:
        self.root = root

    def build(self, *options: str, tensorrt: str | None = None) -> str:
        """What was built, in CMake's words."""
        tools = f"{self.root / 'bin'}:{os.environ['PATH']}"
        environment = {"PATH": tools} | ({} if tensorrt is None else {"TensorRT_ROOT": tensorrt})
        command = [str(self.root / "scripts" / "build_plugin.sh"), *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        (said,) = (line for line in done.stdout.splitlines() if "built for" in line)
        return said.removeprefix("-- ")


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Checkout:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    for folder in ("scripts", "engines/plugin", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "engines" / "plugin" / "CMakeLists.txt").write_text(PROJECT)
    shutil.copy(repository / "scripts" / "build_plugin.sh", tmp_path / "scripts")
    for tool, does in (("bin/nvcc", ""), ("scripts/fetch_tensorrt_headers.sh", "echo /fetched")):
        (tmp_path / tool).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / tool).chmod(0o755)
    return Checkout(tmp_path)


def test_a_build_has_its_own_options_and_none_of_the_last(checkout: Checkout) -> None:
    default = checkout.build()
    assert default.startswith("built for '' with ")  # the system's headers, or fetched ones
    assert checkout.build("-DSTRIP_GATE_ARCHITECTURES=90") == default.replace("''", "'90'", 1)
    assert checkout.build(tensorrt="/a") == "built for '' with '/a'"
    assert checkout.build("-DTensorRT_ROOT=/b", tensorrt="/a") == "built for '' with '/b'"
    assert (
        checkout.build("-DTensorRT_ROOT:PATH=/b", "-DSTRIP_GATE_ARCHITECTURES=86;87") == "built for '86;87' with '/b'"
    )
    assert checkout.build(tensorrt="/a") == "built for '' with '/a'"
    assert checkout.build() == default


def test_as_before_is_the_last_build_again(checkout: Checkout) -> None:
    default = checkout.build("--as-before")
    assert default.startswith("built for '' with ")
    checkout.build("-DSTRIP_GATE_ARCHITECTURES=87", tensorrt="/a")
    assert checkout.build("--as-before") == "built for '87' with '/a'"
    assert checkout.build("--as-before", tensorrt="/b") == "built for '87' with '/b'"
    assert checkout.build() == default
