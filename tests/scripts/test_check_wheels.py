"""scripts/check_wheels.py: pip's resolver for a Jetson, on wheels made here so that no network is needed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """`part` 1 has a wheel for a Jetson, 2 one for x86, 3 one for a newer glibc than JetPack 6 has."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "lucky", "1", "py3-none-any", "Requires-Dist: part\n")
    make_wheel(folder, "unlucky", "1", "py3-none-any", "Requires-Dist: part>=2\n")
    make_wheel(folder, "part", "1", "cp310-cp310-manylinux_2_35_aarch64")
    make_wheel(folder, "part", "2", "cp310-cp310-manylinux_2_17_x86_64")
    make_wheel(folder, "part", "3", "cp310-cp310-manylinux_2_39_aarch64")
    make_wheel(folder, "later", "1", "cp311-cp311-manylinux_2_17_aarch64")
    return folder


def make_wheel(folder: Path, name: str, version: str, tag: str, metadata: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")


def check(repository: Path, wheels: Path, *requirements: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    command = [sys.executable, str(repository / "scripts" / "check_wheels.py"), *requirements]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_wheels_of_a_jetson_are_named(repository: Path, wheels: Path) -> None:
    done = check(repository, wheels, "lucky")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [
        "  lucky-1-py3-none-any.whl",
        "  part-1-cp310-cp310-manylinux_2_35_aarch64.whl",
    ]


@pytest.mark.parametrize(("requirement", "missing"), [("unlucky", "part>=2"), ("later", "later")])
def test_wheels_for_something_else_do_not_count(repository: Path, wheels: Path, requirement: str, missing: str) -> None:
    done = check(repository, wheels, requirement)
    assert done.returncode == 1
    assert f"No matching distribution found for {missing}" in done.stderr
    assert done.stderr.endswith("check_wheels: error: pip found no wheels for all of it, see above\n")
