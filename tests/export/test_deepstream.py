"""What docs/deepstream.md says, held against a file that was exported for it. DeepStream itself does not run here."""

import configparser
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from lgeu.cli import main
from runtime.embedder import Embedder
from runtime.preprocess import preprocess_batch
from train.checkpoint import load_checkpoint
from train.embedder import TorchBackend

Crops = list[NDArray[np.uint8]]


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "deepstream.md").read_text()
COMMANDS = [shlex.split(line) for line in PAGE.splitlines() if line.startswith("lgeu ")]


@pytest.fixture(scope="module")
def documented() -> configparser.SectionProxy:
    """The [property] group of the nvinfer configuration."""
    configuration = configparser.ConfigParser(interpolation=None)
    configuration.read_string(re.findall(r"^```ini\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0])
    return configuration["property"]


@pytest.fixture(scope="module")
def workplace(make_checkpoint: Callable[..., Path]) -> Iterator[Path]:
    """The current folder, with a checkpoint and what the page's first command makes of it."""
    checkpoint = make_checkpoint("test_resnet", height=256, width=128, strips=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkpoint.parent)
        assert main(COMMANDS[0][1:]) == 0
        yield checkpoint.parent


@pytest.fixture(scope="module")
def model(workplace: Path) -> Path:
    return workplace / "onnx" / "model.float-nchw.onnx"


def test_the_commands_name_the_files(
    workplace: Path, documented: configparser.SectionProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(path.name for path in (workplace / "onnx").iterdir()) == [
        "model.float-nchw.fp16.onnx",
        "model.float-nchw.onnx",
    ]
    assert len(COMMANDS) == 2
    capsys.readouterr()
    assert main(COMMANDS[1][1:]) == 0
    printed = capsys.readouterr().out
    assert f"--saveEngine=onnx/{documented['model-engine-file']} " in printed
    assert f"--maxShapes=images:{documented['batch-size']}x3x256x128 " in printed


def test_the_configuration_fits_the_file(model: Path, documented: configparser.SectionProxy) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
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
    workplace: Path, model: Path, crops: Crops, documented: configparser.SectionProxy
) -> None:
    """Planes of net-scale-factor * (x - mean), in the colour order of the configuration."""
    order = {"0": "RGB", "1": "BGR"}[documented["model-color-format"]]
    scaled = preprocess_batch(crops, 256, 128, "BGR")
    pixels = scaled if order == "RGB" else scaled[..., ::-1]
    planes = np.float32(documented["net-scale-factor"]) * pixels.transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    source = load_checkpoint(workplace / "checkpoint.pt")
    expected = Embedder(TorchBackend(source.model, source.manifest, torch.device("cpu"))).embed(crops, "BGR")
    np.testing.assert_allclose(session.run(None, {"images": planes})[0], expected, atol=1e-6, rtol=0)
    with Embedder.open(model, device="cpu") as embedder:
        np.testing.assert_allclose(embedder.embed(crops, "BGR"), expected, atol=1e-6, rtol=0)
