"""StripGate in torch: in float64, to hold results against, and as one would write it, to hold times against."""

from collections.abc import Callable

import torch
from strip_gate_cases import CHANNELS, REDUCTION, STRIPS, Case
from torch import Tensor
from torch.nn.functional import relu

Gate = Callable[[Tensor, Tensor, Tensor], Tensor]


def make_inputs(case: Case, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """X, W1 and W2 on the GPU, X in the layout of the case; Y is around 1."""
    generator = torch.Generator("cuda").manual_seed(seed)
    dtype = torch.half if case.half else torch.float

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device="cuda", dtype=dtype)

    pixels = (case.batch, case.height, case.width, CHANNELS)
    maps = (case.batch, CHANNELS, case.height, case.width)
    x = normal(*(pixels if case.channels_last else maps))
    x += normal(CHANNELS) if case.channels_last else normal(CHANNELS, 1, 1)
    w1 = normal(STRIPS, REDUCTION, CHANNELS) * (4 / CHANNELS**0.5)
    return x, w1, normal(STRIPS, CHANNELS, REDUCTION)


def strip_means(x: Tensor, channels_last: bool) -> Tensor:
    """K x N x C."""
    if channels_last:
        n, h, w, c = x.shape
        return x.view(n, STRIPS, h // STRIPS * w, c).mean(2).transpose(0, 1)
    n, c, h, w = x.shape
    return x.view(n, c, STRIPS, h // STRIPS * w).mean(3).permute(2, 0, 1)


def in_float64(x: Tensor, w1: Tensor, w2: Tensor, channels_last: bool) -> Tensor:
    """The paper's equations (1) to (4): N x C."""
    means = strip_means(x.double(), channels_last)
    gates = torch.sigmoid(relu(means @ w1.double().mT) @ w2.double().mT)
    return (gates * means).mean(0)


def as_matrix_products(channels_last: bool) -> Gate:
    """Batched over the strips."""

    def gate(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
        means = strip_means(x, channels_last)
        squeezed = relu(torch.bmm(means, w1.mT))
        return (torch.sigmoid(torch.bmm(squeezed, w2.mT)) * means).mean(0)

    return gate


def as_einsum(channels_last: bool) -> Gate:
    """Named by their indices."""

    def gate(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
        means = strip_means(x, channels_last)
        squeezed = relu(torch.einsum("knc,krc->knr", means, w1))
        return (torch.sigmoid(torch.einsum("knr,kcr->knc", squeezed, w2)) * means).mean(0)

    return gate


def as_sums(channels_last: bool) -> Gate:
    """Products and sums element by element, which a compiler can fuse with what is around them."""

    def gate(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
        means = strip_means(x, channels_last)
        squeezed = relu((means[:, :, None] * w1[:, None]).sum(-1))
        logits = (squeezed[:, :, None] * w2[:, None]).sum(-1)
        return (torch.sigmoid(logits) * means).mean(0)

    return gate


def contenders(channels_last: bool) -> dict[str, Gate]:
    """By the name they have in the results."""
    # Every shape is compiled for itself, as one would for a fixed batch.
    torch.compiler.reset()
    return {
        "eager, matrix products": as_matrix_products(channels_last),
        "eager, einsum": as_einsum(channels_last),
        "compiled, matrix products": torch.compile(as_matrix_products(channels_last), dynamic=False),
        "compiled, sums": torch.compile(as_sums(channels_last), dynamic=False),
    }
