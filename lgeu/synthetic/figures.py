"""Painting a pedestrian: shaded, patterned parts at several times the resolution, then reduced."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .body import Body, Part
from .people import Fabric, Person
from .skeleton import Pose

_SUPERSAMPLING = 2
# The patch reaches this far around a figure of height 1: sideways for strides and bags, and below the feet.
_SIDE, _ABOVE, _BELOW = 0.42, 1.16, 0.06


@dataclass(frozen=True)
class Figure:
    """A painted pedestrian.

    Attributes:
        colour: (h, w, 3) float32 BGR, 0 to 1, multiplied by `opacity`.
        opacity: (h, w, 1) float32, 0 to 1.
        foot: (x, y) in pixels of the patch, between the feet on the ground.
    """

    colour: NDArray[np.float32]
    opacity: NDArray[np.float32]
    foot: tuple[float, float]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, w, h in pixels of the patch: the smallest box around all that is at least half opaque."""
        x, y, w, h = cv2.boundingRect((self.opacity[..., 0] >= 0.5).astype(np.uint8))
        return int(x), int(y), int(w), int(h)


def paint_figure(person: Person, pose: Pose, height: float, light: float = 0.0) -> Figure:
    """Paint a pedestrian.

    Args:
        person: who.
        pose: how they stand and from where they are seen.
        height: of an average person, in pixels; the person's own height is a factor on it.
        light: where it comes from, -1 (left) to 1 (right).
    """
    scale = height * person.height * _SUPERSAMPLING
    factor = _SUPERSAMPLING
    rows = int(np.ceil((_ABOVE + _BELOW) * scale / factor)) * factor
    columns = int(np.ceil(2 * _SIDE * scale / factor)) * factor
    origin = np.array([columns / 2, _ABOVE * scale])
    colour, opacity = np.zeros((rows, columns, 3), np.float32), np.zeros((rows, columns), np.float32)
    for part in Body(person, pose).parts():
        _paint_part(colour, opacity, part, scale, origin, light)
    small = (columns // factor, rows // factor)
    return Figure(
        colour=cv2.resize(colour, small, interpolation=cv2.INTER_AREA).astype(np.float32),
        opacity=cv2.resize(opacity, small, interpolation=cv2.INTER_AREA)[..., None].astype(np.float32),
        foot=(origin[0] / factor, origin[1] / factor),
    )


def place_figure(canvas: NDArray[np.float32], figure: Figure, foot: tuple[float, float]) -> tuple[int, int, int, int]:
    """Blend a figure into a picture, in place; what lies outside the picture is cut off.

    Args:
        canvas: (H, W, 3) float32 BGR, 0 to 1.
        figure: what to blend.
        foot: (x, y) in pixels of the canvas.

    Returns:
        x, y, w, h: the figure's box in pixels of the canvas, not clipped.
    """
    left, top = round(foot[0] - figure.foot[0]), round(foot[1] - figure.foot[1])
    rows, columns = figure.opacity.shape[:2]
    y0, y1 = max(top, 0), min(top + rows, canvas.shape[0])
    x0, x1 = max(left, 0), min(left + columns, canvas.shape[1])
    if y0 < y1 and x0 < x1:
        inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        target = canvas[y0:y1, x0:x1]
        target *= 1 - figure.opacity[inside]
        target += figure.colour[inside]
    x, y, w, h = figure.box
    return x + left, y + top, w, h


def _paint_part(
    colour: NDArray[np.float32],
    opacity: NDArray[np.float32],
    part: Part,
    scale: float,
    origin: NDArray[np.float64],
    light: float,
) -> None:
    outline = np.round(part.outline * scale + origin).astype(np.int32)
    x0, y0 = np.maximum(outline.min(0), 0)
    x1, y1 = np.minimum(outline.max(0) + 1, [colour.shape[1], colour.shape[0]])
    if x0 >= x1 or y0 >= y1:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [outline - [x0, y0]], 1)
    start, end = part.axis * scale + origin - [x0, y0]
    across, along = _fabric_coordinates(mask.shape, start, end, part.widths, scale)
    shown = mask.astype(bool)
    shade = 0.55 + 0.45 * np.sqrt(np.clip(1 - (0.8 * (across - 0.6 * light)) ** 2, 0, 1))
    painted = _weave(part.fabric, across, along) * shade[..., None]
    colour[y0:y1, x0:x1][shown] = painted[shown]
    opacity[y0:y1, x0:x1][shown] = 1


def _fabric_coordinates(
    shape: tuple[int, ...],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    widths: tuple[float, float],
    scale: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For every pixel: across the part, -1 to 1 from the left edge of the picture, and along it, 0 to 1."""
    y, x = np.arange(shape[0], dtype=np.float32)[:, None], np.arange(shape[1], dtype=np.float32)[None]
    length = max(float(np.linalg.norm(end - start)), 1.0)
    tangent = (end - start) / length
    along = ((x - start[0]) * tangent[0] + (y - start[1]) * tangent[1]) / length
    across = (x - start[0]) * tangent[1] - (y - start[1]) * tangent[0]
    width = scale * (widths[0] + (widths[1] - widths[0]) * np.clip(along, 0, 1))
    return (across / np.maximum(width, 1)).astype(np.float32), along.astype(np.float32)


def _weave(fabric: Fabric, across: NDArray[np.float32], along: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours of a fabric at the given coordinates: (h, w, 3) float32 BGR, 0 to 1; (3,) where it has no pattern."""
    first, second = (np.array(colour[::-1], np.float32) / np.float32(255) for colour in (fabric.colour, fabric.second))
    if fabric.pattern in ("plain", "open"):
        return np.asarray(first, np.float32)
    return np.asarray(np.where(_pattern(fabric.pattern, across, along)[..., None], second, first), np.float32)


def _pattern(pattern: str, across: NDArray[np.float32], along: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the second colour of a fabric shows."""
    bars, stripes = np.floor(along * 8) % 2 == 0, np.floor((across + 1) * 3.5) % 2 == 1
    if pattern == "yoke":
        shown = along < 0.32
    elif pattern == "hem":
        shown = along > 0.62
    elif pattern == "logo":
        shown = (np.abs(across) < 0.5) & (np.abs(along - 0.4) < 0.16)
    else:
        shown = {"bars": bars, "stripes": stripes, "checks": bars ^ stripes}[pattern]
    return np.asarray(shown)
