"""Embeddings from other programs: trtexec's JSON as it prints it, and files matched by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eval.datasets import Image
from eval.exported import exported_precision, read_exported
from runtime.embeddings import Embeddings
from runtime.errors import InputError
from runtime.manifest import BatchProfile, EngineManifest, Manifest, write_engine_manifest

IMAGES = (Image("a.jpg", 1, 1), Image("b.jpg", 2, 1), Image("c.jpg", 1, 2))

# trtexec's own layout: one object a binding, keys spaced, numbers as C++ streams print them.
TRTEXEC = """[
  {{ "name" : "embeddings"
  , "dimensions" : "{dimensions}"
  , "values" : [ {values} ]
  }}
]
"""


def write_trtexec(path: Path, dimensions: str, values: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TRTEXEC.format(dimensions=dimensions, values=values))
    return path


def test_trtexec_output_is_read_row_by_row(tmp_path: Path) -> None:
    path = write_trtexec(tmp_path / "out.json", "3x2", "0.6, 0.8, -1, 1.5e-05, 0, 1")
    np.testing.assert_array_equal(read_exported(path, IMAGES), np.array([[0.6, 0.8], [-1, 1.5e-5], [0, 1]], np.float32))


def test_trtexec_prints_nan_and_inf_as_no_json_does(tmp_path: Path) -> None:
    path = write_trtexec(tmp_path / "out.json", "3x2", "nan, -nan, inf, -inf, 0, 1")
    np.testing.assert_array_equal(
        read_exported(path, IMAGES), np.array([[np.nan, np.nan], [np.inf, -np.inf], [0, 1]], np.float32)
    )


def test_a_folder_of_batches_is_joined_in_the_order_of_its_names(tmp_path: Path) -> None:
    write_trtexec(tmp_path / "batches" / "0001.json", "1x2", "5, 6")
    write_trtexec(tmp_path / "batches" / "0000.json", "2x2", "1, 2, 3, 4")
    np.testing.assert_array_equal(read_exported(tmp_path / "batches", IMAGES), [[1, 2], [3, 4], [5, 6]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not what `trtexec"),
        ("{}", "not what `trtexec"),
        ('[{"name": "logits", "dimensions": "3x1", "values": [1, 2, 3]}]', "not what `trtexec"),
        ('[{"name": "embeddings", "dimensions": "3x2", "values": [1, 2, 3]}]', "not what `trtexec"),
        ('[{"name": "embeddings", "dimensions": "2x1", "values": [1, 2]}]', "holds 2 embeddings; expected 3"),
        ("", "is empty"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "out.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_exported(tmp_path / "out.json", IMAGES)


def test_a_folder_without_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.json"):
        read_exported(tmp_path, IMAGES)


def test_an_npz_is_matched_by_name(tmp_path: Path, make_embeddings: Callable[..., Embeddings]) -> None:
    embeddings = Embeddings(
        np.eye(4, dtype=np.float32),
        np.zeros(4, np.int64),
        np.zeros(4, np.int64),
        np.array(["c.jpg", "other.jpg", "a.jpg", "b.jpg"]),
    )
    embeddings.save(tmp_path / "e.npz")
    np.testing.assert_array_equal(read_exported(tmp_path / "e.npz", IMAGES), np.eye(4)[[2, 3, 0]])
    with pytest.raises(InputError, match=r"lacks 1 of 4 images .*first is d\.jpg"):
        read_exported(tmp_path / "e.npz", (*IMAGES, Image("d.jpg", 1, 1)))


def test_the_precision_is_that_of_the_engine_of_the_same_name(tmp_path: Path) -> None:
    manifest = Manifest(
        "resnet50", 8, "none", 1, 0, 8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "fp16",
        engine=EngineManifest("tensorrt", "10.3.0", "SM86", BatchProfile(1, 2, 4), "e", "o", None),
    )  # fmt: skip
    write_engine_manifest(tmp_path / "model.fp16.engine", manifest)
    assert exported_precision(tmp_path / "model.fp16.json") == "fp16"
    assert exported_precision(tmp_path / "model.json") == "fp32"
