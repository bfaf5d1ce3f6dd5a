"""Running an ONNX file with ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import Device, Processor
from .errors import DeviceError, InputError, ManifestError
from .manifest import METADATA_KEY, Manifest
from .onnxruntime_session import first_line, open_session, uses_gpu
from .preprocess import network_input

# As ONNX Runtime names them.
_TYPE = {"uint8": "uint8", "float32": "float"}


class OnnxRuntimeBackend:
    """A backend (see `runtime.backend.Backend`) on ONNX Runtime, which takes batches of any size."""

    max_batch: int | None = None

    def __init__(self, path: Path, device: Device = "auto") -> None:
        """Open `path` and check it against its own manifest.

        Args:
            path: an ONNX file with a manifest in its metadata.
            device: "cpu", "cuda" or "auto": see `open_session`.

        Raises:
            InputError: the file is not a model that ONNX Runtime can run.
            ManifestError: it has no manifest, or its inputs and outputs are not what that says.
            DeviceError: the device asked for cannot be used.
            MissingDependencyError: ONNX Runtime is not installed.
        """
        self._session = open_session(path, device)
        self.manifest = _read_manifest(path, self._session)
        _check_tensors(path, self._session, self.manifest)
        self.device: Processor = "cuda" if uses_gpu(self._session) else "cpu"
        self.name = f"onnxruntime ({self.device.upper()})"

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x H x W x 3 uint8 RGB, whatever the model's input format, to N x D float32, L2-normalised.

        Raises:
            DeviceError: ONNX Runtime failed, e.g. for want of memory.
            InputError: the backend is closed.
        """
        if self._session is None:
            raise InputError("this embedder is closed; open the model again")
        batch = network_input(images, self.manifest.input_format)
        try:
            (embeddings,) = self._session.run(["embeddings"], {"images": batch})
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this one
            raise DeviceError(
                f"{self.name} failed on a batch of shape {images.shape}: {first_line(error)}; try a smaller batch size"
            ) from error
        return np.asarray(embeddings, np.float32)

    def close(self) -> None:
        """Free the session."""
        self._session = None


def _read_manifest(path: Path, session: Any) -> Manifest:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ManifestError(
            f"{path} has no manifest (metadata property '{METADATA_KEY}'); expected a file written by `lgeu export`"
        )
    return Manifest.from_json(text, str(path))


def _check_tensors(path: Path, session: Any, manifest: Manifest) -> None:
    _check_tensor(path, "input", session.get_inputs(), "images", _TYPE[manifest.input_type], manifest.input_shape)
    _check_tensor(path, "output", session.get_outputs(), "embeddings", "float", (manifest.embedding_size,))


def _check_tensor(path: Path, role: str, tensors: Any, name: str, kind: str, sizes: tuple[int, ...]) -> None:
    """The single input or output is called `name`, has type `kind` and shape (any, *sizes)."""
    given = [f"{tensor.name} {tensor.type} {tensor.shape}" for tensor in tensors]
    first = tensors[0]
    dynamic = len(first.shape) > 0 and not isinstance(first.shape[0], int)
    if (
        len(tensors) != 1
        or (first.name, first.type) != (name, f"tensor({kind})")
        or not dynamic
        or tuple(first.shape[1:]) != sizes
    ):
        raise ManifestError(
            f"{path} has the {role} {' and '.join(given)}; its manifest promises {name} tensor({kind}) "
            f"[N, {', '.join(map(str, sizes))}] with N dynamic: export it again"
        )
