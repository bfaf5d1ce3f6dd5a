"""Boxes: read, clipped, cut out."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.boxes import FrameBoxes, cut, read_boxes
from runtime.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_reading(tmp_path: Path) -> None:
    text = "1,9,499,158,31.03,75.17,1,-4.1,-7.3,0\n\n3,2,-5.5,0,10,20,0.5\n1,15,258,219,32,88,1\n1,16,1,1,0,0,0,x\n"
    boxes = read_boxes(write(tmp_path / "gt.txt", text))
    assert sorted(boxes) == [0, 2]
    np.testing.assert_array_equal(boxes[0].tracks, [9, 15])
    np.testing.assert_allclose(boxes[0].boxes, [[499, 158, 31.03, 75.17], [258, 219, 32, 88]], rtol=1e-6)
    assert boxes[0].boxes.dtype == np.float32
    np.testing.assert_array_equal(boxes[2].boxes, [[-5.5, 0, 10, 20]])


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_bytes(b"\xef\xbb\xbf5,1,1,2,3,4,1\r\n")
    assert list(read_boxes(tmp_path / "gt.txt")) == [4]


@pytest.mark.parametrize(("offset", "frame"), [(-1, 4), (0, 5), (7, 12)])
def test_the_frame_offset(tmp_path: Path, offset: int, frame: int) -> None:
    assert list(read_boxes(write(tmp_path / "gt.txt", "5,-1,1,2,3,4,1"), offset)) == [frame]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3,4,5,6", "6 fields"),
        ("one,2,3,4,5,6,1", "could not convert string to float: 'one'"),
        ("1,2,3,4,5,,1", "could not convert"),
        ("1.5,2,3,4,5,6,1", "frame 1.5 or track 2 is not a whole number"),
        ("1,1e17,3,4,5,6,1", "is not a whole number"),
        ("1,2,nan,4,5,6,1", "a number is not finite"),
        ("1,2,3,4,inf,6,1", "a number is not finite"),
        ("1,2,3,4,1e39,6,1", "larger than float32 holds"),
        ("1,2,3,4,0,6,1", "the box is 0 wide and 6 high"),
        ("1,2,3,4,5,-6,1", "the box is 5 wide and -6 high"),
        ("0,2,3,4,5,6,1", "frame 0 with --frame-offset -1 lies before the video's first frame"),
    ],
)
def test_malformed_lines(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "gt.txt", f"1,1,1,1,2,2,1\n{line}\n")
    with pytest.raises(InputError, match=rf"gt\.txt, line 2: .*{message}"):
        read_boxes(path)


def test_files_without_boxes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no box with a confidence other than 0"):
        read_boxes(write(tmp_path / "gt.txt", "1,2,3,4,5,6,0\n"))
    with pytest.raises(InputError, match="is empty"):
        read_boxes(write(tmp_path / "empty.txt", ""))
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="is not a text file"):
        read_boxes(tmp_path / "binary.txt")


def test_a_file_by_track_is_read_by_frame(tmp_path: Path) -> None:
    # As MOT's ground truth is: longer than what is parsed at once, with blank lines and ignored boxes in between.
    generator = np.random.default_rng(2)
    rows = [
        (int(frame), track, *generator.uniform(1, 99, 4).round(2), float(generator.integers(0, 3)) / 2)
        for track in range(1, 13)
        for frame in np.sort(generator.choice(np.arange(1, 2001), 800, replace=False))
    ]
    lines = [",".join(map(str, row)) + "\n" * int(generator.integers(1, 3)) for row in rows]
    boxes = read_boxes(write(tmp_path / "gt.txt", "".join(lines)))
    expected: dict[int, list[tuple[float, ...]]] = {}
    for row in rows:
        if row[6]:
            expected.setdefault(row[0] - 1, []).append(row)
    assert list(boxes) == sorted(expected)
    assert len(boxes) == len(expected)
    assert boxes.get(2000) is None
    assert 10**9 not in boxes
    for frame, found in boxes.items():
        np.testing.assert_array_equal(found.tracks, [row[1] for row in expected[frame]])
        np.testing.assert_array_equal(found.boxes, np.array([row[2:6] for row in expected[frame]], np.float32))
        np.testing.assert_array_equal(found.scores, np.array([row[6] for row in expected[frame]], np.float32))


@pytest.mark.parametrize("before", [1, 8191, 8192, 20_000])
@pytest.mark.parametrize("line", ["1,2,3,4,5,x,1", "1,2,3,4,5,-6,1", "1,2,3,4,5,6"])
def test_a_malformed_line_far_down_is_named(tmp_path: Path, before: int, line: str) -> None:
    path = write(tmp_path / "gt.txt", "\n" + "1,1,1,1,2,2,1\n" * before + line + "\n1,1,1,1,0,2,1")
    with pytest.raises(InputError, match=rf"gt\.txt, line {before + 2}: "):
        read_boxes(path)


def test_many_boxes_need_little_memory(tmp_path: Path) -> None:
    lines = [f"{frame},{track},{100 + track}.5,50.25,40.0,100.0,1\n" for frame in range(5000) for track in range(8)]
    path = write(tmp_path / "gt.txt", "".join(lines))
    tracemalloc.start()
    boxes = read_boxes(path, 0)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(boxes) == 5000
    # A box is 28 bytes; a frame as an object of its own has some 500 more.
    assert held < 40 * len(lines)
    assert peak < 250 * len(lines)


def test_clipping() -> None:
    given_boxes = np.array(
        [
            [10, 10, 20, 20],  # inside
            [-5.5, -2, 10, 10],  # over the top left corner
            [60, 40, 20.5, 30],  # over the bottom right corner
            [-10, 5, 10, 5],  # touches the left edge from outside
            [64, 5, 3, 3],  # touches the right edge
            [5, 100, 3, 3],  # below
            [-5, -5, 100, 100],  # larger than the frame
            [63.25, 10, 10, 10],  # less than a pixel in it
            [63, 10, 10, 10],  # a pixel
        ],
        np.float32,
    )
    clipped = FrameBoxes(given_boxes, np.arange(9), np.arange(9, dtype=np.float32) / 9).clipped(64, 48)
    np.testing.assert_array_equal(clipped.tracks, [0, 1, 2, 6, 8])
    np.testing.assert_array_equal(clipped.scores, np.array([0, 1, 2, 6, 8], np.float32) / 9)
    expected = [[10, 10, 20, 20], [0, 0, 4.5, 8], [60, 40, 4, 8], [0, 0, 64, 48], [63, 10, 1, 10]]
    np.testing.assert_array_equal(clipped.boxes, expected)


sizes = st.floats(2**-6, 200, width=32)
positions = st.floats(-150, 150, width=32)


@given(x=positions, y=positions, w=sizes, h=sizes)
def test_a_clipped_box_lies_in_the_frame_and_has_pixels(x: float, y: float, w: float, h: float) -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    clipped = FrameBoxes.without_tracks(np.array([[x, y, w, h]], np.float32), np.ones(1, np.float32)).clipped(64, 48)
    for left, top, width, height in clipped.boxes:
        assert 0 <= left < left + width <= 64
        assert 0 <= top < top + height <= 48
        assert min(width, height) >= 1
        crop = cut(frame, clipped.boxes[0])
        assert abs(crop.shape[1] - width) <= 1
        assert abs(crop.shape[0] - height) <= 1
        assert crop.size > 0


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((2, 1, 3, 4), (1, 5), (2, 5)),
        ((2.4, 1.5, 3.2, 4), (2, 6), (2, 6)),  # edges 2.4, 5.6 and 1.5, 5.5
        ((2.1, 1.1, 0.2, 0.2), (1, 2), (2, 3)),  # thinner than a pixel
        ((9.9, 7.9, 0.1, 0.1), (7, 8), (9, 10)),  # in the last pixel
        ((0, 0, 10, 8), (0, 8), (0, 10)),
    ],
)
def test_cutting(box: tuple[float, ...], rows: tuple[int, int], columns: tuple[int, int]) -> None:
    frame = np.random.default_rng(6).integers(0, 256, (8, 10, 3), np.uint8)
    crop = cut(frame, np.array(box, np.float32))
    np.testing.assert_array_equal(crop, frame[slice(*rows), slice(*columns)])
    assert crop.base is None


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match="boxes have shape"):
        FrameBoxes(np.zeros((2, 4), np.float32), np.zeros(3, np.int64), np.zeros(2, np.float32))
    with pytest.raises(InputError, match=r"scores \(3,\)"):
        FrameBoxes(np.zeros((2, 4), np.float32), np.zeros(2, np.int64), np.zeros(3, np.float32))
