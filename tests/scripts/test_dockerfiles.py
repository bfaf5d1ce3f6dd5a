"""That the images get what their steps need, and nothing that should stay at home."""

import re
import subprocess
from pathlib import Path

import pytest

DOCKERFILES = ("Dockerfile", "Dockerfile.jetson")


def shown_to_docker(repository: Path) -> list[str]:
    """The entries that .dockerignore takes back from its `*`."""
    lines = (repository / ".dockerignore").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_is_in_the_build_context(repository: Path, name: str) -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (repository / name).read_text(), re.MULTILINE)
    shown = shown_to_docker(repository)
    for source in " ".join(copied).split():
        assert (repository / source).exists(), source
        assert source == "." or source.split("/")[0] in shown, f"{source} is hidden by .dockerignore"


def test_every_package_is_in_the_build_context(repository: Path) -> None:
    """An editable install needs the folder of each."""
    packages = re.search(r"^packages = \[(.+)\]$", (repository / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages
    rooms = {name.split(".")[0] for name in re.findall(r'"([\w.]+)"', packages[1])}
    assert rooms <= set(shown_to_docker(repository))


def test_the_build_context_holds_files_of_the_project_only(repository: Path) -> None:
    for entry in shown_to_docker(repository):
        listed = subprocess.run(["git", "ls-files", entry], cwd=repository, capture_output=True, text=True, check=False)
        if listed.returncode != 0:
            pytest.skip("not a git checkout")
        assert listed.stdout, f"{entry} is no file of the project"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_image_runs_as_a_user_whom_the_cluster_can_tell_from_root(repository: Path, name: str) -> None:
    users = re.findall(r"^USER (\S+)$", (repository / name).read_text(), re.MULTILINE)
    assert re.search(rf"useradd .*--uid {users[-1]} ", (repository / name).read_text())
    assert int(users[-1]) > 0
