"""The running average of the weights, which generalises better than where the last step left them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .model import LgeuNet


def running_average(net: LgeuNet, decay: float) -> AveragedModel:
    """An exponential moving average of a network's weights and of batch norm's statistics.

    Args:
        net: what is trained; `update_parameters(net)` after every step. The first one copies.
        decay: share of the average that a step leaves, in 0..1; it spans about 1 / (1 - decay) steps.
    """
    average_floats = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def average(averaged: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            average_floats(averaged, current, steps)
        else:  # batch norm's counters: an average rounded down would never move
            torch._foreach_copy_(list(averaged), list(current))

    return AveragedModel(net, multi_avg_fn=average, use_buffers=True).requires_grad_(False)
