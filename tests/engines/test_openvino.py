"""Files with StripGate on OpenVINO, against ONNX Runtime, which takes the function body."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from engines.graph import save_model, set_functions
from engines.input_format import set_input_format
from engines.precision import to_fp16
from runtime.embedder import Embedder
from runtime.manifest import Functions, Precision
from runtime.openvino_backend import OpenVinoBackend

pytest.importorskip("openvino", reason="OpenVINO is not installed")

Images = NDArray[np.uint8]
MakeModel = Callable[..., onnx.ModelProto]
Run = Callable[[onnx.ModelProto, Images], NDArray[np.float32]]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("strips", [1, 2, 4, 8])
def test_the_gate_whatever_its_strips_and_layout(
    make_model: MakeModel, run_onnx: Run, images: Images, strips: int, channels_last: bool, tmp_path: Path
) -> None:
    model = make_model(strips=strips, channels_last=channels_last)
    save_model(model, tmp_path / "model.onnx")
    np.testing.assert_allclose(
        OpenVinoBackend(tmp_path / "model.onnx").run(images), run_onnx(model, images), rtol=0, atol=1e-6
    )


def test_a_file_that_takes_planes_of_floats(
    make_model: MakeModel, run_onnx: Run, images: Images, tmp_path: Path
) -> None:
    save_model(set_input_format(make_model(), "float-nchw"), tmp_path / "model.onnx")
    np.testing.assert_allclose(
        OpenVinoBackend(tmp_path / "model.onnx").run(images), run_onnx(make_model(), images), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("functions", ["keep", "strip", "inline"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("gate", ["strip", "se", "none"])
def test_every_form_of_a_file(
    make_model: MakeModel,
    run_onnx: Run,
    images: Images,
    gate: str,
    precision: Precision,
    functions: Functions,
    tmp_path: Path,
) -> None:
    kept = make_model(gate)
    kept = to_fp16(kept) if precision == "fp16" else kept
    save_model(set_functions(kept, functions), tmp_path / "model.onnx")
    with Embedder.open(tmp_path / "model.onnx", backend="openvino") as embedder:
        features = embedder.backend.run(images)
    # ONNX Runtime rounds what lies between an fp16 file's layers; OpenVINO does not.
    np.testing.assert_allclose(features, run_onnx(kept, images), rtol=0, atol=1e-6 if precision == "fp32" else 2e-3)
