"""Opening an ONNX file with ONNX Runtime on the device asked for, never silently on another one."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .backend import Device
from .cores import usable_cores
from .dependencies import require
from .errors import DeviceError, InputError
from .files import require_file
from .nvidia import warn_of_idle_gpu
from .onnx_tensors import Tensor

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

_ERRORS_ONLY = 3
# As NumPy names them.
_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
CUDA_OPTIONS = {
    # In TF32, the GPU's default, float32 would be multiplied with 10 bits of 23.
    "use_tf32": "0",
    # The default tries every algorithm at each new batch size, and the number of people changes all the time.
    "cudnn_conv_algo_search": "HEURISTIC",
}
# Where the time goes; a shape computed on the CPU costs nothing.
_HEAVY = ("Conv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")

Providers = Mapping[str, Mapping[str, str]]

logger = logging.getLogger(__name__)


def open_session(path: Path, device: Device) -> Any:
    """Open an `onnxruntime.InferenceSession`.

    Args:
        path: the ONNX file.
        device: "cpu"; "cuda", or an error; "auto": the GPU where the installed ONNX Runtime offers it and can use it,
            else the CPU, with a warning if a GPU was offered, or stands idle.

    Raises:
        InputError: the file is missing or is not a model that ONNX Runtime can run.
        DeviceError: `device` is "cuda" and the GPU cannot be used for all of the network.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is {device!r}; expected 'auto', 'cpu' or 'cuda'")
    ort = import_onnxruntime(path)
    if device == "cpu":
        return _open(ort, path, {CPU: {}})
    if device == "cuda":
        return open_on_gpu(ort, path, {CUDA: CUDA_OPTIONS})
    if CUDA in ort.get_available_providers():
        try:
            return open_on_gpu(ort, path, {CUDA: CUDA_OPTIONS})
        except DeviceError as error:
            logger.warning("warning: %s runs on the CPU: %s", path, error)
    else:
        warn_of_idle_gpu(path, f"the installed onnxruntime {ort.__version__} cannot use one; install onnxruntime-gpu")
    return _open(ort, path, {CPU: {}})


def open_on_gpu(ort: Any, path: Path, providers: Providers) -> Any:
    """Open a session that computes on the GPU, or fail.

    Args:
        ort: the onnxruntime module.
        path: the ONNX file.
        providers: execution providers of the GPU, the preferred one first, with their options.

    Raises:
        DeviceError: one of them is not offered or cannot be used, or a part of the network that matters would be
            computed on the CPU.
        InputError: the CPU cannot open the file either.
    """
    wanted = next(iter(providers))
    offered = ort.get_available_providers()
    if missing := [provider for provider in providers if provider not in offered]:
        raise _unusable(ort, f"the installed package offers {', '.join(offered)}, not {missing[0]}")
    try:
        session = _open(ort, path, {**providers, CPU: {}})
    except InputError as error:
        # A file that the CPU cannot open either is the file's fault, and fails here.
        _open(ort, path, {CPU: {}})
        raise _unusable(ort, first_line(error.__cause__ or error)) from error
    # A provider that cannot be used is left out of the session, or fails it, depending on what is missing.
    if wanted not in session.get_providers():
        raise _unusable(ort, f"{wanted} could not be loaded: onnxruntime's own message above says why")
    if left := _heavy_on_cpu(session):
        raise _unusable(ort, f"{left} of the network's convolutions and matrix products would run on the CPU")
    return session


def import_onnxruntime(path: Path) -> Any:
    """The onnxruntime module, to run `path` with.

    Raises:
        InputError: there is no such file.
        MissingDependencyError: it is not installed.
    """
    require_file(path, "model")
    return require(
        "onnxruntime", purpose=f"running {path.name}", install="pip install onnxruntime (or onnxruntime-gpu)"
    )


def read_tensors(session: Any) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs and the outputs of a session's graph."""
    return _tensors(session.get_inputs()), _tensors(session.get_outputs())


def uses_gpu(session: Any) -> bool:
    """Whether the session got a GPU provider."""
    return CUDA in session.get_providers()


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, without ONNX Runtime's status prefix."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0])


def _tensors(nodes: Any) -> list[Tensor]:
    return [
        Tensor(
            node.name,
            _TYPES.get(node.type, node.type),
            tuple(size if isinstance(size, int) else None for size in node.shape),
        )
        for node in nodes
    ]


def _unusable(ort: Any, reason: str) -> DeviceError:
    return DeviceError(
        f"onnxruntime {ort.__version__} cannot use the GPU ({reason}); install onnxruntime-gpu and the CUDA that it "
        "names, or use device 'cpu'"
    )


def _heavy_on_cpu(session: Any) -> int:
    """How many of the operators that take the time were given to the CPU."""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # before ONNX Runtime 1.24
        return 0
    parts = session.get_provider_graph_assignment_info()
    return sum(node.op_type in _HEAVY for part in parts if part.ep_name == CPU for node in part.get_nodes())


def _open(ort: Any, path: Path, providers: Providers) -> Any:
    try:
        # Without this, ONNX Runtime answers a failing GPU by opening, or by running, on the CPU.
        return ort.InferenceSession(
            str(path),
            _options(ort),
            providers=list(providers),
            provider_options=[dict(options) for options in providers.values()],
            enable_fallback=0,
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


def _options(ort: Any) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    # Its own count knows nothing of a container's quota.
    options.intra_op_num_threads = usable_cores()
    # Threads that wait for the next batch by spinning would take the cores from the preprocessing of it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options
