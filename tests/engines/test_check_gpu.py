"""What scripts/check_gpu.sh says before it needs a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def check_gpu(repository: Path, path: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    script = repository / "scripts" / "check_gpu.sh"
    environment = os.environ | {"PATH": path, **variables}
    return subprocess.run(["bash", str(script), *arguments], capture_output=True, text=True, env=environment)


def test_without_a_gpu_it_says_so_in_one_line_and_writes_nothing(repository: Path, tmp_path: Path) -> None:
    failing = tmp_path / "nvidia-smi"
    failing.write_text("#!/bin/sh\nexit 9\n")
    failing.chmod(0o755)

    run = check_gpu(repository, f"{tmp_path}:{os.environ['PATH']}", "--out", str(tmp_path / "out"))

    assert run.returncode == 2
    assert run.stderr == "check_gpu: error: there is no usable NVIDIA GPU here (nvidia-smi finds none)\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "(Orin (nvgpu), [N/A], 540.3.0) is '[N/A]', which is no number; name it, e.g. --architecture 87"),
        (["--architecture", "orin"], "is 'orin', which is no number"),
        (["--architecture", "8.7"], "this machine lacks: /no/python"),  # what comes next
        (["--architecture"], "--architecture needs a value"),
    ],
)
def test_a_gpu_whose_architecture_nvidia_smi_does_not_tell(
    repository: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    jetson = tmp_path / "nvidia-smi"
    jetson.write_text("#!/bin/sh\necho 'Orin (nvgpu), [N/A], 540.3.0'\n")
    jetson.chmod(0o755)

    path = f"{tmp_path}:{os.environ['PATH']}"
    run = check_gpu(repository, path, "--out", str(tmp_path / "out"), *arguments, PYTHON="/no/python")

    assert run.returncode == 2
    assert message in run.stderr
    assert not (tmp_path / "out").exists()


def test_unknown_steps_are_named(repository: Path) -> None:
    run = check_gpu(repository, os.environ["PATH"], "memchek")

    assert run.returncode == 2
    assert "no step 'memchek'; there are: build tests device memcheck" in run.stderr


def test_help_is_what_the_script_begins_with(repository: Path) -> None:
    run = check_gpu(repository, os.environ["PATH"], "--help")

    assert run.returncode == 0
    assert run.stdout.startswith("Checks the StripGate plugin on this machine's GPU")


def test_its_tests_need_no_more_packages_than_it_names(repository: Path) -> None:
    """Those that pytest would import here, and a bare machine lacks, are kept from it."""
    others = ("cv2", "tqdm", "hypothesis", "torch", "cuda", "scipy", "numba", "typer", "tensorrt_rtx_bindings")
    arguments = ["-q", "-m", "gpu", "--collect-only", "-p", "no:cacheprovider", "tests/engines/test_plugin_runs.py"]
    code = f"""
import sys
import pytest
sys.modules.update(dict.fromkeys({others!r}))
sys.exit(pytest.main({arguments!r}))
"""
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-c", code]

    run = subprocess.run(command, capture_output=True, text=True, cwd=repository, env=environment)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "test_a_cuda_graph" in run.stdout
