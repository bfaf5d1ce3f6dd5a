"""YOLOX: letterbox, decoding and suppression against loops, and recall on real video."""

import math
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.boxes import read_boxes
from runtime.detector import YoloxDetector, letterbox
from runtime.errors import InputError
from runtime.video import read_frames

SIDE = 64  # 8 x 8 + 4 x 4 + 2 x 2 = 84 cells
CELLS = 84


def fixed_detector(path: Path, output: NDArray[np.float32], shape: tuple[int, ...] = (1, 3, SIDE, SIDE)) -> Path:
    """A detector that finds the same in every frame."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["images"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
            helper.make_node("Add", ["found", "nothing"], ["output"]),
        ],
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output.shape)],
        [numpy_helper.from_array(output, "found"), numpy_helper.from_array(np.float32(0), "zero")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def cell(row: int, column: int, stride: int) -> int:
    """Index of a cell in the output: all of stride 8 row by row, then 16, then 32."""
    before = {8: 0, 16: 64, 32: 80}[stride]
    return before + row * (SIDE // stride) + column


def test_decoding_and_suppression(tmp_path: Path) -> None:
    output = np.zeros((1, CELLS, 7), np.float32)

    def put(
        row: int, column: int, stride: int, box: tuple[float, float, float, float], scores: tuple[float, ...]
    ) -> None:
        x, y, w, h = box
        decoded = [
            (x + w / 2) / stride - column,
            (y + h / 2) / stride - row,
            math.log(w / stride),
            math.log(h / stride),
        ]
        output[0, cell(row, column, stride)] = [*decoded, *scores]

    put(1, 2, 8, (10, 4, 12, 20), (0.9, 0.9, 0.0))
    put(1, 3, 8, (11, 5, 12, 20), (0.8, 0.9, 0.0))  # the same person: suppressed
    put(2, 1, 16, (20, 30, 10, 30), (0.95, 0.95, 0.0))
    put(1, 1, 32, (40, 30, 10, 10), (0.9, 0.1, 0.9))  # not a person
    put(0, 0, 8, (0, 0, 9, 9), (0.5, 0.5, 0.0))  # .25: too unsure
    # The frame is twice as large as the input in each direction.
    frame = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    boxes = YoloxDetector(fixed_detector(tmp_path / "d.onnx", output)).detect(frame)
    np.testing.assert_allclose(boxes, [[40, 60, 20, 60], [20, 8, 24, 40]], rtol=1e-5)
    assert boxes.dtype == np.float32
    low = YoloxDetector(tmp_path / "d.onnx", score=0.2).detect(frame)
    np.testing.assert_allclose(low[-1], [0, 0, 18, 18], atol=1e-4)


def test_nobody(tmp_path: Path) -> None:
    path = fixed_detector(tmp_path / "d.onnx", np.zeros((1, CELLS, 85), np.float32))
    assert YoloxDetector(path).detect(np.zeros((10, 20, 3), np.uint8)).shape == (0, 4)


@pytest.mark.parametrize("shape", [(576, 768), (100, 30), (64, 64), (1, 500)])
def test_letterbox(shape: tuple[int, int]) -> None:
    frame = np.random.default_rng(8).integers(0, 256, (*shape, 3), np.uint8)
    images, scale = letterbox(frame, 64, 96)
    assert (images.shape, images.dtype) == ((1, 3, 64, 96), np.float32)
    rows, columns = max(int(shape[0] * scale), 1), max(int(shape[1] * scale), 1)
    assert rows == 64 or columns == 96
    resized = cv2.resize(frame, (columns, rows))
    for channel in range(3):
        np.testing.assert_array_equal(images[0, channel, :rows, :columns], resized[..., channel])
        assert (images[0, channel, rows:] == 114).all()
        assert (images[0, channel, :, columns:] == 114).all()


def test_models_that_are_no_detectors(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a YOLOX detector: its first input is images tensor\(uint8\)"):
        YoloxDetector(tiny_model)
    with pytest.raises(
        InputError, match=r"outputs have the shapes \[\[1, 85, 7\]\]; expected one, \[1, 84, 5 \+ classes\]"
    ):
        YoloxDetector(fixed_detector(tmp_path / "a.onnx", np.zeros((1, 85, 7), np.float32)))
    with pytest.raises(InputError, match="multiples of 32"):
        YoloxDetector(fixed_detector(tmp_path / "b.onnx", np.zeros((1, CELLS, 7), np.float32), (1, 3, 60, 64)))


@pytest.mark.parametrize("score", [0, 1, -0.1, float("nan")])
def test_scores_that_are_none(tmp_path: Path, score: float) -> None:
    with pytest.raises(InputError, match="expected a number between 0 and 1"):
        YoloxDetector(tmp_path / "d.onnx", score=score)


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / (a[2] * a[3] + b[2] * b[3] - shared))


def test_recall_on_real_video(shared_data: Path) -> None:
    people = read_boxes(shared_data / "pets2009-s2l1" / "gt.txt")
    detector = YoloxDetector(shared_data / "models" / "yolox_nano.onnx")
    found = total = 0
    for index, frame in enumerate(read_frames(shared_data / "pets2009-s2l1" / "vtest.avi")):
        if index % 20:
            continue
        free = list(detector.detect(frame))
        for person in people[index].boxes:
            total += 1
            best = max(range(len(free)), key=lambda i: overlap(person, free[i]), default=None)
            if best is not None and overlap(person, free[best]) >= 0.5:
                found += 1
                del free[best]
    assert total > 200
    assert found / total >= 0.85
