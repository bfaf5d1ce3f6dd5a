"""The synthetic data set: crops of pedestrians under several cameras, in the layout of Market-1501."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.layouts import MARKET_PARTS
from eval.storage import SYNTHETIC_MARKER
from runtime.errors import InputError
from runtime.progress import progress

from .cameras import SCENE_HEIGHT, SCENE_WIDTH, Camera
from .figures import paint_figure, place_figure
from .people import Person
from .skeleton import Pose
from .world import World

CROP_HEIGHT, CROP_WIDTH = 128, 64
_TRAIN, _QUERY, _TEST = MARKET_PARTS
_DISTRACTOR, _JUNK = 0, -1
_MARKER_TEXT = "The people in these images were drawn by a program; results on them say nothing about real people.\n"
# Keys of the random generators: what belongs to no identity needs numbers of its own.
_STRANGERS, _BAD_BOXES = 1_000_000, 2_000_000


@dataclass(frozen=True)
class _Shot:
    """One image to be: who, which camera, which number, and where it goes."""

    part: str
    person_id: int
    person: Person
    camera: int
    number: int
    key: int
    badly_detected: bool = False

    @property
    def name(self) -> str:
        person = str(self.person_id) if self.person_id < 0 else f"{self.person_id:04d}"
        return f"{self.part}/{person}_c{self.camera}s1_{self.key % 1_000_000:06d}_{self.number:02d}.jpg"


def write_dataset(world: World, out: Path) -> Path:
    """Write the data set.

    Args:
        world: its people and cameras.
        out: the folder; it appears when it is complete.

    Returns:
        `out`.

    Raises:
        InputError: `out` exists, or cannot be written to.
    """
    if out.exists():
        raise InputError(f"{out} exists already; remove it, or name another folder")
    shots = list(_shots(world))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
            complete = Path(temporary) / out.name
            for part in MARKET_PARTS:
                (complete / part).mkdir(parents=True)
            (complete / SYNTHETIC_MARKER).write_text(_MARKER_TEXT)
            for shot in progress(shots, "drawing pedestrians", unit="image"):
                _write_jpeg(complete / shot.name, *_take(world, shot))
            shutil.move(complete, out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error}") from error
    return out


def _shots(world: World) -> Iterator[_Shot]:
    size = world.size
    cameras = range(1, size.cameras + 1)
    for people, parts in ((world.train, (_TRAIN, _TRAIN)), (world.test, (_QUERY, _TEST))):
        for person_id, person in people.items():
            for camera in cameras:
                for number in range(size.images_per_camera):
                    yield _Shot(parts[number > 0], person_id, person, camera, number, person_id)
    for index, stranger in enumerate(world.strangers):
        yield _Shot(_TEST, _DISTRACTOR, stranger, cameras[index % size.cameras], 0, _STRANGERS + index)
    people_seen = list(world.test.values())
    for index in range(size.junk):
        person = people_seen[index % len(people_seen)]
        yield _Shot(_TEST, _JUNK, person, cameras[index % size.cameras], 0, _BAD_BOXES + index, badly_detected=True)


def _take(world: World, shot: _Shot) -> tuple[NDArray[np.uint8], int]:
    """One crop as a detector would cut it from a frame, and the quality it is stored with."""
    rng = world.rng(shot.key, shot.camera, shot.number)
    camera = world.cameras[shot.camera]
    height = float(rng.uniform(80, 150))
    figure = paint_figure(shot.person, _pose(camera, rng), height, camera.light)
    foot = (float(rng.uniform(100, SCENE_WIDTH - 100)), float(rng.uniform(height + 20, SCENE_HEIGHT - 20)))
    frame = camera.scene.copy()
    x, y, w, h = place_figure(frame, figure, foot)
    if rng.random() < 0.12:
        _occlude(frame, world, camera, (x, y, w, h), rng)
    left, top, right, bottom = _detect(x, y, w, h, shot.badly_detected, rng)
    crop = camera.expose(frame[top:bottom, left:right], height, rng)
    resized = cv2.resize(crop, (CROP_WIDTH, CROP_HEIGHT), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8), camera.jpeg_quality


def _pose(camera: Camera, rng: np.random.Generator) -> Pose:
    return Pose(
        phase=float(rng.uniform(0, 2 * np.pi)),
        yaw=float(rng.uniform(-np.pi, np.pi)),
        stride=float(rng.uniform(0.1, 0.5)),
        pitch=camera.pitch,
    )


def _occlude(
    frame: NDArray[np.float32], world: World, camera: Camera, box: tuple[int, int, int, int], rng: np.random.Generator
) -> None:
    """Somebody else walks by, half in front."""
    x, _, w, h = box
    passer_by = world.strangers[int(rng.integers(len(world.strangers)))] if world.strangers else None
    if passer_by is None:
        return
    other = paint_figure(passer_by, _pose(camera, rng), h * 1.05, camera.light)
    side = float(rng.choice([-1, 1])) * rng.uniform(0.55, 0.9)
    place_figure(frame, other, (x + w / 2 + side * w, box[1] + h + float(rng.uniform(2, 8))))


def _detect(x: int, y: int, w: int, h: int, badly: bool, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """The box of a detector that is a little off, or of one that is far off: left, top, right, bottom."""
    error = 0.45 if badly else 0.06
    centre_x = x + w / 2 + float(rng.normal(0, error / 2)) * h
    centre_y = y + h / 2 + float(rng.normal(0, error / 2)) * h
    height = h * float(rng.uniform(0.5, 1.8) if badly else rng.uniform(0.97, 1.16))
    # Detectors keep to about one aspect ratio, as Market-1501's 64 x 128 crops do.
    width = height * float(rng.uniform(0.42, 0.54))
    left, top = max(int(centre_x - width / 2), 0), max(int(centre_y - height / 2), 0)
    return left, top, min(int(left + width) + 1, SCENE_WIDTH), min(int(top + height) + 1, SCENE_HEIGHT)


def _write_jpeg(path: Path, image: NDArray[np.uint8], quality: int) -> None:
    encoded, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise InputError(f"OpenCV cannot encode {path.name} as JPEG; install an OpenCV with JPEG support")
    path.write_bytes(content.tobytes())
