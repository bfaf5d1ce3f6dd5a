"""The synthetic video: several people of the test half cross a square, with their tracks known."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.files import atomic_path, write_json, write_text
from runtime.progress import progress

from .cameras import SCENE_HEIGHT, SCENE_WIDTH
from .figures import paint_figure, place_figure
from .people import Person
from .skeleton import Pose
from .world import World

FRAMES_PER_SECOND = 10
_VIDEO_KEY = 3_000_000
# Less of a person than this inside the frame is not annotated.
_VISIBLE = 0.4


@dataclass(frozen=True)
class SyntheticVideo:
    """The files of the video.

    Attributes:
        video: the video.
        boxes: ground truth in MOT format: frames from 1, confidence 1, boxes clipped to the frame.
        tracks: JSON, the person id of each track.
        people: the same, track to person id.
    """

    video: Path
    boxes: Path
    tracks: Path
    people: dict[int, int]


@dataclass(frozen=True)
class _Walker:
    person: Person
    start: tuple[float, float]
    velocity: tuple[float, float]
    phase: float

    def foot(self, frame: int) -> tuple[float, float]:
        return self.start[0] + frame * self.velocity[0], self.start[1] + frame * self.velocity[1]

    def height(self, frame: int) -> float:
        """Nearer is lower in the picture and larger."""
        return 60 + 0.28 * (self.foot(frame)[1] - 0.34 * SCENE_HEIGHT)

    def pose(self, frame: int, pitch: float) -> Pose:
        yaw = float(np.arctan2(self.velocity[0], 3 * self.velocity[1]))
        return Pose(phase=self.phase + 0.9 * frame, yaw=yaw, stride=0.4, pitch=pitch)


def write_video(world: World, out: Path) -> SyntheticVideo:
    """Write video.mp4, boxes.txt and tracks.json into `out`.

    Raises:
        InputError: the folder cannot be written to, or OpenCV cannot write videos.
    """
    rng = world.rng(_VIDEO_KEY)
    ids = [int(number) for number in rng.permutation(list(world.test))[: world.size.video_people]]
    walkers = [_walker(world.test[number], rng) for number in ids]
    people = dict(enumerate(ids, start=1))
    files = SyntheticVideo(out / "video.mp4", out / "boxes.txt", out / "tracks.json", people)
    lines: list[str] = []
    with atomic_path(files.video) as temporary:
        _encode(temporary, _frames(world, walkers, lines, rng))
    write_text(files.boxes, "".join(lines))
    write_json(files.tracks, {str(track): number for track, number in people.items()})
    return files


def _walker(person: Person, rng: np.random.Generator) -> _Walker:
    direction = float(rng.choice([-1, 1]))
    start = SCENE_WIDTH * (0.5 - direction * rng.uniform(0.2, 0.6)), SCENE_HEIGHT * rng.uniform(0.5, 0.95)
    velocity = direction * rng.uniform(2.5, 5.5), rng.uniform(-0.9, 0.9)
    return _Walker(
        person, (float(start[0]), float(start[1])), (float(velocity[0]), float(velocity[1])), float(rng.uniform(0, 6))
    )


def _frames(
    world: World, walkers: list[_Walker], lines: list[str], rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """The frames; a line for each box that is seen goes into `lines`."""
    camera = world.cameras[world.video_camera]
    for frame in progress(range(world.size.video_frames), "drawing the video", unit="frame"):
        picture = camera.scene.copy()
        for track, walker in sorted(enumerate(walkers, start=1), key=lambda item: item[1].foot(frame)[1]):
            figure = paint_figure(walker.person, walker.pose(frame, camera.pitch), walker.height(frame), camera.light)
            box = _visible(*place_figure(picture, figure, walker.foot(frame)))
            if box is not None:
                lines.append(f"{frame + 1},{track},{','.join(map(str, box))},1,-1,-1,-1\n")
        yield camera.expose(picture, 110, rng)


def _visible(x: int, y: int, w: int, h: int) -> tuple[int, int, int, int] | None:
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, SCENE_WIDTH), min(y + h, SCENE_HEIGHT)
    if right <= left or bottom <= top or (right - left) * (bottom - top) < _VISIBLE * w * h:
        return None
    return left, top, right - left, bottom - top


def _encode(path: Path, frames: Iterator[NDArray[np.uint8]]) -> None:
    fourcc = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), fourcc, FRAMES_PER_SECOND, (SCENE_WIDTH, SCENE_HEIGHT))
    if not writer.isOpened():
        raise InputError(f"OpenCV cannot write {path}; install an OpenCV with FFmpeg")
    try:
        for frame in frames:
            writer.write(frame)
    finally:
        writer.release()
