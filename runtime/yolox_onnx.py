"""A YOLOX detector's ONNX file on ONNX Runtime."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .backend import Device
from .errors import DeviceError, InputError
from .onnxruntime_session import first_line, open_session, read_tensors
from .yolox_network import check_yolox

# Frames are large, and all that are looked at together are in memory.
_BEST_BATCH = 8


class YoloxOnnx:
    """A `runtime.yolox_network.YoloxNetwork`."""

    def __init__(self, path: Path, device: Device) -> None:
        """Open the file.

        Args:
            path: as YOLOX's authors export it, the batch dynamic or 1.
            device: see `open_session`.

        Raises:
            InputError: the file is not such a detector.
            DeviceError: the device asked for cannot be used.
            MissingDependencyError: ONNX Runtime is not installed.
        """
        self._session = open_session(path, device)
        inputs, outputs = read_tensors(self._session)
        self.height, self.width = check_yolox(path, inputs, outputs)
        batch = inputs[0].shape[0]
        if batch not in (None, 1):
            raise InputError(f"{path} takes {batch} frames at a time; export it with a batch of 1 or a dynamic one")
        self.min_batch, self.best_batch = 1, batch or _BEST_BATCH
        self.max_batch: int | None = batch
        self._input = inputs[0].name

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `runtime.yolox_network.YoloxNetwork.run`."""
        try:
            (output,) = self._session.run(None, {self._input: images})
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this one
            raise DeviceError(f"the detector failed on {len(images)} frames: {first_line(error)}") from error
        return np.asarray(output, np.float32)

    def close(self) -> None:
        """Free the session."""
        self._session = None
