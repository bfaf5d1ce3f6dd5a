"""The network as it is exported: StripGate as one operator, and the L2 norm behind the neck."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from engines.strip_gate import DOMAIN, OPERATOR, OPERATOR_VERSION
from train.gate import StripGate
from train.model import LgeuNet

# What torch.nn.functional.normalize, and with it the PyTorch embedder, keeps the length from falling below.
EPS = 1e-12


class ExportNet(nn.Module):
    """`LgeuNet` with what its files have and it has not."""

    def __init__(self, model: LgeuNet) -> None:
        """Take a copy of `model`, in evaluation mode."""
        super().__init__()
        self.net = copy.deepcopy(model)
        if isinstance(model.pool, StripGate):
            self.net.pool = StripGateOperator(model.pool)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embed images.

        Args:
            images: (N, H, W, 3) uint8, RGB.

        Returns:
            The embeddings, (N, D) float32, L2-normalised, and the pooled descriptor, from which the neck and the L2
            norm make them.
        """
        descriptor = self.net.pooled(images)
        embedding = self.net.neck(descriptor)
        # normalize() written out: it expands the divisor to N x D by the shape of `images`, which is uint8, and not
        # every parser takes that.
        length = embedding.norm(dim=1, keepdim=True).clamp_min(EPS)
        return embedding / length, descriptor


class StripGateOperator(nn.Module):
    """`train.gate.StripGate` as the operator that engines have a plugin for; for export only, it computes nothing."""

    def __init__(self, gate: StripGate) -> None:
        super().__init__()
        self.w1 = gate.w1
        self.w2 = gate.w2
        self.strips = gate.strips

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C)."""
        attributes: dict[str, Any] = {
            "num_strips": self.strips,
            "channels_last": 0,
            "plugin_namespace": DOMAIN,
            "plugin_version": str(OPERATOR_VERSION),
        }
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{OPERATOR}",
            (x, self.w1, self.w2),
            attributes,
            dtype=torch.float32,
            shape=(x.shape[0], x.shape[1]),
            version=OPERATOR_VERSION,
        )
