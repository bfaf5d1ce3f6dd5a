"""The outside reference as an embedder, and embeddings that are kept: on a file of its form made here."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from kept_embeddings import kept_run
from onnx import TensorProto, helper, numpy_helper
from retail_0287 import open_retail

from eval.datasets import open_dataset
from runtime.embedder import Embedder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """1 x 256 x 128 x 3 floats to the first channel of the first column: 1 x 256."""
    return first_column(tmp_path / "model.onnx", channel=0)


def first_column(path: Path, channel: int) -> Path:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 256, 128, 3])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 256])
    constants = {"column": np.array(0), "channel": np.array(channel)}
    nodes = [
        helper.make_node("Gather", ["image", "column"], ["first"], axis=2),
        helper.make_node("Gather", ["first", "channel"], ["embedding"], axis=2),
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "form", [image], [embedding], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_it_sees_blue_first_in_0_to_255_and_one_picture_at_a_time(model: Path) -> None:
    crops = [np.zeros((256, 128, 3), np.uint8) for _ in range(5)]
    for blue, crop in enumerate(crops, start=1):
        crop[:, 0, 0] = np.arange(256)
        crop[0, 0, 0] = 30 * blue
        crop[:, :, 2] = 200
    with open_retail(model) as embedder:
        features = embedder.embed(crops, colour_order="BGR")
    expected = np.stack([crop[:, 0, 0].astype(np.float64) for crop in crops])
    np.testing.assert_allclose(features, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)


def test_kept_embeddings_are_of_the_same_file_and_the_same_images(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    random = np.random.default_rng(0)
    for person in (1, 2, 5, 10):
        for camera in (1, 2):
            for frame in (1, 2):
                path = data / "bounding_box_train" / f"{person:04d}_c{camera}s1_{frame:06d}_00.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), random.integers(0, 256, (64, 32, 3)))
    opened = []

    def open_model() -> Embedder:
        opened.append(1)
        return open_retail(model)

    dataset, kept = open_dataset(data, "person%5"), tmp_path / "kept"
    first = kept_run(model, open_model, dataset, kept)
    second = kept_run(model, open_model, dataset, kept)
    assert len(opened) == 1
    assert np.array_equal(first.query.features, second.query.features)
    assert np.array_equal(first.gallery.features, second.gallery.features)

    other_images = kept_run(model, open_model, open_dataset(data, "person%2"), kept)
    assert len(opened) == 2
    assert set(other_images.query.person_ids.tolist()) == {2, 10}

    first_column(model, channel=1)
    other_model = kept_run(model, open_model, open_dataset(data, "person%2"), kept)
    assert len(opened) == 3
    assert not np.array_equal(other_model.query.features, other_images.query.features)
