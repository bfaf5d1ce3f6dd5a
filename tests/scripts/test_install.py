"""scripts/install.sh: what it refuses, before anything is written."""

import subprocess
from pathlib import Path

import pytest


def install(repository: Path, *arguments: str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    script = repository / "scripts" / "install.sh"
    environment = {"PATH": path, "CUDA_HOME": "/nonexistent"}
    return subprocess.run([str(script), *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no step given; expected one or more of plugin, packages, check, test"),
        (("plugin", "package"), "unknown step or option package; see --help"),
        (("packages", "--venv"), "--venv needs a value"),
        (("--cuda", "11", "packages"), "CUDA 11; expected 12 or 13, which TensorRT 10.3 to 11 are built for"),
    ],
)
def test_refusals(repository: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    venv = tmp_path / "venv"
    done = install(repository, "--venv", str(venv), *arguments)
    assert (done.returncode, done.stderr) == (2, f"install: error: {message}\n")
    assert not venv.exists()


def test_without_nvcc_cuda_must_be_given(repository: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname", "sed"):
        (tools / tool).symlink_to(Path("/usr/bin") / tool)
    done = install(repository, "--venv", str(tmp_path / "venv"), "packages", path=str(tools))
    assert (done.returncode, done.stderr) == (
        2,
        "install: error: nvcc is not here to tell CUDA's version; give it with --cuda 12 (JetPack 6) or --cuda 13\n",
    )


def test_a_python_without_venv_is_named_with_the_remedy(repository: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    done = install(repository, "--venv", str(tmp_path / "venv"), "--python", str(python), "--cuda", "12", "packages")
    assert done.returncode == 2
    assert done.stderr.endswith("on Ubuntu and Debian: apt-get install python3-venv\n")


def test_a_relative_environment_is_the_same_in_every_step(repository: Path, tmp_path: Path) -> None:
    """One step changes folders. The Python in it is a stand-in that takes everything."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    script = repository / "scripts" / "install.sh"
    done = subprocess.run([script, "--venv", "venv", "test"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
