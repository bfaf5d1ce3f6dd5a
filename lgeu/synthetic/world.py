"""Who walks there and who watches: what the data set and the video have in common."""

from dataclasses import dataclass

import numpy as np

from .cameras import Camera, sample_cameras
from .people import Person, sample_people


@dataclass(frozen=True)
class WorldSize:
    """How much of everything there is.

    Attributes:
        train_people: identities to train on.
        test_people: other identities, to search for.
        distractors: people in the gallery whom nobody searches for, one image each.
        cameras: of the data set; the video has one more of its own.
        images_per_camera: of each identity; the first of the test half is a query.
        junk: badly detected boxes in the gallery.
        video_people: test identities who walk through the video.
        video_frames: its length.
    """

    train_people: int
    test_people: int
    distractors: int
    cameras: int
    images_per_camera: int
    junk: int
    video_people: int
    video_frames: int


@dataclass(frozen=True)
class World:
    """Everything the pictures are made of; the same seed makes the same pictures.

    Attributes:
        train: person id to person.
        test: likewise; no id is in both.
        strangers: the distractors.
        cameras: camera id to camera, counted from 1; the last one is the video's.
        size: how much there is.
        seed: of everything.
    """

    train: dict[int, Person]
    test: dict[int, Person]
    strangers: tuple[Person, ...]
    cameras: dict[int, Camera]
    size: WorldSize
    seed: int

    @property
    def video_camera(self) -> int:
        """Id of the camera that only the video is from."""
        return max(self.cameras)

    def rng(self, *key: int) -> np.random.Generator:
        """Randomness for one picture, whatever is made before it."""
        return np.random.default_rng([self.seed, *key])


def make_world(size: WorldSize, seed: int = 0) -> World:
    """Draw people and cameras."""
    rng = np.random.default_rng(seed)
    people = sample_people(size.train_people + size.test_people + size.distractors, rng)
    ids = dict(enumerate(people[: size.train_people + size.test_people], start=1))
    cameras = sample_cameras(size.cameras + 1, rng)
    return World(
        train={number: person for number, person in ids.items() if number <= size.train_people},
        test={number: person for number, person in ids.items() if number > size.train_people},
        strangers=tuple(people[len(ids) :]),
        cameras=dict(enumerate(cameras, start=1)),
        size=size,
        seed=seed,
    )
