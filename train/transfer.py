"""Images from NumPy to torch's device and embeddings back."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Transfer:
    """Copies through page-locked memory where the device is a GPU: without a detour, and without waiting."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._staging: dict[str, Tensor] = {}

    def upload(self, images: NDArray[np.uint8]) -> Tensor:
        """`images` on the device; on a GPU the copy is queued, and the next upload must wait for it."""
        source = torch.from_numpy(images)
        if self._device.type == "cpu":
            return source
        staging = self._page_locked("images", source)
        staging.copy_(source)
        return staging.to(self._device, non_blocking=True)

    def download(self, embeddings: Tensor) -> NDArray[np.float32]:
        """`embeddings` as an array of the caller's own, once everything queued is done."""
        if self._device.type == "cpu":
            return np.asarray(embeddings.numpy(), np.float32)
        staging = self._page_locked("embeddings", embeddings)
        staging.copy_(embeddings, non_blocking=True)
        torch.cuda.synchronize(self._device)
        return np.array(staging.numpy(), np.float32)

    def _page_locked(self, name: str, like: Tensor) -> Tensor:
        """Memory of the size and type of `like`; kept, for page-locking takes longer than a copy."""
        if name not in self._staging or len(self._staging[name]) < len(like):
            self._staging[name] = torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
        return self._staging[name][: len(like)]
