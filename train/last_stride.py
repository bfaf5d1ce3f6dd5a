"""The backbone without its last halving ("last stride 1"): a feature map of twice the rows and columns.

Nothing is dilated and no weight changes, so that the state dict is the backbone's own, as published.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from runtime.errors import InputError

Size = tuple[int, int]


@dataclass(frozen=True)
class _StridedLayer:
    """A layer with a stride, as a pass over one image found it.

    Attributes:
        name: in the backbone, e.g. "layer4.0.conv2".
        module: the layer.
        before: rows and columns of what it read.
        after: rows and columns of what it gave.
    """

    name: str
    module: Any
    before: Size
    after: Size


def undo_last_halving(backbone: nn.Module, name: str, height: int, width: int) -> None:
    """Let the layers that halve a backbone's map for the last time keep its size.

    Convolutions get stride 1. Poolings and blurs, which are there for the halving alone (in the shortcuts of ResNet-D,
    between the stages of a DenseNet), are left out, as timm leaves them out of blocks of stride 1.

    Args:
        backbone: timm's model without pooling and classifier, which gives a map (N, C, h, w); changed in place.
        name: timm's name of it.
        height: input rows in pixels.
        width: input columns in pixels.

    Raises:
        InputError: the map's size does not come from a halving that can be left out.
    """
    layers, last = _strided_layers(backbone, height, width)
    halving = [layer for layer in layers if layer.after == last and layer.before != last]
    _check(halving, name, last)
    for layer in halving:
        if list(layer.module.parameters()):
            layer.module.stride = (1, 1)
        else:
            backbone.set_submodule(layer.name, nn.Identity())
    names = ", ".join(layer.name for layer in halving)
    try:
        _, size = _strided_layers(backbone, height, width)
    except Exception as error:  # hundreds of architectures fail each in its own way where maps no longer fit
        reason = " ".join(str(error).split())
        raise InputError(_refusal(name, f"it does not run with stride 1 in {names} ({reason})")) from error
    if size != halving[0].before:
        raise InputError(
            _refusal(
                name,
                f"with stride 1 in {names} its feature map is {_text(size)}, not {_text(halving[0].before)} as before "
                "the halving (kernels of even size, or without padding, do not keep a map's size)",
            )
        )


def _strided_layers(backbone: nn.Module, height: int, width: int) -> tuple[list[_StridedLayer], Size]:
    """Every layer with a stride, found by running one black image through, and the size of the backbone's map."""
    found: list[_StridedLayer] = []

    def record(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(_StridedLayer(name, module, _size(inputs[0]), _size(output)))

    # Blocks remember the stride they were made with, too; it is their layers that use it.
    layers = ((n, m) for n, m in backbone.named_modules() if hasattr(m, "stride") and not any(m.children()))
    handles = [module.register_forward_hook(partial(record, name)) for name, module in layers]
    try:
        with torch.no_grad(), _evaluating(backbone):
            features = backbone(torch.zeros(1, 3, height, width))
    finally:
        for handle in handles:
            handle.remove()
    return found, _size(features)


def _check(halving: list[_StridedLayer], name: str, last: Size) -> None:
    if not halving:
        raise InputError(_refusal(name, f"no layer with a stride makes its feature map of {_text(last)}"))
    if len(sizes := {layer.before for layer in halving}) > 1:
        raise InputError(
            _refusal(name, f"its feature map of {_text(last)} is made of maps of {' and '.join(map(_text, sizes))}")
        )
    for layer in halving:
        stride = layer.module.stride
        if set(stride if isinstance(stride, tuple) else (stride,)) != {2}:
            raise InputError(_refusal(name, f"{layer.name} makes its feature map with stride {stride}, not 2"))


@contextmanager
def _evaluating(backbone: nn.Module) -> Iterator[None]:
    was_training = backbone.training
    backbone.eval()
    try:
        yield
    finally:
        backbone.train(was_training)


def _size(x: Tensor) -> Size:
    return x.shape[-2], x.shape[-1]


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _refusal(name: str, why: str) -> str:
    return f"backbone {name} cannot have last_stride 1: {why}; use last_stride 2, or another backbone, e.g. resnet50"
