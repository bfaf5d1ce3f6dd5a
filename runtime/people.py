"""The people on the frames of a video: where they are given or found, and cut out in batches across frames."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .boxes import FrameBoxes, cut
from .detector import YoloxDetector
from .errors import InputError
from .preprocess import preprocess
from .video import Frame

FindPeople = Callable[[Sequence[Frame]], list[FrameBoxes]]


@dataclass(frozen=True)
class PeopleOnFrame:
    """A frame and the people on it.

    Attributes:
        index: 0-based number of the frame.
        seconds: see `Frame`.
        pixels: H x W x 3 uint8, BGR; None where nobody needs them any more.
        found: the people's boxes, clipped to the frame.
        outside: how many more boxes had less than a pixel on it.
        arrived: see `Frame`.
    """

    index: int
    seconds: float
    pixels: NDArray[np.uint8] | None
    found: FrameBoxes
    outside: int
    arrived: datetime | None = None


@dataclass(frozen=True)
class CropBatch:
    """People cut out of one or several frames.

    Attributes:
        images: N x height x width x 3 uint8, RGB: what the network takes; N may be 0.
        complete: the frames whose last person is in this batch, in order; their first ones may be in earlier batches.
    """

    images: NDArray[np.uint8]
    complete: list[PeopleOnFrame]


@dataclass(frozen=True)
class Batching:
    """How people are collected.

    Attributes:
        people: of a full batch.
        height: of a network's input, in pixels.
        width: of a network's input, in pixels.
        frames: a batch is given before it is full when so many frames wait for it: memory stays bounded.
        seconds: likewise when the first of them has waited so long, or the last one had to be waited for that long,
            and so would the next. None for no such limit, which makes the same batches every time.
        keep_pixels: whether the frames are needed later.
    """

    people: int
    height: int
    width: int
    frames: int
    seconds: float | None = None
    keep_pixels: bool = False


def given_boxes(boxes: Mapping[int, FrameBoxes]) -> FindPeople:
    """People are where a boxes file says, by 0-based frame number."""
    return lambda frames: [boxes.get(frame.index, FrameBoxes.nobody()) for frame in frames]


def detected_by(detector: YoloxDetector) -> FindPeople:
    """People are where a detector finds them; they have no tracks."""
    return lambda frames: detector.detect_batch([frame.pixels for frame in frames])


def frames_at_once(detector: YoloxDetector, *, live: bool) -> int:
    """On how many frames a detector should look together: a live frame should not wait for others."""
    return 1 if live else detector.best_batch


def find_people(frames: Iterator[Frame], find: FindPeople, at_once: int) -> Generator[PeopleOnFrame, None, None]:
    """Find the people on each frame, `at_once` frames in a call.

    Raises:
        LgeuError: whatever `find` raises.
    """
    while group := list(islice(frames, at_once)):
        for frame, boxes in zip(group, find(group), strict=True):
            height, width = frame.pixels.shape[:2]
            kept = boxes.clipped(width, height)
            yield PeopleOnFrame(frame.index, frame.seconds, frame.pixels, kept, len(boxes) - len(kept), frame.arrived)


def batch_crops(
    frames: Iterator[PeopleOnFrame | None], batching: Batching, clock: Callable[[], float] = time.monotonic
) -> Generator[CropBatch, None, None]:
    """Cut the people out and bring them to the network's input size, in batches across frames.

    Args:
        frames: with their pixels; None says that none came for a while, and `batching.seconds` may be over.
        batching: how they are collected.
        clock: seconds, for `batching.seconds`.
    """
    filling = _Filling(batching, clock)
    for people in filling.waited_for(frames):
        if people is not None:
            assert people.pixels is not None  # noqa: S101
            for box in people.found.boxes:
                if filling.is_full():
                    yield filling.take()
                filling.add(preprocess(cut(people.pixels, box), batching.height, batching.width, "BGR"))
            filling.complete(people if batching.keep_pixels else replace(people, pixels=None))
        if filling.is_due():
            yield filling.take()
    if filling.frames:
        yield filling.take()


class _Filling:
    """The batch that is being filled."""

    def __init__(self, batching: Batching, clock: Callable[[], float]) -> None:
        self._batching = batching
        self._clock = clock
        self._waited = 0.0
        self._start()

    def _start(self) -> None:
        batching = self._batching
        # A new one each time: the last one may still be with the network.
        self._images = np.empty((batching.people, batching.height, batching.width, 3), np.uint8)
        self._count = 0
        self._since: float | None = None
        self.frames: list[PeopleOnFrame] = []

    def waited_for(self, frames: Iterator[PeopleOnFrame | None]) -> Iterator[PeopleOnFrame | None]:
        """The frames; how long each was waited for is what the next one is expected to take."""
        asked, waited = self._clock(), 0.0
        for people in frames:
            waited += self._clock() - asked
            if people is not None:
                self._waited, waited = waited, 0.0
            yield people
            # From here on: while the network took no batch, frames waited, and nobody waited for frames.
            asked = self._clock()

    def is_full(self) -> bool:
        return self._count == self._batching.people

    def is_due(self) -> bool:
        return self.is_full() or len(self.frames) >= self._batching.frames or self._is_late()

    def add(self, image: NDArray[np.uint8]) -> None:
        self._images[self._count] = image
        self._count += 1

    def complete(self, people: PeopleOnFrame) -> None:
        self.frames.append(people)
        self._since = self._clock() if self._since is None else self._since

    def _is_late(self) -> bool:
        if self._batching.seconds is None or self._since is None:
            return False
        return max(self._clock() - self._since, self._waited) >= self._batching.seconds

    def take(self) -> CropBatch:
        batch = CropBatch(self._images[: self._count], self.frames)
        self._start()
        return batch


def check_all_seen(boxes: Mapping[int, FrameBoxes], video: Path | str, frames: int) -> None:
    """Refuse boxes on frames that the video does not have.

    Args:
        boxes: by 0-based video frame.
        video: what it is called in the message.
        frames: how many it had.

    Raises:
        InputError: some boxes lie beyond the video's end.
    """
    beyond = {index: len(found) for index, found in boxes.items() if index >= frames}
    if beyond:
        raise InputError(
            f"{video} ended after frame {frames - 1}, and {sum(beyond.values())} boxes lie on {len(beyond)} later "
            f"frames ({min(beyond)} to {max(beyond)}, counted from 0); give the whole video, the "
            "boxes that belong to it, or another --frame-offset"
        )
