"""Loss and accuracy while training, fetched from the device now and then: every fetch makes a GPU wait."""

import math
from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import Tensor


class EpochMeter:
    """Sums of one epoch over all processes.

    Attributes:
        steps: that were fetched.
        images: that they had.
        diverged: the first step, counted from 0, whose loss is not finite, and that loss; None while all are.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.steps = 0
        self.images = 0
        self.diverged: tuple[int, float] | None = None
        self._accelerator = accelerator
        self._pending: list[Tensor] = []
        self._loss_sum = 0.0
        self._hits = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Take in this process's share of a step; nothing is fetched yet."""
        hits = (logits.argmax(1) == labels).sum()
        images = torch.full_like(hits, len(labels))
        self._pending.append(torch.stack([loss.detach().float(), hits.float(), images.float()]))

    def fetch(self) -> None:
        """Bring the sums up to date; to be called in all processes at the same step."""
        if not self._pending:
            return
        shares = torch.stack(self._pending).unsqueeze(0)
        self._pending = []
        # (steps, processes, 3)
        self._take_in(self._accelerator.gather(shares).transpose(0, 1).tolist())

    def _take_in(self, steps: Iterable[Iterable[tuple[float, float, float]]]) -> None:
        for shares in steps:
            for loss, hits, images in shares:
                if self.diverged is None and not math.isfinite(loss):
                    self.diverged = self.steps, loss
                self._loss_sum += loss * images
                self._hits += int(hits)
                self.images += int(images)
            self.steps += 1

    @property
    def loss(self) -> float:
        """Mean over the images."""
        return self._loss_sum / max(self.images, 1)

    @property
    def accuracy(self) -> float:
        """Share of the images classified rightly, in 0..1."""
        return self._hits / max(self.images, 1)
