"""What stands between the pooled descriptor and what is compared: nothing, a batch norm, or the descriptors' mean."""

from typing import cast

from torch import Tensor, nn

from runtime.manifest import Neck


def make_neck(neck: Neck, channels: int) -> nn.Module:
    """(N, channels) float32 to the same; "bn" and "centre" train alike, parameter for parameter.

    "bn" is BNNeck (Luo et al., "Bag of Tricks and a Strong Baseline", 2019). Without a shift the softmax's boundaries
    meet at the origin.
    """
    if neck == "none":
        return nn.Identity()
    norm = nn.BatchNorm1d(channels) if neck == "bn" else CentringNeck(channels)
    norm.bias.requires_grad_(False)
    return norm


class CentringNeck(nn.BatchNorm1d):
    """A batch norm while it trains; deployed it subtracts the mean that it has learnt, and neither divides nor scales.

    Pooled descriptors lie on one side of the origin, so that even strangers have a high cosine. Dividing by standard
    deviations would give channels that hardly vary the weight of those that tell people apart.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels) to (N, channels)."""
        if self.training:
            return super().forward(x)
        return x - cast("Tensor", self.running_mean)
