"""Crops of the people in a video, frame by frame, with what is known of each."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .boxes import FrameBoxes, cut
from .detector import YoloxDetector
from .embeddings import UNKNOWN_CAMERA, UNKNOWN_PERSON, Embeddings
from .errors import InputError
from .progress import progress
from .video import read_frames, read_header

FindPeople = Callable[[int, NDArray[np.uint8]], FrameBoxes]


class VideoCrops:
    """The crops of a video's people, to be iterated over once; afterwards it knows what they were.

    Crops are cut when asked for, so only those that the consumer holds are in memory.

    Attributes:
        frames: how many were read.
        boxes: how many were found or given on them.
        dropped: how many of those lay fully outside their frame.
    """

    def __init__(self, video: Path, find_people: FindPeople) -> None:
        """Take the crops from a video.

        Args:
            video: the file.
            find_people: from 0-based frame number and frame (H x W x 3 uint8, BGR) to the boxes on it.
        """
        self._video = video
        self._find_people = find_people
        self._kept: list[FrameBoxes] = []
        self.frames = 0
        self.boxes = 0
        self.dropped = 0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield h x w x 3 uint8 crops, BGR, in the order of the frames.

        Raises:
            InputError: the video cannot be read to its end.
        """
        total = read_header(self._video).frames
        for index, frame in enumerate(progress(read_frames(self._video), "embedding", total=total, unit="frame")):
            given = self._find_people(index, frame)
            kept = given.clipped(frame.shape[1], frame.shape[0])
            self._kept.append(kept)
            self.frames += 1
            self.boxes += len(given)
            self.dropped += len(given) - len(kept)
            for box in kept.boxes:
                yield cut(frame, box)

    def with_features(self, features: NDArray[np.float32]) -> Embeddings:
        """The embeddings file's content: `features` (N, D) of the N crops yielded, and what they were."""
        counts = [len(kept) for kept in self._kept]
        return Embeddings(
            features=features,
            person_ids=np.full(len(features), UNKNOWN_PERSON, np.int64),
            camera_ids=np.full(len(features), UNKNOWN_CAMERA, np.int64),
            names=np.array([f"frame{f:06d}_box{b:02d}" for f, n in enumerate(counts) for b in range(n)], np.str_),
            frames=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
            tracks=np.concatenate([kept.tracks for kept in self._kept]),
            boxes=np.concatenate([kept.boxes for kept in self._kept]),
        )


def given_boxes(boxes: Mapping[int, FrameBoxes]) -> FindPeople:
    """People are where a boxes file says."""
    nobody = FrameBoxes.without_tracks(np.empty((0, 4), np.float32))
    return lambda index, _frame: boxes.get(index, nobody)


def detected_by(detector: YoloxDetector) -> FindPeople:
    """People are where a detector finds them; they have no tracks."""
    return lambda _index, frame: FrameBoxes.without_tracks(detector.detect(frame))


def check_all_seen(boxes: Mapping[int, FrameBoxes], video: Path, frames: int) -> None:
    """Refuse boxes on frames that the video does not have.

    Args:
        boxes: by 0-based video frame.
        video: the file, for the message.
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
