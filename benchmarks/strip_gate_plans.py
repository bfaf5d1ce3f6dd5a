"""Other ways in which the kernel could go about a problem, for `strip_gate.py --sweep`."""

from itertools import product

from strip_gate_library import FUSED, TWO_KERNELS, Device, Plan, Shape, StripGateLibrary

_SLICES = ((FUSED, 1), (FUSED, 2), (FUSED, 4), (FUSED, 8), (TWO_KERNELS, 8), (TWO_KERNELS, 16), (TWO_KERNELS, 32))
_TILE_IMAGES = (1, 2, 4, 8)
_THREADS = (128, 256)
# Blocks of a grid for every multiprocessor.
_BLOCKS_EACH = (1, 2, 4)


def alternatives(library: StripGateLibrary, shape: Shape, device: Device) -> list[Plan]:
    """All that can be launched, each once."""
    plans: list[Plan] = []
    for (method, slices), tile_images, threads, blocks_each in product(_SLICES, _TILE_IMAGES, _THREADS, _BLOCKS_EACH):
        if tile_images > 1 and tile_images >= 2 * shape.images:
            continue
        channels = -(-shape.channels // slices // 8) * 8
        tiles = -(-shape.images // tile_images)
        together = max(1, blocks_each * device.multiprocessors // slices)
        turns = -(-tiles // together)
        plan = Plan(method, channels, -(-shape.channels // channels), tile_images, -(-tiles // turns), threads)
        if plan not in plans and library.plan_refusal(shape, plan, device) is None:
            plans.append(plan)
    return plans
