"""Heat maps of the gates: which pixel shows which value."""

import cv2
import numpy as np
import pytest

from lgeu.gate_pictures import GAP, HEIGHT, channel_order, draw_gates, draw_legend, draw_responses


def colour(value: float) -> list[int]:
    level = np.array([[round(255 * value)]], np.uint8)
    return cv2.applyColorMap(level, cv2.COLORMAP_VIRIDIS)[0, 0].tolist()


def test_channels_are_ordered_by_their_mean_over_images_and_strips() -> None:
    gates = np.array([[[0.1, 0.9, 0.5]], [[0.3, 0.9, 0.7]]], np.float32)
    assert channel_order(gates).tolist() == [1, 2, 0]


def test_each_strip_is_a_row_and_each_channel_a_bar() -> None:
    gates = np.array([[0.0, 1.0], [0.2, 0.6]], np.float32)
    drawn = draw_gates(gates, np.array([1, 0]), height=64)
    assert [[drawn[y, x].tolist() for x in (0, 639)] for y in (0, 63)] == [
        [colour(1.0), colour(0.0)],
        [colour(0.6), colour(0.2)],
    ]
    assert (drawn[:32] == drawn[0]).all()
    assert (drawn[32:] == drawn[63]).all()


def test_many_channels_share_a_column_as_their_mean() -> None:
    gates = np.tile(np.array([0.0, 1.0], np.float32), 640)[None]
    drawn = draw_gates(gates, np.arange(1280), height=4)
    assert np.unique(drawn.reshape(-1, 3), axis=0).tolist() == [colour(0.5)]


def test_the_legend_goes_from_0_to_1() -> None:
    legend = draw_legend()
    assert (legend[0, 0].tolist(), legend[0, -1].tolist()) == (colour(0.0), colour(1.0))


def test_the_energy_is_shown_where_it_is_and_strips_are_marked() -> None:
    image = np.zeros((128, 64, 3), np.uint8)
    gates = np.full((4, 8), 0.5, np.float32)
    energy, gated = np.zeros((2, 8, 4), np.float32)
    energy[0, 0], gated[7, 3] = 3, 1
    drawn = draw_responses(image, gates, np.arange(8), energy, gated).astype(int)
    width = HEIGHT // 2
    before, after = (drawn[:, start : start + width].sum(2) for start in (width + GAP, 2 * (width + GAP)))
    assert np.unravel_index(np.where(before == 765, 0, before).argmax(), before.shape) == (0, 0)
    assert np.unravel_index(np.where(after == 765, 0, after).argmax(), after.shape)[0] > HEIGHT * 7 // 8
    assert [row for row in range(HEIGHT) if (drawn[row, :width] == 255).all()] == [64, 128, 192]


@pytest.mark.parametrize("value", [0.0, 1e-30])
def test_a_feature_map_without_energy_is_dark(value: float) -> None:
    flat = np.full((4, 2), value, np.float32)
    drawn = draw_responses(np.zeros((64, 32, 3), np.uint8), np.ones((1, 4), np.float32), np.arange(4), flat, flat)
    assert np.isfinite(drawn).all()
