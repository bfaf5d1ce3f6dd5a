"""The running average of the weights, which generalises better than where the last step left them."""

from timm.utils.model_ema import ModelEmaV3

from .model import LgeuNet


def running_average(net: LgeuNet, decay: float) -> ModelEmaV3:
    """An exponential moving average of a network's weights and of batch norm's statistics, in its `module`.

    The first step copies, and step n leaves (n - 1) / (n + 9) of the average, up to `decay`: a run of few steps would
    otherwise end near where it began.

    Args:
        net: what is trained; `update(net, step)` after every step, counted from 1 over all epochs.
        decay: share of the average that a later step leaves, in 0..1; it spans about 1 / (1 - decay) steps.
    """
    average = ModelEmaV3(net, decay=decay, use_warmup=True, warmup_gamma=10.0, warmup_power=1.0)
    return average.requires_grad_(False)
