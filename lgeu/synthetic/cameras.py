"""The cameras of the synthetic world: what stands behind the people, and what a lens and a sensor make of it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SCENE_HEIGHT, SCENE_WIDTH = 480, 640
_HORIZON = 0.34


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
        scene: (480, 640, 3) float32 BGR, 0 to 1: the place without people.
        cast: gain of blue, green and red.
        gamma: of the exposure; above 1 is darker.
        blur: standard deviation of the lens's blur, as a share of a person's height.
        noise: standard deviation of the sensor's noise, 0 to 1.
        jpeg_quality: 0 to 100.
        light: where light comes from, -1 (left) to 1 (right).
        pitch: how far it looks down, in radians.
    """

    scene: NDArray[np.float32]
    cast: NDArray[np.float32]
    gamma: float
    blur: float
    noise: float
    jpeg_quality: int
    light: float
    pitch: float

    def expose(self, picture: NDArray[np.float32], height: float, rng: np.random.Generator) -> NDArray[np.uint8]:
        """What the camera makes of a picture.

        Args:
            picture: (H, W, 3) float32 BGR, 0 to 1.
            height: of a person in it, in pixels; the blur is relative to it.
            rng: source of the sensor's noise.

        Returns:
            (H, W, 3) uint8 BGR.
        """
        lit = np.clip(picture * self.cast, 0, 1) ** self.gamma
        blurred = cv2.GaussianBlur(lit, (0, 0), max(self.blur * height, 0.3))
        grainy = blurred + rng.normal(0, self.noise, blurred.shape).astype(np.float32)
        return np.asarray(np.clip(grainy * 255 + 0.5, 0, 255), np.uint8)


def sample_cameras(count: int, rng: np.random.Generator) -> list[Camera]:
    """Draw `count` cameras at different places."""
    return [
        Camera(
            scene=_paint_scene(rng),
            cast=(1 + rng.uniform(-0.16, 0.16, 3)).astype(np.float32),
            gamma=float(rng.uniform(0.75, 1.3)),
            blur=float(rng.uniform(0.003, 0.012)),
            noise=float(rng.uniform(0.005, 0.03)),
            jpeg_quality=int(rng.integers(55, 92)),
            light=float(rng.uniform(-1, 1)),
            pitch=float(rng.uniform(0.05, 0.35)),
        )
        for _ in range(count)
    ]


def _paint_scene(rng: np.random.Generator) -> NDArray[np.float32]:
    """A wall with windows and posters, a paved ground, and things that stand on it."""
    horizon = int(SCENE_HEIGHT * _HORIZON)
    scene = np.empty((SCENE_HEIGHT, SCENE_WIDTH, 3), np.float32)
    scene[:horizon] = _muted(rng)
    scene[horizon:] = _muted(rng) * np.linspace(0.75, 1.05, SCENE_HEIGHT - horizon, dtype=np.float32)[:, None, None]
    _paint_pavement(scene[horizon:], rng)
    for _ in range(int(rng.integers(5, 11))):
        _paint_block(scene, rng, bottom=int(rng.integers(horizon // 2, horizon + 1)), tall=70, wide=110)
    for _ in range(int(rng.integers(2, 6))):
        _paint_block(scene, rng, bottom=int(rng.integers(horizon + 10, SCENE_HEIGHT)), tall=110, wide=60)
    grain = cv2.GaussianBlur(rng.normal(0, 1, scene.shape[:2]).astype(np.float32), (0, 0), 2.5)
    return np.asarray(np.clip(scene * (1 + 0.35 * grain[..., None]), 0, 1), np.float32)


def _paint_pavement(ground: NDArray[np.float32], rng: np.random.Generator) -> None:
    joint = float(rng.uniform(0.8, 0.95))
    rows, columns = ground.shape[:2]
    vanishing = float(rng.uniform(0.2, 0.8)) * columns
    for step in np.cumsum(np.geomspace(4, 60, 12)):
        if step < rows:
            ground[int(step) : int(step) + 2] *= joint
    for foot in np.linspace(-columns, 2 * columns, 22):
        line = np.zeros((rows, columns), np.uint8)
        cv2.line(line, (int(vanishing), -40), (int(foot), rows), 1, 1)
        ground[line.astype(bool)] *= joint


def _paint_block(scene: NDArray[np.float32], rng: np.random.Generator, bottom: int, tall: int, wide: int) -> None:
    height, width = int(rng.integers(tall // 3, tall)), int(rng.integers(wide // 4, wide))
    left = int(rng.integers(-width // 2, SCENE_WIDTH - width // 2))
    block = scene[max(bottom - height, 0) : bottom, max(left, 0) : left + width]
    block[...] = _muted(rng)
    block[:, -max(width // 8, 1) :] *= 0.8


def _muted(rng: np.random.Generator) -> NDArray[np.float32]:
    grey = rng.uniform(0.25, 0.8)
    return np.asarray(np.clip(grey + rng.uniform(-0.1, 0.1, 3), 0, 1), np.float32)
