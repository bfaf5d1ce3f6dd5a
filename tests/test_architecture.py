"""The rooms' imports run one way; held from the code's own imports."""

import ast
import sys
from pathlib import Path

import pytest

MAY_IMPORT = {
    "lgeu": {"train", "export", "engines", "eval", "runtime"},
    "export": {"train", "engines", "runtime"},
    "train": {"eval", "runtime"},
    "eval": {"runtime"},
    "engines": {"runtime"},
    "runtime": set(),
}
TORCH_FREE = ("runtime", "eval", "engines")
TORCH_PACKAGES = {"torch", "torchvision", "timm", "accelerate"}
EDGE_PACKAGES = {
    *("numpy", "cv2", "tqdm"),
    *("faiss", "scipy"),  # extras
    *("onnxruntime", "tensorrt", "tensorrt_rtx_bindings", "tensorrt_rtx_libs", "cuda", "pycuda", "openvino"),
}


def imports_of(path: Path, repository: Path) -> tuple[set[str], bool]:
    """Top-level names that a file imports absolutely, and whether a relative import leaves its room."""
    room, depth = path.relative_to(repository).parts[0], len(path.relative_to(repository).parts) - 1
    absolute: set[str] = set()
    reaches_up = False
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            absolute |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                absolute.add((node.module or "").partition(".")[0])
            reaches_up |= node.level > depth
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("require", "importlib.import_module"):
            named = {arg.value.partition(".")[0] for arg in node.args[:1] if isinstance(arg, ast.Constant)}
            absolute |= named - {room}  # a script must name its own package to be able to import relatively
    return absolute, reaches_up


def files_of(repository: Path, room: str) -> list[Path]:
    return [path for path in sorted((repository / room).rglob("*.py")) if "build" not in path.parts]


def test_an_import_that_leaves_its_room_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "runtime" / "x.py"
    file.parent.mkdir()
    file.write_text("from ..engines import graph")
    assert imports_of(file, tmp_path) == (set(), True)
    file.write_text("from .files import sha256\nimport importlib\nimportlib.import_module('engines.graph')")
    assert imports_of(file, tmp_path) == ({"importlib", "engines"}, False)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_the_rooms_below_them(repository: Path, room: str) -> None:
    files = files_of(repository, room)
    assert files
    for path in files:
        absolute, reaches_up = imports_of(path, repository)
        other_rooms = absolute & MAY_IMPORT.keys()
        assert room not in other_rooms, f"{path}: imports inside a room are relative"
        assert other_rooms <= MAY_IMPORT[room], f"{path} imports {other_rooms - MAY_IMPORT[room]}"
        assert not reaches_up, f"{path}: imports between rooms are absolute"


@pytest.mark.parametrize("room", TORCH_FREE)
def test_torch_stays_out_of_the_torch_free_rooms(repository: Path, room: str) -> None:
    for path in files_of(repository, room):
        assert not imports_of(path, repository)[0] & TORCH_PACKAGES, path


def test_the_runtime_imports_only_what_an_edge_device_carries(repository: Path) -> None:
    for path in files_of(repository, "runtime"):
        foreign = imports_of(path, repository)[0] - set(sys.stdlib_module_names) - EDGE_PACKAGES - {"runtime"}
        assert not foreign, f"{path} imports {foreign}"
