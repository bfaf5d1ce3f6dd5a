"""The network with the softmax head that only training needs."""

from torch import Tensor, nn

from .model import LgeuNet, batch_norm_neck
from .recipe import TrainingNeck


class LgeuClassifier(nn.Module):
    """Images to a logit for each identity, and to the pooled descriptors that the triplet loss compares."""

    def __init__(self, net: LgeuNet, identities: int, neck: TrainingNeck) -> None:
        """Put a linear head with small weights on the network's descriptor.

        Behind a neck it has no bias, as in BNNeck, so that all its boundaries meet at the origin. The neck "training"
        is a part of the head, "bn" of the network.
        """
        super().__init__()
        self.net = net
        linear = nn.Linear(net.manifest.embedding_size, identities, bias=neck == "none")
        nn.init.normal_(linear.weight, std=0.001)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
        self.head: nn.Module = linear
        if neck == "training":
            self.head = nn.Sequential(batch_norm_neck(net.manifest.embedding_size), linear)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8 RGB to logits (N, identities) and pooled descriptors (N, D), before the neck."""
        pooled = self.net.pooled(images)
        return self.head(self.net.neck(pooled)), pooled
