"""Embeddings on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.embeddings import Embeddings
from runtime.errors import InputError


def arrays(rows: int = 3, **changes: Any) -> dict[str, Any]:
    """The required arrays, with `changes`; None takes one away."""
    content: dict[str, Any] = {
        "features": np.arange(rows * 4, dtype=np.float32).reshape(rows, 4),
        "person_ids": np.full(rows, -2),
        "camera_ids": np.full(rows, -1),
        "names": np.array([f"ä{i}.jpg" for i in range(rows)], np.str_),
    }
    return {name: value for name, value in (content | changes).items() if value is not None}


def video(rows: int = 3) -> dict[str, Any]:
    return arrays(rows, frames=np.arange(rows), tracks=np.full(rows, -1), boxes=np.ones((rows, 4), np.float32))


@pytest.mark.parametrize("content", [arrays(), arrays(0), video(), video(0)])
def test_round_trip(content: dict[str, Any], tmp_path: Path) -> None:
    Embeddings(**content).save(tmp_path / "a.npz")
    loaded = Embeddings.load(tmp_path / "a.npz")
    for name in ("features", "person_ids", "camera_ids", "names", "frames", "tracks", "boxes"):
        expected, found = content.get(name), getattr(loaded, name)
        if expected is None:
            assert found is None
        else:
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.npz"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": None}, "has no array 'features'"),
        ({"camera_ids": None}, "has no array 'camera_ids'"),
        ({"features": np.ones(3, np.float32)}, "features is 1-D of type float32; expected 2-D float"),
        ({"features": np.ones((3, 4), np.int32)}, "features is 2-D of type int32"),
        ({"person_ids": np.ones(3)}, "person_ids is 1-D of type float64; expected 1-D integer"),
        ({"names": np.array([b"a", b"b", b"c"])}, "names is .* expected 1-D unicode"),
        ({"camera_ids": np.ones(2, np.int64)}, "camera_ids has 2 rows and features 3"),
        ({"boxes": np.ones((3, 5), np.float32)}, r"boxes has shape \(3, 5\); expected \(N, 4\)"),
        ({"names": np.array(["a", 1, None], object)}, "without pickles"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays(**changes))
    with pytest.raises(InputError, match=message) as caught:
        Embeddings.load(tmp_path / "a.npz")
    assert "a.npz" in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 100, 600, -1])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_truncated_files(save: Any, kept: int, tmp_path: Path) -> None:
    save(tmp_path / "whole.npz", **arrays(100))
    (tmp_path / "a.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:kept])
    with pytest.raises(InputError, match=r"a\.npz"):
        Embeddings.load(tmp_path / "a.npz")


def test_damaged_content(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **arrays(1000))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[200:260] = bytes(60)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        Embeddings.load(tmp_path / "a.npz")


def test_other_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(InputError, match="holds a single array"):
        Embeddings.load(tmp_path / "a.npy")
    (tmp_path / "b.npz").write_text("person,camera")
    with pytest.raises(InputError, match=r"not a readable \.npz") as caught:
        Embeddings.load(tmp_path / "b.npz")
    assert "allow_pickle" not in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        Embeddings.load(tmp_path / "c.npz")
