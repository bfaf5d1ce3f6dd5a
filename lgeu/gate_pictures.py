"""The gates' responses as pictures: values over channels as a heat map, and where the feature map is strong."""

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT = 256
GAP = 8

_MAP_WIDTH = 640
_LEGEND_HEIGHT = 14
_SHADE = 0.55
_WHITE = 255


def channel_order(gates: NDArray[np.float32]) -> NDArray[np.int64]:
    """Channels by the mean of their gates over images and strips, (N, K, C) to (C,), the widest open first."""
    return np.argsort(-gates.mean((0, 1), dtype=np.float64), kind="stable")


def draw_gates(gates: NDArray[np.float32], order: NDArray[np.int64], height: int = HEIGHT) -> NDArray[np.uint8]:
    """Gates of one image, or a mean of them, as a heat map: a row a strip, from the top; dark is 0 and yellow 1.

    Args:
        gates: (K, C) in 0..1.
        order: (C,) channels from left to right; neighbours share a pixel's column where there are many.
        height: of the picture.

    Returns:
        `height` x 640 x 3 uint8, BGR.
    """
    strips, channels = gates.shape
    # Areas are averaged where channels are many; where they are few, each becomes a bar.
    way = cv2.INTER_AREA if channels > _MAP_WIDTH else cv2.INTER_NEAREST
    values = cv2.resize(np.ascontiguousarray(gates[:, order], np.float32), (_MAP_WIDTH, strips), interpolation=way)
    rows = np.arange(height) * strips // height
    return _coloured(values.reshape(strips, _MAP_WIDTH)[rows])


def draw_legend() -> NDArray[np.uint8]:
    """The colours of the heat map from 0 to 1."""
    return _coloured(np.tile(np.linspace(0, 1, _MAP_WIDTH, dtype=np.float32), (_LEGEND_HEIGHT, 1)))


def draw_responses(
    image: NDArray[np.uint8],
    gates: NDArray[np.float32],
    order: NDArray[np.int64],
    energy: NDArray[np.float32],
    gated_energy: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """An image, the energy of its feature map before and after the gates, and the gates, the strips side by side.

    Args:
        image: H x W x 3 uint8, RGB, as the network sees it.
        gates: (K, C) in 0..1.
        order: see `draw_gates`.
        energy: (h, w), not negative; its largest is yellow.
        gated_energy: likewise, by its own largest.

    Returns:
        256 x W x 3 uint8, BGR.
    """
    width = round(HEIGHT * image.shape[1] / image.shape[0])
    resized = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (width, HEIGHT), interpolation=cv2.INTER_LINEAR)
    seen = np.asarray(resized, np.uint8)
    panels = [seen, _overlay(seen, energy), _overlay(seen, gated_energy)]
    for panel in panels:
        _mark_strips(panel, len(gates))
    panels.append(draw_gates(gates, order))
    gap = np.full((HEIGHT, GAP, 3), _WHITE, np.uint8)
    return np.hstack([part for panel in panels for part in (panel, gap)][:-1])


def _overlay(image: NDArray[np.uint8], energy: NDArray[np.float32]) -> NDArray[np.uint8]:
    largest = float(energy.max())
    relative = energy / largest if largest > 0 else np.zeros_like(energy)
    smooth = cv2.resize(relative, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    shaded = cv2.addWeighted(image, 1 - _SHADE, _coloured(np.asarray(smooth, np.float32)), _SHADE, 0)
    return np.asarray(shaded, np.uint8)


def _mark_strips(panel: NDArray[np.uint8], strips: int) -> None:
    for strip in range(1, strips):
        panel[strip * panel.shape[0] // strips] = _WHITE


def _coloured(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    levels = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), np.uint8)
