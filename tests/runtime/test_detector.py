"""YOLOX: letterbox, decoding and suppression against loops, and recall on real video."""

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from runtime.boxes import read_boxes
from runtime.detector import YoloxDetector, letterbox
from runtime.errors import InputError
from runtime.video import read_frames

SIDE = 64  # 8 x 8 + 4 x 4 + 2 x 2 = 84 cells
CELLS = 84


def cell(row: int, column: int, stride: int) -> int:
    """Index of a cell in the output: all of stride 8 row by row, then 16, then 32."""
    before = {8: 0, 16: 64, 32: 80}[stride]
    return before + row * (SIDE // stride) + column


def test_decoding_and_suppression(tmp_path: Path, fixed_detector: Callable[..., Path]) -> None:
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
    found = YoloxDetector(fixed_detector(tmp_path / "d.onnx", output)).detect(frame)
    np.testing.assert_allclose(found.boxes, [[40, 60, 20, 60], [20, 8, 24, 40]], rtol=1e-5)
    np.testing.assert_allclose(found.scores, [0.9025, 0.81], rtol=1e-5)
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
    low = YoloxDetector(tmp_path / "d.onnx", score=0.2).detect(frame)
    np.testing.assert_allclose(low.boxes[-1], [0, 0, 18, 18], atol=1e-4)


def decoded(output: NDArray[np.float32]) -> NDArray[np.float32]:
    """What YOLOX's export writes with --decode_in_inference: centres and sizes in pixels of the input."""
    result = output.copy()
    for stride in (8, 16, 32):
        for row in range(SIDE // stride):
            for column in range(SIDE // stride):
                x, y, w, h = output[0, cell(row, column, stride), :4]
                result[0, cell(row, column, stride), :4] = [
                    (x + column) * stride,
                    (y + row) * stride,
                    math.exp(w) * stride,
                    math.exp(h) * stride,
                ]
    return result


@pytest.mark.parametrize("score", [0.95, 0.01])
@pytest.mark.parametrize("people", [1, CELLS])
def test_boxes_that_the_file_decodes_are_not_decoded_twice(
    tmp_path: Path, fixed_detector: Callable[..., Path], score: float, people: int
) -> None:
    generator = np.random.default_rng(people)
    output = np.zeros((1, CELLS, 7), np.float32)
    # As on the anchors of a real file, with and without a person there.
    output[0, :, :2] = generator.normal(0.5, 1, (CELLS, 2))
    output[0, :, 2:4] = generator.normal(1, 1, (CELLS, 2))
    output[0, generator.permutation(CELLS)[:people], 4:6] = score
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    found = YoloxDetector(fixed_detector(tmp_path / "raw.onnx", output), score=1e-5).detect(frame)
    again = YoloxDetector(fixed_detector(tmp_path / "decoded.onnx", decoded(output)), score=1e-5).detect(frame)
    assert len(found) >= 1
    np.testing.assert_allclose(again.boxes, found.boxes, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(again.scores, found.scores)


def test_a_real_detector_that_decodes_its_boxes(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "models" / "yolox_nano.onnx"
    model = onnx.load(str(path))
    graph = model.graph
    side = graph.input[0].type.tensor_type.shape.dim[2].dim_value
    cells = [(x, y, s) for s in (8, 16, 32) for y in range(side // s) for x in range(side // s)]
    raw = graph.output[0].name
    constants = {
        "corners": np.array([[x, y] for x, y, _ in cells], np.float32),
        "strides": np.array([[s] for *_, s in cells], np.float32),
        "parts": np.array([2, 2, 81], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("Split", [raw, "parts"], ["offsets", "logarithms", "scores"], axis=2),
            helper.make_node("Add", ["offsets", "corners"], ["in_cells"]),
            helper.make_node("Mul", ["in_cells", "strides"], ["centres"]),
            helper.make_node("Exp", ["logarithms"], ["in_strides"]),
            helper.make_node("Mul", ["in_strides", "strides"], ["sizes"]),
            helper.make_node("Concat", ["centres", "sizes", "scores"], ["decoded"], axis=2),
        ]
    )
    graph.output[0].name = "decoded"
    model.opset_import[0].version = max(model.opset_import[0].version, 13)
    onnx.save(model, str(tmp_path / "decoded.onnx"))
    frames = list(islice(read_frames(shared_data / "pets2009-s2l1" / "vtest.avi"), 0, 60, 20))
    raw_boxes = YoloxDetector(path).detect_batch(frames)
    decoded_boxes = YoloxDetector(tmp_path / "decoded.onnx").detect_batch(frames)
    for one, other in zip(raw_boxes, decoded_boxes, strict=True):
        assert len(one) >= 3
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)


def test_nobody(tmp_path: Path, fixed_detector: Callable[..., Path]) -> None:
    path = fixed_detector(tmp_path / "d.onnx", np.zeros((1, CELLS, 85), np.float32))
    assert YoloxDetector(path).detect(np.zeros((10, 20, 3), np.uint8)).boxes.shape == (0, 4)


@pytest.mark.parametrize("batch", [1, "N"])
def test_several_frames_at_once(tmp_path: Path, light_detector: Callable[..., Path], batch: int | str) -> None:
    detector = YoloxDetector(light_detector(tmp_path / "d.onnx", batch))
    assert (detector.min_batch, detector.best_batch) == (1, 8 if batch == "N" else batch)
    lights = [255, 0, 200, 150, 10]
    # Square and as large as the input: no grey that would be lighter than the frame.
    found = detector.detect_batch([np.full((SIDE, SIDE, 3), light, np.uint8) for light in lights])
    scores = [(0.5 + 0.5 * light / 255) ** 2 for light in lights]
    assert [len(people) for people in found] == [int(score > 0.3) for score in scores]
    for people, score in zip(found, scores, strict=True):
        np.testing.assert_allclose(people.scores, [score] * len(people), rtol=1e-5)


def test_a_real_detector_made_dynamic(shared_data: Path, tmp_path: Path) -> None:
    model = onnx.load(str(shared_data / "models" / "yolox_nano.onnx"))
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "N"
    # The file reshapes to [1, 85, -1].
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for constant in model.graph.initializer:
        if constant.name in shapes:
            constant.CopyFrom(numpy_helper.from_array(np.array([0, 85, -1], np.int64), constant.name))
    onnx.save(model, str(tmp_path / "dynamic.onnx"))
    frames = list(islice(read_frames(shared_data / "pets2009-s2l1" / "vtest.avi"), 0, 60, 20))
    single = YoloxDetector(shared_data / "models" / "yolox_nano.onnx").detect_batch(frames)
    at_once = YoloxDetector(tmp_path / "dynamic.onnx").detect_batch(frames)
    for one, other in zip(single, at_once, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)


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


def test_models_that_are_no_detectors(tiny_model: Path, tmp_path: Path, fixed_detector: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"is not a YOLOX detector: its inputs are images uint8 \[N, 16, 8, 3\]"):
        YoloxDetector(tiny_model)
    with pytest.raises(
        InputError, match=r"its outputs are output float32 \[1, 85, 7\]; expected one, \[1 or N, 84, 5 \+ classes\]"
    ):
        YoloxDetector(fixed_detector(tmp_path / "a.onnx", np.zeros((1, 85, 7), np.float32)))
    with pytest.raises(InputError, match="takes 2 frames at a time; export it with a batch of 1"):
        YoloxDetector(fixed_detector(tmp_path / "c.onnx", np.zeros((2, CELLS, 7), np.float32), (2, 3, 64, 64)))
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
        free = list(detector.detect(frame).boxes)
        for person in people[index].boxes:
            total += 1
            best = max(range(len(free)), key=lambda i: overlap(person, free[i]), default=None)
            if best is not None and overlap(person, free[best]) >= 0.5:
                found += 1
                del free[best]
    assert total > 200
    assert found / total >= 0.85
