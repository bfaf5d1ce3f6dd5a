"""Which backend runs which file, and that it is said."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest

from runtime import backend_choice, nvidia
from runtime.backend import BackendName, Device
from runtime.backend_choice import open_backend
from runtime.errors import DeviceError, InputError, MissingDependencyError


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Packages that seem not to be installed."""
    names: set[str] = set()
    find = importlib.util.find_spec
    monkeypatch.setattr(backend_choice, "find_spec", lambda name: None if name in names else find(name))
    return names


@pytest.mark.parametrize(("absent", "expected"), [((), "onnxruntime (CPU)"), (("openvino",), "onnxruntime (CPU)")])
def test_onnxruntime_comes_first(
    tiny_model: Path, missing: set[str], absent: tuple[str, ...], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    missing.update(absent)
    with caplog.at_level(logging.INFO):
        assert open_backend(tiny_model, device="cpu").name == expected
    assert caplog.messages == [f"{tiny_model} runs on {expected}: the first installed of onnxruntime, openvino"]


def test_openvino_where_there_is_no_onnxruntime(tiny_model: Path, missing: set[str]) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    missing.add("onnxruntime")
    assert open_backend(tiny_model).name == "openvino (CPU)"


def test_nothing_that_runs_onnx_files(tiny_model: Path, missing: set[str]) -> None:
    missing.update(("onnxruntime", "openvino"))
    with pytest.raises(MissingDependencyError, match=r"pip install onnxruntime \(or .*\), or pip install openvino"):
        open_backend(tiny_model)


@pytest.mark.parametrize(("backend", "expected"), [("onnxruntime", "onnxruntime"), ("openvino", "openvino")])
def test_a_forced_backend(
    tiny_model: Path, backend: BackendName, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    with caplog.at_level(logging.INFO):
        assert open_backend(tiny_model, backend, "cpu").name == f"{expected} (CPU)"
    assert caplog.messages == [f"{tiny_model} runs on {expected} (CPU): as asked for"]


def test_a_gpu_that_stands_idle_is_said(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime offers a GPU")
    monkeypatch.setattr(nvidia, "_DEVICES", (tmp_path,))
    with caplog.at_level(logging.WARNING):
        open_backend(tiny_model, device="cpu")
        assert caplog.messages == []
        open_backend(tiny_model)
    assert "this machine has an NVIDIA GPU: the installed onnxruntime" in caplog.text
    assert "install onnxruntime-gpu" in caplog.text


@pytest.mark.parametrize(
    ("suffix", "backend", "device", "message"),
    [
        (".onnx", "tensorrt", "auto", r"given to the backend tensorrt; tensorrt runs engines"),
        (".engine", "onnxruntime", "auto", r"given to the backend onnxruntime; onnxruntime runs \.onnx files"),
        (".engine", "openvino", "auto", r"openvino runs \.onnx files"),
        (".engine", "auto", "cpu", r"runs on a GPU only; use the \.onnx file"),
        (".onnx", "onnxruntime-tensorrt", "cpu", "runs on a GPU only; use onnxruntime for device 'cpu'"),
        (".onnx", "openvino", "cuda", "OpenVINO runs on the CPU here"),
        (".onnx", "torch", "auto", "backend is 'torch'; expected one of auto, tensorrt, onnxruntime"),
        (".pt", "auto", "auto", r"expected an \.onnx or \.engine file"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, suffix: str, backend: Any, device: Device, message: str) -> None:
    (tmp_path / f"model{suffix}").write_bytes(b"something")
    with pytest.raises(InputError, match=message):
        open_backend(tmp_path / f"model{suffix}", backend, device)


def test_the_tensorrt_provider_where_it_is_not_offered(tiny_model: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime offers TensorRT")
    with pytest.raises(DeviceError, match=r"offers .*CPUExecutionProvider, not TensorrtExecutionProvider"):
        open_backend(tiny_model, "onnxruntime-tensorrt")
