"""Embeddings from elsewhere: trtexec's JSON as it prints it, and what `lgeu evaluate --embeddings` kept."""

from pathlib import Path

import numpy as np
import pytest

from eval.datasets import Image
from eval.exported import read_exported
from runtime.embeddings import Embeddings, read_manifest, save_manifest
from runtime.engine_manifest import BatchProfile, EngineManifest
from runtime.errors import InputError, ManifestError
from runtime.manifest import Manifest

# Of an engine that takes 2 to 4 images.
MANIFEST = Manifest(
    "resnet50", 8, "none", 1, 0, 8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), precision="fp16",
    engine=EngineManifest("tensorrt", "10.3.0", ("SM86",), (BatchProfile(2, 2, 4),), "e", "o", None),
)  # fmt: skip
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


@pytest.mark.parametrize("name", ["{:04d}.json", "{}.json", "batch-{}-of-engine8.json"])
def test_batches_are_in_the_order_of_their_numbers(tmp_path: Path, name: str) -> None:
    numbers = [1, 2, 10, 9999, 10000, 10001, 20000]
    for number in numbers:
        write_trtexec(tmp_path / name.format(number), "1x1", str(number))
    images = [Image(f"{number}.jpg", 1, 1) for number in numbers]
    assert read_exported(tmp_path, images)[:, 0].tolist() == numbers


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
    save_manifest(tmp_path, MANIFEST)
    with pytest.raises(InputError, match=r"holds neither query\.npz .* nor a \.json"):
        read_exported(tmp_path, IMAGES)


def embeddings_of(names: list[str], features: list[list[float]]) -> Embeddings:
    unknown = np.zeros(len(names), np.int64)
    return Embeddings(np.array(features, np.float32), unknown, unknown, np.array(names))


def test_both_halves_of_an_evaluation_are_matched_by_name(tmp_path: Path) -> None:
    embeddings_of(["c.jpg", "other.jpg"], [[1, 0], [2, 0]]).save(tmp_path / "query.npz")
    embeddings_of(["a.jpg", "b.jpg"], [[3, 0], [4, 0]]).save(tmp_path / "gallery.npz")
    save_manifest(tmp_path, MANIFEST)
    np.testing.assert_array_equal(read_exported(tmp_path, IMAGES), [[3, 0], [4, 0], [1, 0]])
    with pytest.raises(InputError, match=r"lacks 1 of 4 images .*first is d\.jpg"):
        read_exported(tmp_path, (*IMAGES, Image("d.jpg", 1, 1)))
    embeddings_of(["a.jpg", "b.jpg"], [[3], [4]]).save(tmp_path / "gallery.npz")
    with pytest.raises(InputError, match=r"embeddings of \[1, 2\] elements"):
        read_exported(tmp_path, IMAGES)


def test_kept_embeddings_beside_trtexecs_results_are_refused(tmp_path: Path) -> None:
    embeddings_of(["c.jpg"], [[1, 0]]).save(tmp_path / "query.npz")
    embeddings_of(["a.jpg", "b.jpg"], [[3, 0], [4, 0]]).save(tmp_path / "gallery.npz")
    (tmp_path / "figures.json").write_text('{"mAP": 0.5}')
    assert read_exported(tmp_path, IMAGES).tolist() == [[3, 0], [4, 0], [1, 0]]
    write_trtexec(tmp_path / "0000.json", "3x2", "5, 6, 7, 8, 9, 10")
    with pytest.raises(InputError, match=r"holds query\.npz of .* and 0000\.json of trtexec's"):
        read_exported(tmp_path, IMAGES)


def test_the_images_that_fill_up_an_engines_smallest_batch_are_left_out(tmp_path: Path) -> None:
    save_manifest(tmp_path, MANIFEST)
    five = (*IMAGES, Image("d.jpg", 1, 1), Image("e.jpg", 1, 1))
    write_trtexec(tmp_path / "0000.json", "4x1", "1, 2, 3, 4")
    write_trtexec(tmp_path / "0001.json", "2x1", "5, 99")
    np.testing.assert_array_equal(read_exported(tmp_path, five), [[1], [2], [3], [4], [5]])
    with pytest.raises(InputError, match="holds 6 embeddings; expected 7"):
        read_exported(tmp_path, (*five, Image("f.jpg", 1, 1), Image("g.jpg", 1, 1)))


def test_a_manifest_is_read_from_its_folder_only(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    save_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert read_manifest(write_trtexec(tmp_path / "0000.json", "1x1", "1")) is None
    (tmp_path / "manifest.json").write_bytes(b"\xff")
    with pytest.raises(ManifestError, match=r"manifest\.json is not JSON"):
        read_manifest(tmp_path)
