"""Opening an ONNX file with ONNX Runtime on the device asked for, never silently on another one."""

import logging
import re
from pathlib import Path
from typing import Any

from .backend import Device
from .dependencies import require
from .errors import DeviceError, InputError
from .files import require_file

_CPU = "CPUExecutionProvider"
_GPU = "CUDAExecutionProvider"
_ERRORS_ONLY = 3

logger = logging.getLogger(__name__)


def open_session(path: Path, device: Device) -> Any:
    """Open an `onnxruntime.InferenceSession`.

    Args:
        path: the ONNX file.
        device: "cpu"; "cuda", or an error; "auto": the GPU where the installed ONNX Runtime offers it and can use it,
            else the CPU, with a warning if a GPU was offered.

    Raises:
        InputError: the file is missing or is not a model that ONNX Runtime can run.
        DeviceError: `device` is "cuda" and the GPU cannot be used.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is {device!r}; expected 'auto', 'cpu' or 'cuda'")
    require_file(path, "model")
    ort = require("onnxruntime", purpose=f"running {path.name}", install="pip install onnxruntime (or onnxruntime-gpu)")
    if device == "cpu":
        return _open(ort, path, [_CPU])
    if _GPU not in ort.get_available_providers():
        if device == "cuda":
            raise DeviceError(
                f"device 'cuda' was asked for, and the installed onnxruntime {ort.__version__} offers "
                f"{', '.join(ort.get_available_providers())}; install onnxruntime-gpu, or use device 'cpu'"
            )
        return _open(ort, path, [_CPU])
    return _open_on_gpu(ort, path, must=device == "cuda")


def uses_gpu(session: Any) -> bool:
    """Whether the session got the GPU provider."""
    return _GPU in session.get_providers()


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, without ONNX Runtime's status prefix."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0])


def _open_on_gpu(ort: Any, path: Path, *, must: bool) -> Any:
    # A provider that cannot be used is left out of the session, or fails it, depending on what is missing.
    try:
        session = _open(ort, path, [_GPU, _CPU])
        reason = f"{_GPU} could not be loaded: onnxruntime's own message above says why"
    except InputError as error:
        session, reason = None, first_line(error.__cause__ or error)
    if session is not None and uses_gpu(session):
        return session
    # A file that the CPU cannot open either is the file's fault, and fails here.
    session = session or _open(ort, path, [_CPU])
    if must:
        raise DeviceError(
            f"device 'cuda' was asked for, and onnxruntime {ort.__version__} cannot use the GPU ({reason}); mend "
            "that, or use device 'cpu'"
        )
    logger.warning(
        "warning: %s runs on the CPU: onnxruntime %s offers a GPU and cannot use it (%s)", path, ort.__version__, reason
    )
    return session


def _open(ort: Any, path: Path, providers: list[str]) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    # In TF32, the GPU's default, float32 would be multiplied with 10 bits of 23.
    settings = [{"use_tf32": "0"} if provider == _GPU else {} for provider in providers]
    try:
        # Without this, ONNX Runtime answers a failing GPU by opening, or by running, on the CPU.
        return ort.InferenceSession(
            str(path), options, providers=providers, provider_options=settings, enable_fallback=0
        )
    except Exception as error:  # its exceptions have no common base but this one
        if "StripGate" in str(error):
            raise InputError(
                f"{path} has no function body for StripGate, which ONNX Runtime needs; write a file that has with "
                "`lgeu rewrite --functions keep`"
            ) from error
        raise InputError(
            f"{path} is not a model that onnxruntime {ort.__version__} can open ({first_line(error)}); "
            "export or copy it again"
        ) from error
