"""Finding people with a YOLOX detector as its authors export it, in ONNX, or with an engine of it."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from .backend import Device
from .boxes import FrameBoxes
from .errors import DeviceError, InputError
from .yolox_network import BEFORE_CLASSES, STRIDES, open_yolox

DEFAULT_SCORE = 0.3

_PAD = 114
_PERSON = 0
# YOLOX's own threshold.
_LARGEST_OVERLAP = 0.45


class YoloxDetector:
    """Finds people in frames; for one thread at a time.

    Attributes:
        min_batch: frames that are computed at least, however few are given.
        best_batch: how many to give at once where there are many.

    Example:
        with YoloxDetector(Path("yolox_nano.onnx")) as detector:
            found = detector.detect(frame)
    """

    def __init__(self, path: Path, *, score: float = DEFAULT_SCORE, device: Device = "auto") -> None:
        """Open a detector.

        Args:
            path: YOLOX in ONNX, or an engine that TensorRT built from that: input N x 3 x H x W float32, BGR 0-255,
                letterboxed with 114, N dynamic or 1 (in an engine, any); output N x cells x (5 + classes), decoded in
                the file (`--decode_in_inference`) or not, which is seen from its values; class 0 is a person.
            score: smallest objectness times class probability of a box, in (0, 1).
            device: where an ONNX file runs, see `open_session`; an engine runs on the GPU.

        Raises:
            InputError: the file is not such a detector, or `score` is out of range.
            DeviceError: the device asked for cannot be used, or the file fails there.
            MissingDependencyError: what runs the file is not installed.
        """
        if not 0 < score < 1:
            raise InputError(f"detector score is {score}; expected a number between 0 and 1")
        self._score = score
        with ExitStack() as opened:
            self._network = opened.enter_context(closing(open_yolox(path, device)))
            self.min_batch, self.best_batch = self._network.min_batch, self._network.best_batch
            self._height, self._width = self._network.height, self._network.width
            self._cells, self._strides = _grid(self._height, self._width)
            (nobody,) = self._run(np.full((1, 3, self._height, self._width), _PAD, np.float32))
            self._decoded = _is_decoded(nobody[:, :2], self._cells, self._strides)
            opened.pop_all()

    def detect(self, frame: NDArray[np.uint8]) -> FrameBoxes:
        """Find people.

        Args:
            frame: H x W x 3 uint8, BGR.

        Returns:
            Boxes and scores, best first; edges may lie outside the frame.

        Raises:
            DeviceError: what runs it failed.
        """
        return self.detect_batch([frame])[0]

    def detect_batch(self, frames: Sequence[NDArray[np.uint8]]) -> list[FrameBoxes]:
        """Find people in several frames, as many at once as it takes.

        Args:
            frames: each H x W x 3 uint8, BGR, of any sizes.

        Returns:
            As `detect`, for each frame.

        Raises:
            DeviceError: what runs it failed.
        """
        at_once = self._network.max_batch or max(len(frames), 1)
        return [
            people
            for start in range(0, len(frames), at_once)
            for people in self._detect_at_once(frames[start : start + at_once])
        ]

    def close(self) -> None:
        """Free the network; a second call does nothing."""
        self._network.close()

    def __enter__(self) -> "YoloxDetector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _detect_at_once(self, frames: Sequence[NDArray[np.uint8]]) -> list[FrameBoxes]:
        fitted = [letterbox(frame, self._height, self._width) for frame in frames]
        outputs = self._run(np.concatenate([image for image, _ in fitted]))
        return [self._people(output, scale) for output, (_, scale) in zip(outputs, fitted, strict=True)]

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        output = self._network.run(images)
        if output.shape[:2] != (len(images), len(self._strides)) or output.shape[2] <= BEFORE_CLASSES:
            raise DeviceError(
                f"the detector gave an output of shape {output.shape} for {len(images)} frames; expected "
                f"[{len(images)}, {len(self._strides)}, 5 + classes]: export it again"
            )
        return output

    def _people(self, predictions: NDArray[np.float32], scale: float) -> FrameBoxes:
        scores = predictions[:, 4] * predictions[:, BEFORE_CLASSES + _PERSON]
        likely = scores > self._score
        predictions, scores = predictions[likely], scores[likely]
        centres, sizes = predictions[:, :2], predictions[:, 2:4]
        if not self._decoded:
            centres = (centres + self._cells[likely]) * self._strides[likely]
            sizes = np.exp(sizes) * self._strides[likely]
        boxes = np.concatenate([centres - sizes / 2, sizes], axis=1) / scale
        kept = np.asarray(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), self._score, _LARGEST_OVERLAP), np.int64)
        return FrameBoxes.without_tracks(boxes[kept].astype(np.float32), scores[kept].astype(np.float32))


def letterbox(frame: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.float32], float]:
    """Fit a frame into the top left of the detector's input, its aspect ratio kept and the rest grey.

    Args:
        frame: h x w x 3 uint8.
        height: rows of the input.
        width: columns of the input.

    Returns:
        1 x 3 x height x width float32 in 0..255, in the channel order of `frame`; and how many pixels of the input one
        pixel of the frame became.
    """
    scale = min(height / frame.shape[0], width / frame.shape[1])
    size = max(int(frame.shape[1] * scale), 1), max(int(frame.shape[0] * scale), 1)
    canvas = np.full((height, width, 3), _PAD, np.float32)
    canvas[: size[1], : size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1))[np.newaxis], scale


def _grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cell corners (A, 2), x y in cells, and strides (A, 1) in pixels, in the order of the detector's output."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _is_decoded(centres: NDArray[np.float32], cells: NDArray[np.float32], strides: NDArray[np.float32]) -> bool:
    """Whether (A, 2) centres of all anchors are in pixels of the input, rather than in cells from an anchor's own cell.

    With or without people in the picture most anchors' boxes lie about their own cells; read the other way they are
    half the input away.
    """
    as_pixels = np.abs(centres / strides - cells)
    return bool(np.median(as_pixels) < np.median(np.abs(centres)))
