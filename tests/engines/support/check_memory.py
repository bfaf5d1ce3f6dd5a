"""A reduced grid through the harness, for compute-sanitizer to watch: every kernel, layout and pair of types once.

compute-sanitizer --tool memcheck python tests/engines/support/check_memory.py HARNESS PLUGIN

HARNESS is what `compile_for_gpu` makes, PLUGIN is libstrip_gate.so. Memory has no guards, because the sanitizer knows
where an allocation ends, and nothing is filled in beforehand, because it knows what was never written.
"""

import sys
from pathlib import Path

from kernel_cases import LARGE_GATE, TYPES, Problem, assert_agrees, layouts_of, make_inputs
from plugin_harness import Harness

PROBLEMS = [
    Problem(1, 2048, 8, 4, 4, 16),  # one image, many slices of channels
    Problem(9, 256, 8, 4, 4, 16),  # one image more than a tile
    Problem(3, 10, 6, 5, 3, 3),  # nothing is a multiple of 8
    Problem(2, 520, 16, 8, 8, 64),  # the most weights
    LARGE_GATE,
]


def main(harness: Path, plugin: Path) -> None:
    """Run each case once, and hold its result against float64."""
    driver = Harness(harness, plugin)
    if driver.device is None:
        sys.exit("check_memory: error: there is no usable NVIDIA GPU here")
    cases = [(problem, types, layout) for problem in PROBLEMS for types in TYPES for layout in layouts_of(types[0])]
    for problem, types, layout in cases:
        inputs = make_inputs(problem, *types)
        with (
            driver.engine(problem, layout, *types) as engine,
            engine.context(*inputs[1:], guard=0, poisoned=False) as context,
        ):
            assert_agrees(context.run(inputs[0]), inputs)
    print(f"check_memory: {len(cases)} cases agree with float64 on {driver.device}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} HARNESS PLUGIN")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
