"""A synthetic world small enough for tests."""

import pytest

from lgeu.synthetic.world import World, WorldSize, make_world

SIZE = WorldSize(
    train_people=3,
    test_people=3,
    distractors=2,
    cameras=2,
    images_per_camera=2,
    junk=2,
    video_people=3,
    video_frames=12,
)


@pytest.fixture(scope="session")
def world() -> World:
    return make_world(SIZE, seed=5)
