"""Which backend runs a model file."""

from pathlib import Path

from .backend import Backend, Device
from .errors import InputError
from .files import require_file


def open_backend(path: Path, device: Device = "auto", *, plugin: Path | None = None) -> Backend:
    """Open what runs `path`; see `runtime.embedder.Embedder.open`."""
    if path.suffix not in (".onnx", ".engine"):
        raise InputError(f"{path} is not a model that runs here; expected an .onnx or .engine file")
    require_file(path, "model")
    if path.suffix == ".onnx":
        from .onnxruntime_backend import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, device)
    from .tensorrt_backend import TensorRTBackend

    if device == "cpu":
        raise InputError(f"{path} is an engine, which runs on a GPU only; use the .onnx file for device 'cpu'")
    return TensorRTBackend(path, plugin)
