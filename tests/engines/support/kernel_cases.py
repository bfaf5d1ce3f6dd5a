"""What the kernel is tested on, on the CPU and on a GPU: problems, their inputs, and the answer in float64."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Layout = Literal["nchw", "nhwc", "hwc8"]
Floats = type[np.float32] | type[np.float16]
Inputs = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]

# Sums are fp32 in any case; a half result is off by its own rounding, relative to values around 1.
TOLERANCE: dict[Floats, float] = {np.float32: 2e-6, np.float16: 1e-3}

HWC8_CHANNELS = 8


@dataclass(frozen=True)
class Problem:
    """Sizes of X (N, C, H, W), W1 (K, R, C) and W2 (K, C, R)."""

    images: int
    channels: int
    height: int
    width: int
    strips: int
    reduction: int

    def __str__(self) -> str:
        return f"{self.images}x{self.channels}x{self.height}x{self.width}-k{self.strips}-r{self.reduction}"


GRID = [
    Problem(1, 2048, 8, 4, 4, 16),  # the network of the paper at 256 x 128
    Problem(1, 2048, 16, 8, 4, 16),  # with last stride 1
    Problem(3, 512, 8, 4, 4, 16),
    Problem(3, 64, 4, 2, 4, 16),  # 128 x 64: strips smaller than 16 bytes
    Problem(1, 2048, 16, 8, 1, 16),  # and the SE unit
    Problem(1, 2048, 8, 4, 8, 64),  # the most weights
    Problem(0, 64, 8, 4, 4, 16),
    Problem(3, 10, 6, 5, 3, 3),  # nothing is a multiple of 8, odd width
    Problem(1, 1, 1, 1, 1, 1),
    Problem(3, 8, 8, 7, 2, 8),
    Problem(1, 8, 24, 12, 8, 1),
    Problem(1, 40, 7, 33, 7, 5),
    Problem(1, 24, 5, 3, 5, 8),
    Problem(1, 72, 12, 11, 6, 2),
    Problem(2, 513, 8, 4, 4, 16),  # one channel more than threads in a block
]

# Sums too large to be exchanged in a cluster: two kernels on every GPU.
LARGE_GATE = Problem(2, 136, 8, 4, 8, 512)

# Types of X and of the weights, which need not be the same.
TYPES: list[tuple[Floats, Floats]] = [
    (np.float32, np.float32),
    (np.float16, np.float16),
    (np.float16, np.float32),
    (np.float32, np.float16),
]
TYPE_NAMES = [f"{np.dtype(x).name}-{np.dtype(weights).name}" for x, weights in TYPES]


def strip_gate_float64(x: NDArray, w1: NDArray, w2: NDArray) -> NDArray[np.float64]:
    """The paper's equations (1) to (4) for X (N, C, H, W), W1 (K, R, C), W2 (K, C, R), image by image."""
    x, w1, w2 = (array.astype(np.float64) for array in (x, w1, w2))
    strips, rows = len(w1), x.shape[2] // len(w1)
    y = np.zeros(x.shape[:2])
    for n in range(len(x)):
        gated = np.empty_like(x[n])
        for k in range(strips):
            strip = x[n, :, k * rows : (k + 1) * rows]
            local = strip.mean(axis=(1, 2))
            gate = 1 / (1 + np.exp(-(w2[k] @ np.maximum(w1[k] @ local, 0))))
            gated[:, k * rows : (k + 1) * rows] = strip * gate[:, None, None]
        y[n] = gated.mean(axis=(1, 2))
    return y


def make_inputs(problem: Problem, x_type: Floats, weights_type: Floats, seed: int = 0) -> Inputs:
    """X (N, C, H, W), W1 and W2, so scaled that gates are neither open nor shut; the same for the same arguments."""
    rng = np.random.default_rng([*vars(problem).values(), seed])
    channels, strips, reduction = problem.channels, problem.strips, problem.reduction
    x = rng.standard_normal((problem.images, channels, problem.height, problem.width))
    x += rng.standard_normal((1, channels, 1, 1))
    w1 = rng.standard_normal((strips, reduction, channels)) * 4 / channels**0.5
    w2 = rng.standard_normal((strips, channels, reduction))
    return x.astype(x_type), w1.astype(weights_type), w2.astype(weights_type)


def in_layout(x: NDArray, layout: Layout) -> NDArray:
    """X (N, C, H, W) as a layout keeps it in memory; what pads C to a multiple of 8 in HWC8 is NaN."""
    if layout == "nchw":
        return np.ascontiguousarray(x)
    pixels = x.transpose(0, 2, 3, 1)
    if layout == "hwc8":
        pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, -x.shape[1] % HWC8_CHANNELS)), constant_values=np.nan)
    return np.ascontiguousarray(pixels)


def layouts_of(x_type: Floats) -> list[Layout]:
    """The layouts that the plugin takes X in; HWC8 is TensorRT's name for one of half values."""
    return ["nchw", "nhwc", "hwc8"] if x_type is np.float16 else ["nchw", "nhwc"]


def assert_agrees(y: NDArray, inputs: Inputs) -> None:
    """Hold a result against the answer in float64, to the rounding of its own type."""
    tolerance = TOLERANCE[y.dtype.type]
    np.testing.assert_allclose(y, strip_gate_float64(*inputs), rtol=tolerance, atol=tolerance)
