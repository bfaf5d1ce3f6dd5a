import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from runtime.errors import InputError
from train.gate import MeanPool, StripGate

Array = NDArray[np.float64]


def strip_by_loops(x: Array, w1: Array, w2: Array) -> Array:
    """Equations (1)-(3) for one image's strip (C, h, w), one number at a time: the re-weighted strip."""
    c, h, w = x.shape
    r, _ = w1.shape
    local = [sum(x[channel, i, j] for i in range(h) for j in range(w)) / (h * w) for channel in range(c)]  # (1)
    squeezed = [max(0.0, sum(w1[unit, channel] * local[channel] for channel in range(c))) for unit in range(r)]  # (2)
    weighted = np.empty((c, h, w))
    for channel in range(c):
        gate = 1 / (1 + np.exp(-sum(w2[channel, unit] * squeezed[unit] for unit in range(r))))  # (2)
        for i in range(h):
            for j in range(w):
                weighted[channel, i, j] = gate * x[channel, i, j]  # (3)
    return weighted


def lgeu_by_loops(x: Array, w1: Array, w2: Array) -> Array:
    """Equations (1)-(4), the re-weighted map written out in full."""
    n, c, h, w = x.shape
    k = len(w1)
    rows = h // k
    y = np.zeros((n, c))
    for image in range(n):
        strips = [strip_by_loops(x[image, :, s * rows : (s + 1) * rows], w1[s], w2[s]) for s in range(k)]
        for channel in range(c):
            y[image, channel] = sum(strip[channel, i, j] for strip in strips for i in range(rows) for j in range(w))
    return y / (h * w)  # (4)


@pytest.mark.parametrize(
    ("strips", "reduction", "channels", "height", "width"),
    [
        (1, 1, 1, 1, 1),
        (1, 4, 6, 5, 3),
        (2, 3, 5, 4, 2),
        (3, 2, 8, 6, 1),
        (4, 16, 12, 8, 4),
        (4, 5, 7, 4, 2),
        (6, 2, 3, 12, 2),
    ],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_gate_is_the_equations(
    strips: int, reduction: int, channels: int, height: int, width: int, channels_last: bool
) -> None:
    torch.manual_seed(strips * 100 + channels)
    gate = StripGate(channels, strips, reduction)
    x = torch.randn(3, channels, height, width)
    given = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    expected = lgeu_by_loops(*(tensor.detach().double().numpy() for tensor in (x, gate.w1, gate.w2)))
    result = gate(given)
    assert result.shape == (3, channels)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=0, atol=1e-6)


def test_one_strip_is_a_squeeze_and_excitation_unit() -> None:
    torch.manual_seed(0)
    gate = StripGate(12, 1, 3)
    x = torch.randn(5, 12, 6, 4)
    unit = nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(12, 3, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(3, 12, 1, bias=False),
        nn.Sigmoid(),
    )
    unit[1].weight.data = gate.w1.data[0, :, :, None, None]
    unit[3].weight.data = gate.w2.data[0, :, :, None, None]
    expected = nn.functional.adaptive_avg_pool2d(x * unit(x), 1).flatten(1)
    torch.testing.assert_close(gate(x), expected, rtol=0, atol=1e-6)


def test_a_strip_does_not_see_the_others() -> None:
    """What the gate does to the upper strip is the same whatever the lower one shows."""
    gate = StripGate(4, 2, 3)
    upper = torch.randn(1, 4, 2, 3)
    empty, other = torch.zeros(1, 4, 2, 3), torch.randn(1, 4, 2, 3)
    alone = gate(torch.cat([upper, empty], 2))
    both = gate(torch.cat([upper, other], 2))
    torch.testing.assert_close(both - alone, gate(torch.cat([empty, other], 2)))


def test_every_weight_gets_a_gradient() -> None:
    torch.manual_seed(0)
    gate = StripGate(8, 4, 6)
    gate(torch.rand(16, 8, 8, 2)).square().sum().backward()
    assert gate.w1.grad is not None
    assert gate.w2.grad is not None
    assert (gate.w1.grad.abs().sum((1, 2)) > 0).all()
    assert (gate.w2.grad.abs().sum((1, 2)) > 0).all()


def test_half_precision_input_is_pooled_in_float32() -> None:
    """In half precision the sum over 4,096 pixels of 100 would be infinite."""
    x = torch.full((1, 2, 64, 64), 100.0, dtype=torch.float16)
    assert MeanPool()(x).tolist() == [[100.0, 100.0]]
    gate = StripGate(2, 4, 2)
    nn.init.zeros_(gate.w2)
    assert gate(x).tolist() == [[50.0, 50.0]]


@pytest.mark.parametrize("strips", [1, 4])
def test_autocast_does_not_reach_the_gate(strips: int) -> None:
    torch.manual_seed(0)
    gate = StripGate(64, strips, 8)
    x = torch.randn(3, 64, 8, 4).bfloat16()
    expected = lgeu_by_loops(*(tensor.detach().double().numpy() for tensor in (x, gate.w1, gate.w2)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = gate(x)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=0, atol=1e-6)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="strips is 0"):
        StripGate(8, 0, 4)
    with pytest.raises(InputError, match="reduction is 0"):
        StripGate(8, 4, 0)
    with pytest.raises(InputError, match="6 rows high does not divide into 4"):
        StripGate(8, 4, 2)(torch.zeros(1, 8, 6, 2))
