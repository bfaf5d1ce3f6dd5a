"""Which backend runs a model file."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from .backend import Backend, BackendName, Device
from .errors import InputError, MissingDependencyError
from .files import require_file

# What "auto" tries for an ONNX file, the first that is installed. ONNX Runtime comes first: it can use a GPU, and it is
# what `lgeu export` checks its files with.
_ONNX_ORDER = ("onnxruntime", "openvino")
_DEFAULT_TENSORRT_BATCH = 32

logger = logging.getLogger(__name__)


def open_backend(
    path: Path,
    backend: BackendName = "auto",
    device: Device = "auto",
    *,
    batch_size: int | None = None,
    plugin: Path | None = None,
) -> Backend:
    """Open what runs `path`, and log what that is and why.

    "auto" takes TensorRT for an engine. For an ONNX file it takes the first of onnxruntime and openvino that is
    installed; with device "auto", ONNX Runtime takes the GPU where it can use one, else the CPU. Where that leaves an
    NVIDIA GPU idle there is a warning. "onnxruntime-tensorrt" is never chosen: it builds an engine at each start.

    Args:
        path: an .engine or .onnx file.
        backend: "auto", or the one to use.
        device: "auto", "cpu" or "cuda".
        batch_size: the largest batch, for "onnxruntime-tensorrt", whose engine is built for it; None is 32.
        plugin: the StripGate library of an engine.

    Raises:
        LgeuError: see `runtime.embedder.Embedder.open`.
    """
    _check(path, backend, device)
    if path.suffix == ".engine":
        from .tensorrt_backend import TensorRTBackend

        opened: Backend = TensorRTBackend(path, plugin)
        why = "an engine runs on TensorRT alone"
    else:
        chosen = _installed(path) if backend == "auto" else backend
        opened = _open_onnx(path, chosen, device, batch_size)
        why = f"the first installed of {', '.join(_ONNX_ORDER)}" if backend == "auto" else "as asked for"
    logger.info("%s runs on %s: %s", path, opened.name, why)
    return opened


def _check(path: Path, backend: BackendName, device: Device) -> None:
    if path.suffix not in (".onnx", ".engine"):
        raise InputError(f"{path} is not a model that runs here; expected an .onnx or .engine file")
    if backend not in get_args(BackendName):
        raise InputError(f"backend is {backend!r}; expected one of {', '.join(get_args(BackendName))}")
    require_file(path, "model")
    is_engine = path.suffix == ".engine"
    if backend != "auto" and is_engine != (backend == "tensorrt"):
        runs = "tensorrt runs engines" if backend == "tensorrt" else f"{backend} runs .onnx files"
        raise InputError(f"{path} was given to the backend {backend}; {runs}: leave the backend out, or give the other")
    if is_engine and device == "cpu":
        raise InputError(f"{path} is an engine, which runs on a GPU only; use the .onnx file for device 'cpu'")
    if backend == "onnxruntime-tensorrt" and device == "cpu":
        raise InputError("the backend onnxruntime-tensorrt runs on a GPU only; use onnxruntime for device 'cpu'")


def _installed(path: Path) -> str:
    for package in _ONNX_ORDER:
        if find_spec(package) is not None:
            return package
    raise MissingDependencyError(
        f"running {path.name} needs one of the Python packages {' and '.join(_ONNX_ORDER)}, and none is installed; "
        "install one with: pip install onnxruntime (or onnxruntime-gpu), or pip install openvino"
    )


def _open_onnx(path: Path, backend: str, device: Device, batch_size: int | None) -> Backend:
    if backend == "openvino":
        from .openvino_backend import OpenVinoBackend

        return OpenVinoBackend(path, device)
    from .onnxruntime_backend import OnnxRuntimeBackend

    if backend == "onnxruntime-tensorrt":
        return OnnxRuntimeBackend(path, "cuda", tensorrt_batch=batch_size or _DEFAULT_TENSORRT_BATCH)
    return OnnxRuntimeBackend(path, device)
