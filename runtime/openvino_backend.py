"""Running an ONNX file with OpenVINO on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import Device, Processor
from .cores import usable_cores
from .dependencies import require
from .errors import DeviceError, InputError
from .files import require_file
from .manifest import METADATA_KEY, Manifest
from .nvidia import warn_of_idle_gpu
from .onnx_tensors import INPUT, Tensor, check_tensors, parse_manifest
from .preprocess import network_input

# As NumPy names them.
_TYPES = {"u8": "uint8", "f32": "float32"}
# Where OpenVINO's ONNX reader puts the metadata properties of a file.
_METADATA = "framework"


class OpenVinoBackend:
    """A backend (see `runtime.backend.Backend`) on OpenVINO's CPU device, which takes batches of any size.

    Everything is computed in float32, also for an fp16 file, and on processors that could do with less.
    """

    name = "openvino (CPU)"
    device: Processor = "cpu"
    max_batch: int | None = None

    def __init__(self, path: Path, device: Device = "auto") -> None:
        """Open `path` and check it against its own manifest.

        Args:
            path: an ONNX file with a manifest in its metadata; StripGate may be kept, stripped or inlined.
            device: "cpu", or "auto", which is the same, with a warning where the machine has an NVIDIA GPU.

        Raises:
            InputError: the file is not a model that OpenVINO can run, or the device is another one.
            ManifestError: it has no manifest, or its inputs and outputs are not what that says.
            MissingDependencyError: OpenVINO is not installed.
        """
        if device not in ("auto", "cpu"):
            raise InputError(f"device is {device!r}; OpenVINO runs on the CPU here: use 'cpu', or another backend")
        require_file(path, "model")
        openvino = require("openvino", purpose=f"running {path.name} with OpenVINO", install="pip install openvino")
        if device == "auto":
            warn_of_idle_gpu(path, "OpenVINO cannot use it; --device cpu says that this is meant")
        core = openvino.Core()
        model = _read(core, openvino.__version__, path)
        self.manifest = _read_manifest(path, model)
        check_tensors(path, _tensors(model.inputs), _tensors(model.outputs), self.manifest)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": usable_cores(),
        }
        self._request: Any = _compile(core, model, settings, path)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x H x W x 3 uint8 RGB, whatever the model's input format, to N x D float32, L2-normalised.

        Raises:
            DeviceError: OpenVINO failed, e.g. for want of memory.
            InputError: the backend is closed.
        """
        if self._request is None:
            raise InputError("this embedder is closed; open the model again")
        batch = network_input(images, self.manifest.input_format)
        try:
            (embeddings,) = self._request.infer({INPUT: batch}, share_inputs=True).values()
        except Exception as error:  # OpenVINO raises RuntimeError, and what its Python layer makes of bad shapes
            raise DeviceError(
                f"{self.name} failed on a batch of shape {images.shape}: {_last_line(error)}; try a smaller batch size"
            ) from error
        return np.asarray(embeddings, np.float32)

    def close(self) -> None:
        """Free the network."""
        self._request = None


def _read(core: Any, version: str, path: Path) -> Any:
    from .openvino_strip_gate import strip_gate_extension

    core.add_extension(strip_gate_extension())
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise InputError(
            f"{path} is not a model that openvino {version} can open ({_last_line(error)}); export or copy it again"
        ) from error


def _compile(core: Any, model: Any, settings: dict[str, Any], path: Path) -> Any:
    try:
        return core.compile_model(model, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise DeviceError(f"openvino cannot prepare {path} for the CPU: {_last_line(error)}") from error


def _read_manifest(path: Path, model: Any) -> Manifest:
    key = [_METADATA, METADATA_KEY]
    return parse_manifest(path, model.get_rt_info(key).astype(str) if model.has_rt_info(key) else None)


def _tensors(ports: Any) -> list[Tensor]:
    return [
        Tensor(
            port.any_name,
            _TYPES.get(port.element_type.to_string(), port.element_type.to_string()),
            tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape),
        )
        for port in ports
    ]


def _last_line(error: BaseException) -> str:
    """Of an exception's message: OpenVINO puts places in its sources before the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
