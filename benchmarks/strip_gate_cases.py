"""What `strip_gate.py` measures: sizes, the bytes that they move, and how many copies keep them out of the cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from strip_gate_library import FLOAT, HALF, Shape, Types

CHANNELS, STRIPS, REDUCTION = 2048, 4, 16
BATCHES = (1, 8, 32, 128, 512)
# Rows and columns of X at 256 x 128: of the usual backbone, and with last stride 1.
MAPS = ((8, 4), (16, 8))

# No cache holds this much, and what was not used for as long is read from memory again.
_ROTATED_BYTES = 100e6 * 1.25
# A graph of fewer launches would be over before the next can be started.
_LEAST_LAUNCHES = 20


@dataclass(frozen=True)
class Case:
    """One problem.

    Attributes:
        batch: images.
        half: X, W1, W2 and Y are half, else float.
        channels_last: X is (N, H, W, C), else (N, C, H, W).
        height: rows of X.
        width: columns of X.
    """

    batch: int
    half: bool
    channels_last: bool
    height: int
    width: int

    @property
    def name(self) -> str:
        """What it is called in the results, e.g. "half nchw 8x4 batch 32"."""
        kind, layout = "half" if self.half else "float", "nhwc" if self.channels_last else "nchw"
        return f"{kind} {layout} {self.height}x{self.width} batch {self.batch}"

    @property
    def shape(self) -> Shape:
        """For the kernel."""
        return Shape(self.batch, CHANNELS, self.height, self.width, STRIPS, REDUCTION, self.channels_last, CHANNELS)

    @property
    def types(self) -> Types:
        """For the kernel."""
        return Types(*(2 * [HALF if self.half else FLOAT]))

    @property
    def moved_bytes(self) -> int:
        """X, W1, W2 and Y, each once."""
        weights = 2 * STRIPS * REDUCTION * CHANNELS
        values = self.batch * CHANNELS * (self.height * self.width + 1) + weights
        return values * (2 if self.half else 4)

    @property
    def sets(self) -> int:
        """Copies of everything, used in turn."""
        return max(2, -int(-_ROTATED_BYTES // self.moved_bytes))

    @property
    def launches(self) -> int:
        """Of one graph: every set equally often."""
        return self.sets * -(-_LEAST_LAUNCHES // self.sets)


def all_cases() -> list[Case]:
    """In the order they are measured in: what the network of the paper has comes first."""
    return [
        Case(batch, half, channels_last, height, width)
        for (height, width), half, channels_last, batch in product(MAPS, (True, False), (False, True), BATCHES)
    ]


def chosen(words: Sequence[str]) -> list[Case]:
    """The cases whose names have all the words; a number alone is a batch."""
    wanted = [f"batch {word}" if word.isdigit() else word for word in words]
    return [case for case in all_cases() if all(f" {word} " in f" {case.name} " for word in wanted)]
