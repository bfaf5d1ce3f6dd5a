"""Frames with people at known places for `runtime_gpu.py`: a video that is made up, and frames that are decoded."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.boxes import FrameBoxes
from runtime.errors import InputError, LgeuError
from runtime.files import atomic_path
from runtime.video import Frame

_RATE = 25
# Of a person, whose picture is twice as high as wide.
_HEIGHTS = (96, 224)


@dataclass(frozen=True)
class Scene:
    """Blurred noise, and patches of other noise, the people, that move over it.

    Attributes:
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        frames: how many.
        people: on each of them.
    """

    width: int
    height: int
    frames: int
    people: int

    def boxes(self) -> Mapping[int, FrameBoxes]:
        """The people of each frame."""
        return {number: FrameBoxes.without_tracks(self._at(number), self._sure()) for number in range(self.frames)}

    def pixels(self) -> Iterator[NDArray[np.uint8]]:
        """Each frame, height x width x 3 uint8, BGR."""
        generator = np.random.default_rng(1)
        coarse = generator.integers(0, 256, (self.height // 16 + 1, self.width // 16 + 1, 3), np.uint8)
        ground = cv2.resize(coarse, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        looks = generator.integers(0, 256, (self.people, 16, 8, 3), np.uint8)
        for number in range(self.frames):
            frame = np.asarray(np.roll(ground, 2 * number, axis=1), np.uint8)
            for (x, y, w, h), look in zip(self._at(number).astype(int), looks, strict=True):
                frame[y : y + h, x : x + w] = cv2.resize(look, (int(w), int(h)), interpolation=cv2.INTER_LINEAR)
            yield frame

    def _at(self, frame: int) -> NDArray[np.float32]:
        """(people, 4), x y w h."""
        generator = np.random.default_rng(0)
        smallest, largest = min(_HEIGHTS[0], self.height // 2), min(_HEIGHTS[1], self.height)
        heights = generator.integers(smallest, largest, self.people)
        widths = np.minimum(heights // 2, self.width)
        y = generator.integers(0, self.height - heights + 1)
        x = (generator.integers(0, self.width, self.people) + 3 * frame) % (self.width - widths + 1)
        return np.stack([x, y, widths, heights], axis=1).astype(np.float32)

    def _sure(self) -> NDArray[np.float32]:
        return np.ones(self.people, np.float32)


def write_video(scene: Scene, path: Path) -> Path:
    """The scene as a video file, MPEG-4.

    Raises:
        InputError: OpenCV cannot write videos here.
    """
    with atomic_path(path) as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), _RATE, (scene.width, scene.height))
        if not writer.isOpened():
            raise InputError(f"OpenCV cannot write {path}; install an OpenCV with FFmpeg, or name a --video")
        for frame in scene.pixels():
            writer.write(frame)
        writer.release()
    return path


class DecodedFrames:
    """A `runtime.sources.Source` of frames that are in memory."""

    live = False
    rate = float(_RATE)
    failure: LgeuError | None = None

    def __init__(self, frames: Sequence[Frame]) -> None:
        """Of these frames, once."""
        self._frames = frames
        self.name = "decoded frames"
        self.total: int | None = len(frames)
        self.count = 0
        self.damaged: list[int] = []
        self.gaps: dict[int, float] = {}

    def frames(self, stopping: threading.Event, every: int = 1) -> Iterator[Frame]:
        """See `Source`."""
        for frame in self._frames:
            self.count += 1
            if frame.index % every == 0:
                yield frame
