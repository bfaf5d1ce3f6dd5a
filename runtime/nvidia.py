"""Whether a GPU stands idle."""

import logging
from pathlib import Path

# Of the driver on a PC or server, and of a Jetson.
_DEVICES = (Path("/dev/nvidia0"), Path("/dev/nvhost-gpu"))

logger = logging.getLogger(__name__)


def warn_of_idle_gpu(model: Path, why: str) -> None:
    """Warn that `model` runs on the CPU where this machine has an NVIDIA GPU.

    Args:
        model: the file.
        why: the GPU is not used, and what to do.
    """
    if any(device.exists() for device in _DEVICES):
        logger.warning("warning: %s runs on the CPU, and this machine has an NVIDIA GPU: %s", model, why)
