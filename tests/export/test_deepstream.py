"""What docs/deepstream.md says, held against a file that was exported for it. DeepStream itself does not run here."""

import configparser
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from engines.graph import load_model, read_manifest
from engines.strip_gate import is_channels_last, is_strip_gate
from export.onnx_export import ExportReport, export_checkpoint
from runtime.embedder import Embedder
from runtime.preprocess import preprocess_batch
from train.checkpoint import load_checkpoint
from train.embedder import TorchBackend

Crops = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def documented(repository: Path) -> configparser.SectionProxy:
    """The [property] group of the nvinfer configuration."""
    blocks = re.findall(r"^```ini\n(.*?)^```", (repository / "docs" / "deepstream.md").read_text(), re.M | re.S)
    configuration = configparser.ConfigParser(interpolation=None)
    configuration.read_string(blocks[0])
    return configuration["property"]


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint("test_resnet", height=256, width=128, strips=4)


@pytest.fixture(scope="module")
def exported(checkpoint: Path, crops: Crops, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    out = tmp_path_factory.mktemp("deepstream")
    return export_checkpoint(checkpoint, out, crops, layout="nhwc", input_format="float-nchw")


def test_the_files_have_names_of_their_own(exported: ExportReport, documented: configparser.SectionProxy) -> None:
    assert exported.fp16 is not None
    assert (exported.fp32.name, exported.fp16.name) == ("model.float-nchw.onnx", "model.float-nchw.fp16.onnx")
    assert documented["model-engine-file"] == exported.fp16.with_suffix(".engine").name
    for path in (exported.fp32, exported.fp16):
        model = load_model(path)
        manifest = read_manifest(model)
        assert (manifest.input_format, manifest.gate_layout) == ("float-nchw", "nhwc")
        assert all(is_channels_last(node) for node in model.graph.node if is_strip_gate(node))


def test_the_configuration_fits_the_file(exported: ExportReport, documented: configparser.SectionProxy) -> None:
    session = onnxruntime.InferenceSession(exported.fp32, providers=["CPUExecutionProvider"])
    (images,), (embeddings,) = session.get_inputs(), session.get_outputs()
    dims = [int(size) for size in documented["infer-dims"].split(";")]
    assert (images.type, images.shape[1:]) == ("tensor(float)", dims)
    assert documented["network-input-order"] == "0"
    assert documented["output-blob-names"] == embeddings.name
    assert embeddings.type == "tensor(float)"
    assert (documented["network-type"], documented["output-tensor-meta"]) == ("100", "1")
    # Means would be subtracted a second time, and from an ONNX file nvinfer would build an engine of its own.
    assert not documented.keys() & {"offsets", "mean-file", "onnx-file"}


def test_what_nvinfer_would_feed_gives_torchs_embeddings(
    exported: ExportReport, checkpoint: Path, crops: Crops, documented: configparser.SectionProxy
) -> None:
    """Planes of net-scale-factor * (x - mean), in the colour order of the configuration."""
    order = {"0": "RGB", "1": "BGR"}[documented["model-color-format"]]
    scaled = preprocess_batch(crops, 256, 128, "BGR")
    pixels = scaled if order == "RGB" else scaled[..., ::-1]
    planes = np.float32(documented["net-scale-factor"]) * pixels.transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(exported.fp32, providers=["CPUExecutionProvider"])
    source = load_checkpoint(checkpoint)
    expected = Embedder(TorchBackend(source.model, source.manifest, torch.device("cpu"))).embed(crops, "BGR")
    np.testing.assert_allclose(session.run(None, {"images": planes})[0], expected, atol=1e-6, rtol=0)
    with Embedder.open(exported.fp32, device="cpu") as embedder:
        np.testing.assert_allclose(embedder.embed(crops, "BGR"), expected, atol=1e-6, rtol=0)
