"""The embedder on a real ONNX file, against NumPy in float64."""

import copy
import dataclasses
import os
import re
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from runtime.embedder import Embedder
from runtime.errors import InputError
from runtime.manifest import METADATA_KEY, Manifest, Precision
from runtime.preprocess import preprocess_batch

Oracle = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


@pytest.mark.parametrize("batch_size", [None, 1, 3, 11, 64])
def test_embeddings_whatever_the_chunks(
    tiny_model: Path, crops: list[NDArray[np.uint8]], oracle: Oracle, batch_size: int | None
) -> None:
    with Embedder.open(tiny_model, batch_size=batch_size) as embedder:
        features = embedder.embed(crops, "BGR")
    expected = oracle(preprocess_batch(crops, 16, 8, "BGR"))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)


def test_the_colour_order_is_the_callers(tiny_model: Path, crops: list[NDArray[np.uint8]]) -> None:
    with Embedder.open(tiny_model) as embedder:
        bgr = embedder.embed(crops, "BGR")
        np.testing.assert_array_equal(embedder.embed([crop[..., ::-1] for crop in crops], "RGB"), bgr)
        assert np.abs(embedder.embed(crops, "RGB") - bgr).max() > 0.1


def test_no_crops_give_no_rows(tiny_model: Path, manifest: Manifest) -> None:
    with Embedder.open(str(tiny_model)) as embedder:
        assert embedder.manifest == manifest
        features = embedder.embed([], "BGR")
    assert (features.shape, features.dtype) == ((0, manifest.embedding_size), np.float32)


def test_a_generator_is_read_one_chunk_at_a_time(tiny_model: Path) -> None:
    alive: list[weakref.ref[NDArray[np.uint8]]] = []
    most = 0

    def crops() -> Iterator[NDArray[np.uint8]]:
        nonlocal most
        for value in range(20):
            crop = np.full((9, 9, 3), value, np.uint8)
            alive.append(weakref.ref(crop))
            most = max(most, sum(item() is not None for item in alive))
            yield crop

    with Embedder.open(tiny_model, batch_size=4) as embedder:
        assert len(embedder.embed(crops(), "BGR")) == 20
    # One chunk that was embedded, or is being filled, and the crop just made.
    assert most <= 2 * 4 + 1


def test_a_bad_crop_in_the_middle_is_refused(tiny_model: Path, crops: list[NDArray[np.uint8]]) -> None:
    with Embedder.open(tiny_model, batch_size=2) as embedder, pytest.raises(InputError, match="float64"):
        embedder.embed([*crops, np.zeros((4, 4, 3))], "BGR")  # type: ignore[list-item]


IMAGES = np.random.default_rng(2).integers(0, 256, (4, 16, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "given"),
    [
        (IMAGES / 255, r"has shape \(4, 16, 8, 3\) and type float64"),
        (IMAGES.astype(np.int64), "type int64"),
        (IMAGES.transpose(0, 3, 1, 2), r"shape \(4, 3, 16, 8\)"),
        (IMAGES[:, :, :7], r"shape \(4, 16, 7, 3\)"),
        (IMAGES[0], r"shape \(16, 8, 3\)"),
        (IMAGES[:0], r"shape \(0, 16, 8, 3\)"),
        (np.array(3, np.uint8), r"shape \(\)"),
        (list(IMAGES), "is a list"),
    ],
)
def test_a_batch_that_is_none_is_refused(tiny_model: Path, oracle: Oracle, images: Any, given: str) -> None:
    expected = r"; expected 1 or more RGB images of shape \(16, 8, 3\) and type uint8"
    with Embedder.open(tiny_model) as embedder:
        with pytest.raises(InputError, match=f"a batch .*{given}.*{expected}"):
            embedder.submit(images)
        np.testing.assert_allclose(embedder.submit(IMAGES).result(), oracle(IMAGES), atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "remedy"), [("fp32", "this fp32 model: check the weights"), ("fp16", "overflowed, use the fp32 file")]
)
def test_embeddings_that_are_not_finite_are_refused(
    tiny_graph: onnx.ModelProto, manifest: Manifest, tmp_path: Path, precision: Precision, remedy: str
) -> None:
    graph = copy.deepcopy(tiny_graph)
    (mean,) = (constant for constant in graph.graph.initializer if constant.name == "mean")
    mean.CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), "mean"))
    helper.set_model_props(graph, {METADATA_KEY: dataclasses.replace(manifest, precision=precision).to_json()})
    onnx.save(graph, str(tmp_path / "model.onnx"))
    images = IMAGES.copy()
    images[[1, 3]] = 0  # of length zero, which the model divides by
    message = f"2 of 4 embeddings of a batch hold NaN or infinity; expected finite numbers from .*{remedy}"
    with Embedder.open(tmp_path / "model.onnx", batch_size=4) as embedder:
        pending = embedder.submit(images)
        for _ in range(2):
            with pytest.raises(InputError, match=message):
                pending.result()
        with pytest.raises(InputError, match=message):
            embedder.embed([*IMAGES, *images], "RGB")
        assert np.isfinite(embedder.embed([*IMAGES, *IMAGES], "RGB")).all()
        embedder.refuses_non_finite = False
        assert np.isnan(embedder.embed(list(images), "RGB")).all(axis=1).tolist() == [False, True, False, True]


FORKS = """
import faulthandler, os, sys
import numpy as np
from runtime.embedder import Embedder
from runtime.errors import InputError

with Embedder.open(sys.argv[1]) as embedder:
    crops = [np.zeros((20, 10, 3), np.uint8)] * 70
    embedder.embed(crops, "BGR")
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(30, exit=True)
        for call, *arguments in ((embedder.embed, crops, "BGR"), (embedder.submit, np.zeros((1, 16, 8, 3), np.uint8))):
            try:
                call(*arguments)
            except InputError as error:
                print(error, flush=True)
        embedder.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    embedder.embed(crops, "BGR")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_is_told_instead_of_waiting_for_ever(tiny_model: Path) -> None:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    command = [sys.executable, "-c", FORKS, str(tiny_model)]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    lines = printed.splitlines()
    assert len(lines) == 2
    assert all(
        re.match(r"this embedder was opened in process \d+, from which this one was forked", each) for each in lines
    )


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_sizes_that_are_none(tiny_model: Path, batch_size: int) -> None:
    with pytest.raises(InputError, match=f"batch size is {batch_size}; expected 1 to any size"):
        Embedder.open(tiny_model, batch_size=batch_size)


class Limited:
    """A backend that takes at most three images and notes what it was given."""

    name = "limited"
    device = "cpu"
    max_batch: int | None = 3

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.batches: list[int] = []
        self.closed = 0

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(images))
        return np.zeros((len(images), self.manifest.embedding_size), np.float32)

    def close(self) -> None:
        self.closed += 1


def test_a_limited_backend_gets_its_largest_batch(manifest: Manifest, crops: list[NDArray[np.uint8]]) -> None:
    backend = Limited(manifest)
    with Embedder(backend) as embedder:
        assert embedder.embed(crops[:8], "BGR").shape == (8, manifest.embedding_size)
        with pytest.raises(InputError, match="expected 1 to 3 RGB images"):
            embedder.submit(IMAGES)
    assert backend.batches == [3, 3, 2]
    assert backend.closed == 1
    with pytest.raises(InputError, match="batch size is 4; expected 1 to 3 for limited"):
        Embedder(backend, batch_size=4)


def test_the_backend_is_closed_when_the_work_fails(manifest: Manifest) -> None:
    backend = Limited(manifest)
    crop: Any = "crop"
    with pytest.raises(InputError), Embedder(backend) as embedder:
        embedder.embed([crop], "BGR")
    assert backend.closed == 1


@pytest.mark.parametrize("name", ["model.pt", "model", "model.engine.json"])
def test_files_that_do_not_run_here(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"expected an \.onnx or \.engine file"):
        Embedder.open(tmp_path / name)


def test_an_engine_does_not_run_on_the_cpu(tmp_path: Path) -> None:
    (tmp_path / "a.engine").write_bytes(b"plan")
    with pytest.raises(InputError, match=r"runs on a GPU only; use the \.onnx file"):
        Embedder.open(tmp_path / "a.engine", device="cpu")
