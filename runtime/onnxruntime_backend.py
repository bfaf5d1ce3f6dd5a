"""Running an ONNX file with ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import Device, Processor, StageTimes
from .errors import DeviceError, InputError
from .manifest import METADATA_KEY, Manifest
from .onnx_tensors import INPUT, OUTPUT, check_tensors, parse_manifest
from .onnxruntime_binding import BoundTensors
from .onnxruntime_session import (
    CUDA,
    CUDA_OPTIONS,
    first_line,
    import_onnxruntime,
    open_on_gpu,
    open_session,
    read_tensors,
    uses_gpu,
)
from .preprocess import network_input

TENSORRT = "TensorrtExecutionProvider"


class OnnxRuntimeBackend:
    """A backend (see `runtime.backend.Backend`) on ONNX Runtime: its CPU, CUDA or TensorRT execution provider."""

    def __init__(self, path: Path, device: Device = "auto", *, tensorrt_batch: int | None = None) -> None:
        """Open `path` and check it against its own manifest.

        Args:
            path: an ONNX file with a manifest in its metadata.
            device: "cpu", "cuda" or "auto": see `open_session`.
            tensorrt_batch: use the TensorRT execution provider, with batches of up to this size; it builds an engine
                of its own each time a file is opened, which takes minutes.

        Raises:
            InputError: the file is not a model that ONNX Runtime can run.
            ManifestError: it has no manifest, or its inputs and outputs are not what that says.
            DeviceError: the device asked for cannot be used.
            MissingDependencyError: ONNX Runtime is not installed.
        """
        if tensorrt_batch is None:
            self._session = open_session(path, device)
        else:
            self._session = _open_with_tensorrt(path, tensorrt_batch)
        self.manifest = _read_manifest(path, self._session)
        check_tensors(path, *read_tensors(self._session), self.manifest)
        self.max_batch = tensorrt_batch
        self.device: Processor = "cuda" if uses_gpu(self._session) else "cpu"
        self.name = f"onnxruntime ({'TensorRT' if tensorrt_batch else self.device.upper()})"
        self._bound: BoundTensors | None = None
        if self.device == "cuda":
            self._bound = BoundTensors(import_onnxruntime(path), self._session, self.manifest.embedding_size)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x H x W x 3 uint8 RGB, whatever the model's input format, to N x D float32, L2-normalised.

        Raises:
            DeviceError: ONNX Runtime failed, e.g. for want of memory.
            InputError: the backend is closed.
        """
        return self.run_timed(images)[0]

    def run_timed(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], StageTimes | None]:
        """`run`, and where its time went; None on a CPU, where nothing is copied."""
        if self._session is None:
            raise InputError("this embedder is closed; open the model again")
        batch = network_input(images, self.manifest.input_format)
        try:
            if self._bound is not None:
                return self._bound.run(batch)
            (embeddings,) = self._session.run([OUTPUT], {INPUT: batch})
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this one
            raise DeviceError(
                f"{self.name} failed on a batch of shape {images.shape}: {first_line(error)}; try a smaller batch size"
            ) from error
        return np.asarray(embeddings, np.float32), None

    def close(self) -> None:
        """Free the session."""
        self._session = self._bound = None


def _open_with_tensorrt(path: Path, batch: int) -> Any:
    manifest = _read_manifest(path, open_session(path, "cpu"))
    sizes = "x".join(map(str, manifest.input_shape))
    options = {
        "trt_profile_min_shapes": f"{INPUT}:1x{sizes}",
        "trt_profile_opt_shapes": f"{INPUT}:{batch}x{sizes}",
        "trt_profile_max_shapes": f"{INPUT}:{batch}x{sizes}",
        # Half only where the file says half.
        "trt_fp16_enable": str(int(manifest.precision == "fp16")),
    }
    return open_on_gpu(import_onnxruntime(path), path, {TENSORRT: options, CUDA: CUDA_OPTIONS})


def _read_manifest(path: Path, session: Any) -> Manifest:
    return parse_manifest(path, session.get_modelmeta().custom_metadata_map.get(METADATA_KEY))
