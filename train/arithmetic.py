"""In which number format the network computes while it trains."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from runtime.errors import InputError

from .recipe import TrainingPrecision

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Arithmetic:
    """A number format on a device; weights and losses stay float32 whatever it is.

    Attributes:
        device: where.
        dtype: of convolutions and products.
    """

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, precision: TrainingPrecision, device: torch.device) -> "Arithmetic":
        """What a recipe's `precision` is on a device.

        Raises:
            InputError: the device cannot compute in it.
        """
        has_bfloat16 = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "auto":
            fast = "bf16" if has_bfloat16 else "fp16"
            return cls(device, _TYPES["fp32" if device.type == "cpu" else fast])
        if precision == "fp16" and device.type == "cpu":
            raise InputError("precision 'fp16' needs a GPU; on a CPU set precision to 'fp32' or 'bf16'")
        if precision == "bf16" and not has_bfloat16:
            raise InputError(f"{torch.cuda.get_device_name(device)} has no bfloat16; set precision to 'fp16' or 'fp32'")
        return cls(device, _TYPES[precision])

    def __str__(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def autocast(self) -> AbstractContextManager[None]:
        """While the block runs, convolutions and products are in this format."""
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)

    def without_tf32(self) -> AbstractContextManager[None]:
        """While the block runs, float32 is multiplied as float32, on the way back, too; for a block of whole steps."""
        return full_float32() if self.dtype == torch.float32 else nullcontext()

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps float16's gradients above 0; does nothing in the other formats."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


@contextmanager
def full_float32() -> Iterator[None]:
    """While the block runs, multiply float32 as float32: on recent GPUs torch convolves in TF32, with 10 bits of 23."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    # Setting what is set already changes what torch.compile guards on, and compiled functions were compiled again.
    if products != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        if products != "highest":
            torch.set_float32_matmul_precision(products)
