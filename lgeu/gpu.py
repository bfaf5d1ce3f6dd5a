"""Evaluation on the GPU, for whoever asks for it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.dependencies import require
from runtime.errors import DeviceError


def open_gpu() -> None:
    """Find out that features can be compared on a GPU, before the work that ends with it.

    Raises:
        MissingDependencyError: torch is not installed.
        DeviceError: torch finds no GPU.
    """
    torch = _torch()
    if not torch.cuda.is_available():
        raise DeviceError(
            f"--search-on cuda was asked for, but torch {torch.__version__} finds no GPU; leave it out to search on "
            "the CPU"
        )


def features_to_gpu(features: NDArray[np.float32]) -> Any:
    """Copy features to the GPU, as a tensor.

    Raises:
        DeviceError: they do not fit there, or the GPU failed.
    """
    try:
        return _torch().from_numpy(features).to("cuda")
    except RuntimeError as error:  # out of memory is one, and so is everything that CUDA reports
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DeviceError(
            f"the GPU could not take features of {features.nbytes / 1e6:.0f} MB: {reason}; without --search-on cuda "
            "the CPU is used"
        ) from error


def _torch() -> Any:
    return require(
        "torch",
        purpose="--search-on cuda (without it the CPU is used)",
        install="pip install 'lgeu-reid[train]'",
    )
