"""StripGate as the plugin computes it inside an engine, against ONNX Runtime's reading of the function body."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from engines.graph import save_model
from engines.precision import to_fp16
from runtime.embedder import Embedder
from runtime.engine_manifest import BatchProfile, Flavour

# The five images are run as four and one: a full batch, and one that is padded to the smallest.
PROFILE = BatchProfile(2, 4, 4)


@pytest.mark.gpu
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_an_engine_agrees_with_onnx_runtime(
    build_for_this_gpu: Callable[..., Path],
    plugin_library: Path,
    make_model: Callable[..., onnx.ModelProto],
    run_onnx: Callable[[onnx.ModelProto, NDArray[np.uint8]], NDArray[np.float32]],
    images: NDArray[np.uint8],
    flavour: Flavour,
    precision: str,
    channels_last: bool,
    tmp_path: Path,
) -> None:
    model = make_model(channels_last=channels_last)
    save_model(model if precision == "fp32" else to_fp16(model), tmp_path / "model.onnx")
    engine = build_for_this_gpu(tmp_path / "model.onnx", flavour, PROFILE, plugin=plugin_library)
    with Embedder.open(engine, plugin=plugin_library) as embedder:
        given = np.concatenate([embedder.backend.run(chunk) for chunk in (images[:4], images[4:])])
    expected = run_onnx(model, images)
    if precision == "fp32":
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5)
    cosines = (given.astype(np.float64) * expected).sum(1)
    np.testing.assert_allclose(cosines, 1, rtol=0, atol=1e-4)


# In a process of its own, in which no StripGate library is loaded.
EMBED = """
import sys
import numpy as np
from runtime.embedder import Embedder
with Embedder.open(sys.argv[1]) as embedder:
    images = np.load(sys.argv[2])
    batches = [embedder.backend.run(images[:count]) for count in (1, 3, 4, 1)]
np.savez(sys.argv[3], *batches)
"""


@pytest.mark.gpu
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_several_profiles_and_the_plugin_inside(
    build_for_this_gpu: Callable[..., Path],
    plugin_library: Path,
    make_model: Callable[..., onnx.ModelProto],
    run_onnx: Callable[[onnx.ModelProto, NDArray[np.uint8]], NDArray[np.float32]],
    images: NDArray[np.uint8],
    flavour: Flavour,
    tmp_path: Path,
) -> None:
    save_model(make_model(), tmp_path / "model.onnx")
    profiles = (BatchProfile(1, 1, 1), PROFILE)
    engine = build_for_this_gpu(tmp_path / "model.onnx", flavour, *profiles, plugin=plugin_library, embed_plugin=True)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", EMBED, engine, tmp_path / "images.npy", tmp_path / "features.npz"]
    subprocess.run(command, check=True)
    expected = run_onnx(make_model(), images)
    with np.load(tmp_path / "features.npz") as batches:
        for given in batches.values():
            np.testing.assert_allclose(given, expected[: len(given)], rtol=0, atol=1e-5)
