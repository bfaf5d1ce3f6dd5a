"""The LGEU unit: every horizontal strip of the feature map gets its own channel attention."""

import math

import torch
from torch import Tensor, nn

from runtime.errors import InputError


class StripGate(nn.Module):
    """Equations (1)-(4) of the paper: K gates over K horizontal strips, then global average pooling.

    For strip k of X: (1) L_k is the strip's mean, (2) V_k = sigmoid(W2_k · relu(W1_k · L_k)), without biases,
    (3) the strip is multiplied by V_k channel by channel, (4) Y is the mean over the whole map. As V_k is constant
    inside its strip, (3) and (4) together are the mean over k of V_k * L_k, so X is read once.

    Attributes:
        w1: (K, R, C), squeezes the C channels of a strip to R.
        w2: (K, C, R), brings them back.
    """

    def __init__(self, channels: int, strips: int, reduction: int) -> None:
        """Make the gate with random weights.

        Args:
            channels: C, at least 1.
            strips: K, at least 1; 1 makes it a squeeze-and-excitation unit.
            reduction: R, the width of the bottleneck, at least 1.

        Raises:
            InputError: one of them is less than 1.
        """
        super().__init__()
        for name, value in (("channels", channels), ("strips", strips), ("reduction", reduction)):
            if value < 1:
                raise InputError(f"gate: {name} is {value}; expected at least 1")
        self.strips = strips
        self.w1 = nn.Parameter(torch.randn(strips, reduction, channels) * math.sqrt(2 / channels))
        self.w2 = nn.Parameter(torch.randn(strips, channels, reduction) / math.sqrt(reduction))

    def forward(self, x: Tensor) -> Tensor:
        """Pool a feature map.

        Args:
            x: (N, C, H, W) floating point, H a multiple of K.

        Returns:
            (N, C) float32.

        Raises:
            InputError: H is not a multiple of K.
        """
        # In float32 also where the backbone runs in half precision: the mean of many halves loses digits.
        with torch.autocast(x.device.type, enabled=False):
            local = self.strip_means(x)
            return (self.gates(local) * local).mean(2)

    def strip_means(self, x: Tensor) -> Tensor:
        """Equation (1): (N, C, H, W) to the mean of each strip, (N, C, K) float32; errors as `forward`."""
        if x.shape[2] % self.strips:
            raise InputError(f"a feature map {x.shape[2]} rows high does not divide into {self.strips} equal strips")
        n, c, h, w = x.shape
        return x.float().reshape(n, c, self.strips, h // self.strips, w).mean((3, 4))

    def gates(self, local: Tensor) -> Tensor:
        """Equation (2): means of strips, (N, C, K), to what their channels are multiplied by, likewise, in 0..1."""
        squeezed = torch.einsum("krc,nck->nkr", self.w1, local).relu()
        return torch.einsum("kcr,nkr->nck", self.w2, squeezed).sigmoid()


class MeanPool(nn.Module):
    """Plain global average pooling: the paper's baseline."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) floating point to (N, C) float32."""
        return x.float().mean((2, 3))
