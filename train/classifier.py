"""The network with the softmax head that only training needs."""

from torch import Tensor, nn

from .model import LgeuNet


class LgeuClassifier(nn.Module):
    """Images to a logit for each identity, and to the pooled descriptors that the triplet loss compares."""

    def __init__(self, net: LgeuNet, identities: int) -> None:
        """Put a linear head with small weights on the network's descriptor.

        Behind a neck it has no bias, as in BNNeck, so that all its boundaries meet at the origin.
        """
        super().__init__()
        self.net = net
        self.head = nn.Linear(net.manifest.embedding_size, identities, bias=net.manifest.neck == "none")
        nn.init.normal_(self.head.weight, std=0.001)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8 RGB to logits (N, identities) and pooled descriptors (N, D), before the neck."""
        pooled = self.net.pooled(images)
        return self.head(self.net.neck(pooled)), pooled
