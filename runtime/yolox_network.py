"""What runs the network of a YOLOX detector: ONNX Runtime an ONNX file, TensorRT an engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .backend import Device
from .errors import InputError
from .onnx_tensors import Tensor

STRIDES = (8, 16, 32)
# Of what is said of a box: its place and size, and whether there is anything.
BEFORE_CLASSES = 5


class YoloxNetwork(Protocol):
    """A detector's network; for one thread at a time.

    Attributes:
        height: rows of its input.
        width: columns of its input.
        min_batch: images that are computed at least; where fewer are given, others are put behind them.
        best_batch: how many to give at once where there are many.
        max_batch: the largest batch it takes; None where there is no limit.
    """

    height: int
    width: int
    min_batch: int
    best_batch: int
    max_batch: int | None

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """N x 3 x height x width float32 to what it says of each cell's box, N x cells x (5 + classes) float32.

        Raises:
            DeviceError: it failed.
        """
        ...

    def close(self) -> None:
        """Free what is held; a second call does nothing."""
        ...


def open_yolox(path: Path, device: Device) -> YoloxNetwork:
    """Open a detector's network.

    Args:
        path: YOLOX as an .onnx file, or as an .engine that TensorRT built from one.
        device: where it runs; an engine runs on the GPU only.

    Raises:
        InputError: the file is not such a detector, or does not run on that device.
        DeviceError: the device asked for cannot be used.
        MissingDependencyError: what runs it is not installed.
    """
    if path.suffix not in (".onnx", ".engine"):
        raise InputError(
            f"{path} is not a detector that runs here; expected YOLOX as .onnx, or an engine of it, called .engine"
        )
    if path.suffix == ".onnx":
        from .yolox_onnx import YoloxOnnx

        return YoloxOnnx(path, device)
    if device == "cpu":
        raise InputError(f"{path} is an engine, which runs on a GPU only; use the .onnx file for device 'cpu'")
    from .yolox_engine import YoloxEngine

    return YoloxEngine(path)


def check_yolox(path: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> tuple[int, int]:
    """Height and width of a detector's input.

    Raises:
        InputError: the inputs and outputs are not YOLOX's.
    """
    height, width = _input_size(path, inputs)
    cells = _count_cells(height, width)
    shapes = [tensor.shape for tensor in outputs]
    # A size that the file leaves open is checked with each output.
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][1] not in (None, cells) or not _has_classes(shapes[0][2]):
        raise InputError(
            f"{path} is not a YOLOX detector: its outputs are {_listing(outputs)}; expected one, "
            f"[1 or N, {cells}, 5 + classes]"
        )
    return height, width


def _count_cells(height: int, width: int) -> int:
    """How many cells, and so boxes, a detector has for an input of so many rows and columns."""
    return sum((height // stride) * (width // stride) for stride in STRIDES)


def _input_size(path: Path, inputs: Sequence[Tensor]) -> tuple[int, int]:
    if len(inputs) == 1 and inputs[0].kind == "float32" and len(inputs[0].shape) == 4:
        _, channels, height, width = inputs[0].shape
        if channels == 3 and height and width and height % STRIDES[-1] == width % STRIDES[-1] == 0:
            return height, width
    raise InputError(
        f"{path} is not a YOLOX detector: its inputs are {_listing(inputs)}; expected one, float32 [1 or N, 3, H, W] "
        f"with H and W multiples of {STRIDES[-1]}"
    )


def _has_classes(values: int | None) -> bool:
    return values is None or values > BEFORE_CLASSES


def _listing(tensors: Sequence[Tensor]) -> str:
    return " and ".join(map(str, tensors)) or "none"
