"""Features that stay on the GPU they are on: what `eval.kernels` does for arrays, through torch.

Whoever has a tensor has imported torch, so nothing here imports it. All of it runs on tensors of any one device.
Whatever decides an order is computed in float64, in steps that give equal images equal results: where torch adds up a
row or a product, the order of its additions changes with shape and alignment.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtime.errors import DeviceError, InputError

from .features import check_matrix, is_tensor, scale_to_unit
from .kernels import UNIT_ROUNDING

Tensor: TypeAlias = Any  # a torch.Tensor

# Numbers in a block of distances or products: beside the features a block takes some 80 bytes for each.
BLOCK_ELEMENTS = 2**23

# Pairs listed at a time.
_LISTED = 2**20


def are_on_gpu(query_features: Any, gallery_features: Any) -> bool:
    """Whether the features are CUDA tensors, to be worked on where they are.

    Raises:
        InputError: on different devices, one of them a GPU.
    """
    places = [str(each.device) if is_tensor(each) else "cpu" for each in (query_features, gallery_features)]
    on_gpu = [place.startswith("cuda") for place in places]
    if any(on_gpu) and places[0] != places[1]:
        raise InputError(
            f"query features are on {places[0]} and gallery features on {places[1]}; expected both on one device: move "
            "either"
        )
    return all(on_gpu)


@dataclass(frozen=True)
class TensorSide:
    """Features of the queries or of the gallery, and which of them take part; all on one device.

    Attributes:
        features: (N, D) float32, of any length.
        scale: (N,) float64, what brings each row to unit length; 0 for a row of zeros.
        rows: (K,) int64, the rows that take part; a position counts along these.
    """

    features: Tensor
    scale: Tensor
    rows: Tensor


@contextmanager
def on_device(features: Tensor) -> Iterator[Any]:
    """Work on a tensor's device: float32 multiplied as float32, no gradients, and torch's errors in our words.

    Yields:
        torch.

    Raises:
        DeviceError: the device failed, e.g. for want of memory.
    """
    torch = library()
    kind = features.device.type
    try:
        with _full_float32(torch), torch.no_grad(), torch.autocast(kind, enabled=False):
            yield torch
    except RuntimeError as error:  # out of memory is one, and so is everything that CUDA reports
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DeviceError(
            f"evaluation on {features.device} failed: {reason}; free memory there, or give the features as arrays"
        ) from error


def library() -> Any:
    """torch, which a tensor's owner has imported."""
    return sys.modules["torch"]


@contextmanager
def _full_float32(torch: Any) -> Iterator[None]:
    """While the block runs, multiply float32 as float32 and not in TF32, with 10 bits of 23."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        # Somebody has made one of the newer settings, after which torch refuses to read the older ones.
        products = torch.backends.cuda.matmul
        before = products.fp32_precision
        change, full = partial(setattr, products, "fp32_precision"), "ieee"
    else:
        change, full = torch.set_float32_matmul_precision, "highest"
    change(full)
    try:
        yield
    finally:
        change(before)


def open_tensors(
    query_features: Tensor, gallery_features: Tensor, kept: NDArray[np.int64] | None = None
) -> tuple[TensorSide, TensorSide]:
    """Check features and measure their lengths; what is not float32 is copied as that.

    Args:
        query_features: (Q, D) of any float type.
        gallery_features: (G, D) on the same device.
        kept: gallery rows that take part; None for all.

    Raises:
        InputError: as `eval.features.open_side`; the sizes are left to `check_sizes`.
    """
    return _open("query", query_features, None), _open("gallery", gallery_features, kept)


def _open(what: str, features: Tensor, rows: NDArray[np.int64] | None) -> TensorSide:
    features = features.detach()
    check_matrix(what, features.is_floating_point(), features.dtype, tuple(features.shape))
    values = features.float().contiguous()
    scale = scale_to_unit(what, np.sqrt(library().cat(_squares(values)).cpu().numpy()))
    taken = np.arange(len(values)) if rows is None else rows
    return TensorSide(values, to_device(scale, values), to_device(taken, values))


def to_device(array: NDArray[Any], like: Tensor) -> Tensor:
    """A copy of an array on the device of `like`."""
    return library().from_numpy(np.ascontiguousarray(array)).to(like.device)


def unit_rows(side: TensorSide) -> Tensor:
    """A float32 copy of the rows that take part, at unit length; those of it but for rounding stay as they are."""
    unit = side.features.new_empty((len(side.rows), side.features.shape[1]))
    step = _rows_at_once(unit)
    for start in range(0, len(unit), step):
        rows = side.rows[start : start + step]
        scale = side.scale[rows]
        scale[(scale - 1).abs() <= UNIT_ROUNDING] = 1
        unit[start : start + step] = side.features[rows].double().mul_(scale[:, None])
    return unit


def unit_side(unit: Tensor) -> TensorSide:
    """All of these, which have unit length but for what rounding to float32 changed: that is left to the scale."""
    lengths = library().cat(_squares(unit)).sqrt_()
    scale = lengths.reciprocal().masked_fill_(lengths == 0, 0)
    return TensorSide(unit, scale, library().arange(len(unit), device=unit.device))


def _squares(features: Tensor) -> list[Tensor]:
    """Sums of squares of each row, (N,) float64 in parts."""
    return [_sum_rows(block.double().square_()) for block in features.split(_rows_at_once(features))]


def pair_cosines(left: TensorSide, right: TensorSide, left_positions: Tensor, right_positions: Tensor) -> Tensor:
    """Cosine similarities of P pairs of positions, (P,) float64."""
    one, other = left.rows[left_positions], right.rows[right_positions]
    cosines = left.scale.new_empty(len(one))
    step = _rows_at_once(left.features)
    for start in range(0, len(one), step):
        rows, columns = one[start : start + step], other[start : start + step]
        dots = _sum_rows(left.features[rows].double().mul_(right.features[columns]))
        cosines[start : start + step] = dots * left.scale[rows] * right.scale[columns]
    return cosines


def _sum_rows(values: Tensor) -> Tensor:
    """Sums of (P, D), which is overwritten; every row in the same order, on every device."""
    width = values.shape[1]
    while width > 1:
        half = (width + 1) // 2
        values[:, : width - half] += values[:, half:width]
        width = half
    return values[:, 0]


def _rows_at_once(features: Tensor) -> int:
    return max(1, BLOCK_ELEMENTS // int(features.shape[1]))


def chunks(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Cut lists of so many entries each into runs of whole lists, with about a million entries in each run."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _LISTED, "right")))
        yield slice(start, stop)
        start = stop


def list_entries(starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of lists that begin at `starts`, one list after the other: the list of each entry, and its place."""
    torch = library()
    lists = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    first = torch.cumsum(counts, 0) - counts
    return lists, torch.arange(len(lists), device=counts.device) + (starts - first)[lists]
