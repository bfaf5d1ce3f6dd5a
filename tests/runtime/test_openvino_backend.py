"""Which ONNX files OpenVINO runs, and what is said of the others."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from runtime import nvidia
from runtime.embedder import Embedder
from runtime.errors import DeviceError, InputError, ManifestError
from runtime.manifest import Manifest
from runtime.openvino_backend import OpenVinoBackend
from runtime.preprocess import preprocess_batch

pytest.importorskip("openvino", reason="OpenVINO is not installed")

Oracle = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


def test_embeddings_and_what_it_says_of_itself(
    tiny_model: Path, manifest: Manifest, crops: list[NDArray[np.uint8]], oracle: Oracle
) -> None:
    with Embedder.open(tiny_model, backend="openvino", batch_size=4) as embedder:
        backend = embedder.backend
        assert (backend.name, backend.device, backend.max_batch) == ("openvino (CPU)", "cpu", None)
        assert backend.manifest == manifest
        features = embedder.embed(crops, "BGR")
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, oracle(preprocess_batch(crops, 16, 8, "BGR")), atol=1e-5)


def test_a_result_outlives_the_next_batch(tiny_model: Path) -> None:
    backend = OpenVinoBackend(tiny_model)
    first = backend.run(np.full((2, 16, 8, 3), 200, np.uint8))
    before = first.copy()
    backend.run(np.full((2, 16, 8, 3), 10, np.uint8))
    backend.close()
    np.testing.assert_array_equal(first, before)
    first[:] = 0


def test_everything_is_computed_in_float32(tiny_model: Path) -> None:
    compiled = OpenVinoBackend(tiny_model)._request.get_compiled_model()
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert compiled.get_property("EXECUTION_DEVICES") == ["CPU"]


def test_a_closed_backend(tiny_model: Path) -> None:
    backend = OpenVinoBackend(tiny_model)
    backend.close()
    backend.close()
    with pytest.raises(InputError, match="closed"):
        backend.run(np.zeros((1, 16, 8, 3), np.uint8))


def test_a_batch_of_another_shape_fails_as_ours(tiny_model: Path) -> None:
    with pytest.raises(DeviceError, match=r"failed on a batch of shape \(1, 8, 8, 3\)"):
        OpenVinoBackend(tiny_model).run(np.zeros((1, 8, 8, 3), np.uint8))


def test_files_that_are_not_ours(tiny_model: Path, tiny_graph: onnx.ModelProto, tmp_path: Path) -> None:
    model = copy.deepcopy(tiny_graph)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, str(tmp_path / "fixed.onnx"))
    with pytest.raises(ManifestError, match=r"has the input images uint8 \[4, 16, 8, 3\]; its manifest promises"):
        OpenVinoBackend(tmp_path / "fixed.onnx")
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "bare.onnx"))
    with pytest.raises(ManifestError, match="has no manifest"):
        OpenVinoBackend(tmp_path / "bare.onnx")
    (tmp_path / "cut.onnx").write_bytes(tiny_model.read_bytes()[:500])
    with pytest.raises(InputError, match=r"cut\.onnx is not a model that openvino .* can open"):
        OpenVinoBackend(tmp_path / "cut.onnx")
    with pytest.raises(InputError, match="does not exist"):
        OpenVinoBackend(tmp_path / "none.onnx")


def test_the_gpu_is_not_openvinos(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device: Any = "cuda"
    with pytest.raises(InputError, match="device is 'cuda'; OpenVINO runs on the CPU here"):
        OpenVinoBackend(tiny_model, device)
    monkeypatch.setattr(nvidia, "_DEVICES", (tmp_path / "absent", tmp_path))
    with caplog.at_level(logging.WARNING):
        OpenVinoBackend(tiny_model, "cpu")
        assert caplog.records == []
        OpenVinoBackend(tiny_model, "auto")
    assert "runs on the CPU, and this machine has an NVIDIA GPU: OpenVINO cannot use it" in caplog.text
