"""What the gates of a trained network do: their values, and where its feature map is strong before and after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from runtime.errors import InputError

from .gate import StripGate
from .model import LgeuNet

_BATCH = 32


@dataclass(frozen=True)
class GateResponses:
    """The gates of N images.

    Attributes:
        gates: (N, K, C) float32 in 0..1, what each strip's channels are multiplied by.
        energy: (N, h, w) float32, the length of the feature map's vector at each place.
        gated_energy: (N, h, w) float32, the same after the gates.
    """

    gates: NDArray[np.float32]
    energy: NDArray[np.float32]
    gated_energy: NDArray[np.float32]


@dataclass(frozen=True)
class GateStatistics:
    """How much the gates of some images differ.

    Attributes:
        images: N.
        strips: K.
        channels: C.
        mean: (K,) of each strip, over images and channels.
        between_strips: standard deviation of a channel's gate over the strips of one image, its mean over channels and
            images; 0 for one strip.
        between_images: standard deviation of a channel's gate over the images, its mean over channels and strips.
        correlation: (K, K) of the strips' gates over channels, averaged over images; NaN where those of a strip are
            equal.
    """

    images: int
    strips: int
    channels: int
    mean: NDArray[np.float64]
    between_strips: float
    between_images: float
    correlation: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON writes it; null for NaN."""
        return {
            "images": self.images,
            "strips": self.strips,
            "channels": self.channels,
            "mean": self.mean.tolist(),
            "between_strips": self.between_strips,
            "between_images": self.between_images,
            "correlation": [[None if np.isnan(value) else float(value) for value in row] for row in self.correlation],
        }


def require_gates(model: LgeuNet) -> StripGate:
    """The model's gates.

    Raises:
        InputError: it has none.
    """
    if not isinstance(model.pool, StripGate):
        raise InputError(
            f"the gate of this {model.manifest.backbone} is {model.manifest.gate!r}, so that there are no responses to "
            "look at; give a model with the gate 'strip' or 'se'"
        )
    return model.pool


def gate_responses(model: LgeuNet, images: Sequence[NDArray[np.uint8]]) -> GateResponses:
    """Run images through the network and look at its gates.

    Args:
        model: with gates; it is put into evaluation mode.
        images: N of (H, W, 3) uint8, RGB, at the size of the network's input; at least one.

    Raises:
        InputError: the model has no gates.
    """
    require_gates(model)
    model.eval()
    batches = [np.stack(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    parts = [_responses(model, torch.from_numpy(batch)) for batch in batches]
    return GateResponses(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def gate_statistics(gates: NDArray[np.float32]) -> GateStatistics:
    """Summarise the gates of N images, (N, K, C)."""
    values = gates.astype(np.float64)
    count, strips, channels = values.shape
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.mean([np.corrcoef(each).reshape(strips, strips) for each in values], axis=0)
    return GateStatistics(
        count,
        strips,
        channels,
        values.mean((0, 2)),
        float(values.std(1).mean()),
        float(values.std(0).mean()),
        correlation,
    )


@torch.inference_mode()
def _responses(model: LgeuNet, images: torch.Tensor) -> tuple[NDArray[np.float32], ...]:
    pool = require_gates(model)
    features = model.feature_map(images.to(model.mean.device)).float()
    gates = pool.gates(pool.strip_means(features))  # (N, C, K)
    rows = gates.repeat_interleave(features.shape[2] // pool.strips, dim=2)  # (N, C, h)
    energies = (features.norm(dim=1), (features * rows[..., None]).norm(dim=1))
    return tuple(each.cpu().numpy() for each in (gates.transpose(1, 2), *energies))
