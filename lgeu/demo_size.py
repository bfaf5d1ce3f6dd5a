"""How large a demo is."""

from dataclasses import dataclass
from pathlib import Path

from .synthetic.world import WorldSize

_RECIPES = Path(__file__).resolve().parents[1] / "recipes"


@dataclass(frozen=True)
class DemoSize:
    """What decides how long the demo takes.

    Attributes:
        world: how many people, cameras, images and frames are drawn.
        recipe: how the network is trained.
    """

    world: WorldSize
    recipe: Path


SIZES = {
    "default": DemoSize(
        WorldSize(
            train_people=180,
            test_people=40,
            distractors=60,
            cameras=4,
            images_per_camera=4,
            junk=40,
            video_people=7,
            video_frames=80,
        ),
        _RECIPES / "demo.yaml",
    ),
    "tiny": DemoSize(
        WorldSize(
            train_people=80,
            test_people=24,
            distractors=30,
            cameras=3,
            images_per_camera=4,
            junk=20,
            video_people=5,
            video_frames=30,
        ),
        _RECIPES / "demo-tiny.yaml",
    ),
}
