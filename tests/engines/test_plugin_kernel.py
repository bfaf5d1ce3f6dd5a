"""The kernel's device code, compiled for the CPU, against the operator's definition in NumPy float64."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import GRID, LARGE_GATE, TYPE_NAMES, TYPES, Floats, Inputs, Problem, assert_agrees, make_inputs
from numpy.typing import NDArray
from strip_gate_library import FUSED, TWO_KERNELS, Device, Plan, Shape, StripGateLibrary, Types

HOPPER, AMPERE, ORIN = Device(132, 8), Device(108, 1), Device(16, 1)
PART_OF_HOPPER = Device(16, 4)  # as MIG may give it


@dataclass(frozen=True)
class Kernel:
    """The library, and its launch on arrays."""

    library: StripGateLibrary

    def plan(self, x: NDArray, w1: NDArray, device: Device) -> Plan:
        return self.library.plan(shape_of(x, w1), types_of(x, w1), device)

    def run(
        self,
        plan: Plan,
        x: NDArray,
        w1: NDArray,
        w2: NDArray,
        channels_last: bool = False,
        pixel_stride: int | None = None,
    ) -> NDArray[np.generic]:
        """Y (N, C) of X (N, C, H, W), which is laid out as asked; what pads a pixel is NaN, and the workspace is."""
        n, c = x.shape[:2]
        shape = shape_of(x, w1, channels_last, pixel_stride)
        assert self.library.plan_refusal(shape, plan, HOPPER) is None
        if channels_last:
            pixels = np.full((n, *x.shape[2:], shape.pixel_stride), np.nan, x.dtype)
            pixels[..., :c] = x.transpose(0, 2, 3, 1)
            x = offset_copy(pixels, x.ctypes.data % 64 // x.itemsize)
        y = np.full(n * c + 64, np.nan, x.dtype)
        workspace = np.full(self.library.plan_workspace_bytes(shape, plan) // 4 + 64, np.nan, np.float32)
        x_at, w1_at, w2_at, y_at, workspace_at = (array.ctypes.data for array in (x, w1, w2, y, workspace))
        self.library.launch(shape, types_of(x, w1), plan, addresses=(x_at, w1_at, w2_at, y_at, workspace_at), stream=0)
        assert np.isnan(y[n * c :]).all()
        assert np.isnan(workspace[-64:]).all()
        return y[: n * c].reshape(n, c)


def shape_of(x: NDArray, w1: NDArray, channels_last: bool = False, pixel_stride: int | None = None) -> Shape:
    return Shape(*x.shape, *w1.shape[:2], channels_last, pixel_stride or x.shape[1])


def types_of(x: NDArray, w1: NDArray) -> Types:
    return Types(int(x.dtype == np.float16), int(w1.dtype == np.float16))


def inputs(problem: Problem, x_type: Floats, weights_type: Floats | None = None) -> Inputs:
    """X, W1 and W2 on 64-byte boundaries."""
    x, w1, w2 = make_inputs(problem, x_type, weights_type or x_type)
    return offset_copy(x), offset_copy(w1), offset_copy(w2)


def offset_copy(array: NDArray, elements: int = 0) -> NDArray:
    """The same values at an address `elements` past a 64-byte boundary."""
    item = array.itemsize
    memory = np.empty(array.nbytes + 64 + elements * item, np.uint8)
    start = -memory.ctypes.data % 64 + elements * item
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.fixture(scope="module")
def kernel(kernel_on_the_cpu: StripGateLibrary) -> Kernel:
    return Kernel(kernel_on_the_cpu)


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize(("x_type", "weights_type"), TYPES, ids=TYPE_NAMES)
@pytest.mark.parametrize("problem", GRID, ids=str)
def test_agrees_with_float64(
    kernel: Kernel, problem: Problem, x_type: Floats, weights_type: Floats, channels_last: bool
) -> None:
    """As planned for a GPU with clusters and for one without."""
    x, w1, w2 = inputs(problem, x_type, weights_type)
    for device in (HOPPER, ORIN):
        plan = kernel.plan(x, w1, device) if len(x) else Plan(FUSED, 64, 1, 1, 1, 256)
        assert_agrees(kernel.run(plan, x, w1, w2, channels_last), (x, w1, w2))


@pytest.mark.parametrize("threads", [32, 256])
@pytest.mark.parametrize("tiles_at_once", [1, 3])
@pytest.mark.parametrize("tile_images", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("method", "slice_channels", "slices"),
    [(FUSED, 200, 1), (FUSED, 104, 2), (FUSED, 32, 7), (TWO_KERNELS, 200, 1), (TWO_KERNELS, 64, 4)],
)
def test_every_plan_gives_the_same(
    kernel: Kernel, method: int, slice_channels: int, slices: int, tile_images: int, tiles_at_once: int, threads: int
) -> None:
    """A last tile with one image, more turns than one, and a last slice that is shorter."""
    x, w1, w2 = inputs(Problem(tile_images * 3 + 1, 200, 4, 4, 2, 20), np.float16)
    plan = Plan(method, slice_channels, slices, tile_images, tiles_at_once, threads)

    y = kernel.run(plan, x, w1, w2)

    assert_agrees(y, (x, w1, w2))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_sizes_at_random(kernel: Kernel, data: st.DataObject) -> None:
    def some(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    strips, channels = some(1, 4), some(1, 140)
    problem = Problem(some(0, 9), channels, strips * some(1, 5), some(1, 9), strips, some(1, 40))
    x_type, weights_type = data.draw(st.sampled_from(TYPES))
    x, w1, w2 = (offset_copy(array, some(0, 1)) for array in inputs(problem, x_type, weights_type))
    slice_channels = 8 * some(max(1, -(-channels // 64)), 18)
    slices = -(-channels // slice_channels)
    plan = Plan(some(0, 1), slice_channels, slices, 2 ** some(0, 2), some(1, 3), 32 * some(1, 3))
    pixel_stride = channels + data.draw(st.sampled_from([0, 3, -channels % 8, 8]))

    y = kernel.run(plan, x, w1, w2, data.draw(st.booleans()), pixel_stride)

    assert_agrees(y, (x, w1, w2))


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float", "half"])
def test_addresses_that_forbid_wide_loads_give_the_same(kernel: Kernel, dtype: Floats, channels_last: bool) -> None:
    aligned = inputs(Problem(2, 128, 8, 4, 4, 16), dtype)
    shifted = [offset_copy(array, 1) for array in aligned]
    plan = kernel.plan(aligned[0], aligned[1], HOPPER)

    y = kernel.run(plan, *shifted, channels_last=channels_last)

    assert_agrees(y, aligned)


@pytest.mark.parametrize(("channels", "pixel_stride"), [(10, 16), (64, 72), (64, 67)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float", "half"])
def test_what_pads_a_pixel_is_not_read(kernel: Kernel, dtype: Floats, channels: int, pixel_stride: int) -> None:
    x, w1, w2 = inputs(Problem(3, channels, 8, 4, 4, 16), dtype)

    y = kernel.run(kernel.plan(x, w1, HOPPER), x, w1, w2, channels_last=True, pixel_stride=pixel_stride)

    assert_agrees(y, (x, w1, w2))


def test_sums_do_not_overflow_in_half(kernel: Kernel) -> None:
    """The sum over a strip, and the squeezed values, are far above half's 65,504; the result is not."""
    x = np.full((1, 64, 16, 8), 3e4, np.float16)
    w1 = np.full((2, 8, 64), 1.0, np.float16)
    w2 = np.full((2, 64, 8), 1e-3, np.float16)

    y = kernel.run(kernel.plan(x, w1, HOPPER), x, w1, w2)

    np.testing.assert_allclose(y, np.full((1, 64), 3e4), rtol=1e-3)


@pytest.mark.parametrize("device", [HOPPER, ORIN], ids=["cluster", "two kernels"])
def test_a_nan_in_the_input_is_not_hidden_by_the_rectifier(kernel: Kernel, device: Device) -> None:
    x, w1, w2 = inputs(Problem(2, 512, 4, 4, 2, 4), np.float32)
    x[1, 3, 0, 0] = np.nan

    y = kernel.run(kernel.plan(x, w1, device), x, w1, w2)

    assert np.isfinite(y[0]).all()
    assert np.isnan(y[1]).all()


BATCHES = (1, 2, 3, 8, 31, 32, 64, 128, 512, 4096)


def shapes() -> list[Shape]:
    sizes = [(2048, 8, 4, 4, 16), (2048, 16, 8, 4, 16), (2048, 8, 4, 8, 64), (512, 8, 4, 4, 16), (8, 8, 4, 4, 16)]
    sizes += [
        (513, 8, 7, 1, 64),
        (256, 8, 4, 4, 16),
        (65536, 8, 4, 8, 64),
        (2048, 512, 4, 512, 16),
        (10, 6, 5, 3, 3072),
    ]
    return [Shape(batch, *size, False, size[0]) for batch in BATCHES for size in sizes]


@pytest.mark.parametrize("types", [Types(0, 0), Types(1, 1), Types(1, 0)], ids=str)
@pytest.mark.parametrize("device", [HOPPER, AMPERE, ORIN, PART_OF_HOPPER, Device(1, 1), Device(20, 8)], ids=str)
def test_plans_can_be_launched_in_the_declared_workspace(kernel: Kernel, device: Device, types: Types) -> None:
    for shape in shapes():
        plan = kernel.library.plan(shape, types, device)
        assert kernel.library.plan_refusal(shape, plan, device) is None, (shape, plan)
        assert plan.tile_images < 2 * shape.images, (shape, plan)  # no work for images that are not there
        declared = kernel.library.workspace_bytes(shape, types)
        assert kernel.library.plan_workspace_bytes(shape, plan) <= declared, (shape, plan)


def test_the_workspace_grows_with_the_batch(kernel: Kernel) -> None:
    size = (2048, 8, 4, 4, 16, False, 2048)
    needed = [kernel.library.workspace_bytes(Shape(batch, *size), Types(1, 1)) for batch in range(0, 600, 7)]
    assert needed == sorted(needed)


@pytest.mark.parametrize("weights", [0, 1], ids=["float", "half"])
def test_one_image_is_spread_over_the_gpu(kernel: Kernel, weights: int) -> None:
    shape = Shape(1, 2048, 8, 4, 4, 16, False, 2048)
    assert kernel.library.plan(shape, Types(weights, weights), HOPPER).slices == 8
    assert kernel.library.plan(shape, Types(weights, weights), AMPERE).slices >= 8


@pytest.mark.parametrize("device", [HOPPER, ORIN], ids=str)
def test_a_gate_too_large_for_a_cluster_takes_two_kernels(kernel: Kernel, device: Device) -> None:
    x, w1, w2 = inputs(LARGE_GATE, np.float16)
    plan = kernel.plan(x, w1, device)

    assert plan.method == TWO_KERNELS
    assert plan.slices > 1
    assert_agrees(kernel.run(plan, x, w1, w2), (x, w1, w2))


@pytest.mark.parametrize("device", [HOPPER, AMPERE], ids=["cluster", "two kernels"])
@pytest.mark.parametrize("height", [8, 16])
@pytest.mark.parametrize("types", [Types(0, 0), Types(1, 1)], ids=["float", "half"])
def test_many_images_share_the_weights_they_read(kernel: Kernel, types: Types, height: int, device: Device) -> None:
    """Half of the bytes of X, and every multiprocessor has work."""
    shape = Shape(512, 2048, height, height // 2, 4, 16, False, 2048)
    plan = kernel.library.plan(shape, types, device)
    weight_elements = 2 * 4 * 16 * 2048
    assert weight_elements <= plan.tile_images * 2048 * height * (height // 2) / 2
    assert plan.slices * plan.tiles_at_once >= device.multiprocessors


@pytest.mark.parametrize(
    ("strips", "reduction", "refused"),
    [(4, 16, False), (1, 12288, False), (768, 1, False), (769, 1, True), (4, 3073, True)],
)
def test_sums_that_no_block_can_hold_are_refused(kernel: Kernel, strips: int, reduction: int, refused: bool) -> None:
    reason = kernel.library.refusal(Shape(1, 64, strips, 4, strips, reduction, False, 64))
    assert (reason is not None) == refused
    assert reason is None or "K * max(R, 16) is above 12,288" in reason


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan(FUSED, 256, 8, 1, 1, 256), None),
        (Plan(FUSED, 128, 16, 1, 1, 256), "not one cluster"),
        (Plan(TWO_KERNELS, 128, 8, 1, 1, 256), "whole groups of 8"),
        (Plan(TWO_KERNELS, 100, 21, 1, 1, 256), "whole groups of 8"),
        (Plan(FUSED, 256, 8, 3, 1, 256), "1, 2, 4 or 8 images"),
        (Plan(FUSED, 256, 8, 1, 0, 256), "65,535"),
        (Plan(FUSED, 256, 8, 1, 1, 48), "whole warps"),
        (Plan(FUSED, 256, 8, 1, 1, 512), "whole warps"),
        (Plan(TWO_KERNELS, 2048, 1, 2, 1, 256), "48 KB"),
    ],
)
def test_plans_that_cannot_be_launched_are_refused(kernel: Kernel, plan: Plan, reason: str | None) -> None:
    given_reason = kernel.library.plan_refusal(Shape(4, 2048, 8, 4, 4, 16, False, 2048), plan, HOPPER)
    assert given_reason is None if reason is None else reason in (given_reason or "")


@pytest.mark.parametrize("device", [ORIN, PART_OF_HOPPER, Device(16, 7)], ids=str)
def test_a_cluster_is_refused_where_none_is_as_large(kernel: Kernel, device: Device) -> None:
    shape, plan = Shape(1, 2048, 8, 4, 4, 16, False, 2048), Plan(FUSED, 256, 8, 1, 1, 256)
    assert "not one cluster" in (kernel.library.plan_refusal(shape, plan, device) or "")


@pytest.mark.parametrize(("channels", "slices"), [(64, 1), (128, 2), (256, 4), (512, 8), (2048, 8)])
@pytest.mark.parametrize("largest_cluster", [1, 2, 4, 7, 8])
def test_a_cluster_is_planned_where_the_gpu_takes_one_as_large(
    kernel: Kernel, channels: int, slices: int, largest_cluster: int
) -> None:
    shape, types = Shape(4, channels, 8, 4, 4, 16, False, channels), Types(1, 1)
    plan = kernel.library.plan(shape, types, Device(16, largest_cluster))

    if slices <= largest_cluster:
        assert (plan.method, plan.slices) == (FUSED, slices)
    elif channels <= 256:  # in one block
        assert (plan.method, plan.slices) == (FUSED, 1)
    else:
        assert plan.method == TWO_KERNELS
