"""An edge device carries NumPy, OpenCV, tqdm and one backend: nothing else is imported, from any folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    *(
        "torch",
        "torchvision",
        "timm",
        "accelerate",
        "onnx",
        "onnxscript",
        "pydantic",
        "yaml",
        "typer",
        "scipy",
        "numba",
        "threadpoolctl",
    ),
    *(
        "matplotlib",
        "jinja2",
        "pandas",
        "onnxruntime",
        "tensorrt",
        "tensorrt_rtx_bindings",
        "cuda.bindings",  # `cuda` itself is made at the start of Python by cuda-bindings 12
        "pycuda",
        "faiss",
        "openvino",
    ),
)
ROOM = Path(__file__).resolve().parents[2] / "runtime"
MODULES = sorted(f"runtime.{path.stem}" for path in ROOM.glob("*.py") if path.stem != "__init__")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_importing_all_of_it_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, {', '.join(MODULES)}; print(sorted(set({HEAVY!r}) & sys.modules.keys()))"
    done = run("-c", code, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("arguments", [(str(ROOM / "infer.py"),), ("-m", "runtime.infer")])
def test_the_script_starts_from_any_folder(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*arguments, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--frame-offset" in done.stdout


def test_the_script_uses_the_package_around_it_and_hides_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "device" / "runtime"
    shutil.copytree(ROOM, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__init__.py").write_text("print('the copy')")
    # A script's own folder comes first on the path, where this would be found instead of Python's own module.
    (copy / "csv.py").write_text("raise SystemExit('shadowed')")
    done = run(str(copy / "infer.py"), "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("the copy")


def test_running_a_model_imports_only_the_backend(tiny_model: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from runtime.embedder import Embedder; import numpy as np\n"
        f"Embedder.open({str(tiny_model)!r}).embed([np.zeros((9, 9, 3), np.uint8)], 'BGR')\n"
        f"print(sorted(set({HEAVY!r}) & sys.modules.keys()))"
    )
    done = run("-c", code, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("['onnxruntime']\n", "")
