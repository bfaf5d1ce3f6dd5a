"""What an export was held against, and what came out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.precision import FP16_MAX
from runtime.errors import CheckFailedError

from .checks import Activation, BatchCheck

FP32_TOLERANCE = 1e-5
FP16_MIN_COSINE = 0.999
# Through random weights rounding grows further than through trained ones.
FP16_MIN_COSINE_UNTRAINED = 0.99


@dataclass(frozen=True)
class ExportReport:
    """Files that passed their checks, and by how much.

    Attributes:
        fp32: the fp32 file.
        fp16: the fp16 file; None where none was asked for.
        images: what the checks ran on, e.g. "32 images of random noise".
        fp32_checks: against torch, one for each batch.
        fp16_checks: likewise; empty where there is no fp16 file.
        min_cosine: what the cosines of the fp16 file were held against.
        activation: the largest that fp16 has to hold, seen on these images in fp32.
    """

    fp32: Path
    fp16: Path | None
    images: str
    fp32_checks: tuple[BatchCheck, ...]
    fp16_checks: tuple[BatchCheck, ...]
    min_cosine: float
    activation: Activation

    def __str__(self) -> str:
        lines = [f"{self.fp32}: largest difference to torch {_each(self.fp32_checks, 'max_difference', '.1e')}"]
        if self.fp16 is not None:
            lines.append(f"{self.fp16}: smallest cosine to torch {_each(self.fp16_checks, 'min_cosine', '.7f')}")
            lines.append("  (on a CPU: this shows what rounding does, not what half arithmetic on a GPU does)")
        lines.append(
            f"largest activation: {self.activation.value:,.1f} at {self.activation.node}; fp16 ends at {FP16_MAX:,.0f}"
        )
        lines.append(f"checked on {self.images}")
        return "\n".join(lines)


def check_fp32(checks: Sequence[BatchCheck]) -> None:
    """Refuse an fp32 file that differs from torch by more than 1e-5 in any element of an L2-normalised embedding.

    Raises:
        CheckFailedError: it does, or an element is not finite.
    """
    worst = float(np.max([check.max_difference for check in checks]))
    if not worst <= FP32_TOLERANCE:  # so that NaN fails
        raise CheckFailedError(
            f"the fp32 graph and torch differ by {worst:.2e} ({_each(checks, 'max_difference', '.1e')}); expected at "
            f"most {FP32_TOLERANCE:g}; nothing was written: either the network amplifies rounding (train it longer, or "
            "at a smaller learning rate), or this backbone is exported wrongly (report it)"
        )


def check_fp16(checks: Sequence[BatchCheck], min_cosine: float, activation: Activation) -> None:
    """Refuse an fp16 file that overflows or whose embeddings turned away from torch's.

    Args:
        checks: of the fp16 file against torch in fp32.
        min_cosine: the smallest that is allowed.
        activation: the largest of the fp32 graph.

    Raises:
        CheckFailedError: an activation is beyond fp16's largest number, or a cosine is too small or not finite.
    """
    if not activation.value <= FP16_MAX:
        raise CheckFailedError(
            f"{activation.node} puts out {activation.value:,.0f} and fp16 ends at {FP16_MAX:,.0f}; nothing was "
            "written: export without fp16 (--no-fp16)"
        )
    worst = float(np.min([check.min_cosine for check in checks]))
    if not worst >= min_cosine:
        raise CheckFailedError(
            f"fp16 embeddings have a cosine of {worst:.7f} to torch's ({_each(checks, 'min_cosine', '.7f')}); expected "
            f"at least {min_cosine:g}; nothing was written: export without fp16 (--no-fp16)"
        )


def _each(checks: Sequence[BatchCheck], name: str, form: str) -> str:
    return ", ".join(f"{getattr(check, name):{form}} at batch {check.batch}" for check in checks)
