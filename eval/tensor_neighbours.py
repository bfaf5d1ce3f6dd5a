"""The nearest images of every image, on the device that the features are on."""

from runtime.progress import progress

from .features import product_margin
from .tensors import BLOCK_ELEMENTS, Tensor, TensorSide, chunks, library, pair_cosines


def find_nearest_tensors(images: TensorSide, count: int) -> tuple[Tensor, Tensor]:
    """The nearest other images of each image, by cosine, then by index; see `eval.neighbours.find_nearest`.

    Args:
        images: N, all of them, of unit length but for rounding; see `eval.tensors.unit_side`.
        count: how many of each, at most N - 1.

    Returns:
        (N, count) int64 the nearest of each, in order; and (N,) int64 the farthest, itself perhaps.
    """
    torch = library()
    unit, total = images.features, len(images.features)
    lists = torch.empty((total, count), dtype=torch.int64, device=unit.device)
    farthest = torch.empty(total, dtype=torch.int64, device=unit.device)
    height = max(1, BLOCK_ELEMENTS // total)
    for start in progress(range(0, total, height), "finding neighbours", unit="block"):
        block = slice(start, start + height)
        cosines = unit[block] @ unit.T
        farthest[block] = _first(images, cosines.neg_(), start, 1, nearest=False)[:, 0]
        if count > 0:
            cosines.neg_()[:, block].fill_diagonal_(-float("inf"))
            lists[block] = _first(images, cosines, start, count, nearest=True)
    return lists, farthest


def _first(images: TensorSide, values: Tensor, start: int, count: int, nearest: bool) -> Tensor:
    """Where the largest values of each row are, in order; near-ties by float64.

    Args:
        images: all of them.
        values: (B, N) float32, cosines of the images from `start` and all images; if not `nearest`, times -1.
        start: the image of the first row.
        count: how many of each row.
        nearest: what the values are.
    """
    margin = product_margin(images.features.shape[1])
    # One more than asked for shows whether the last one's place is certain.
    largest, indices = values.topk(min(count + 1, values.shape[1]), dim=1)
    unsure = library().nonzero((largest[:, :-1] - largest[:, 1:] <= margin).any(dim=1))[:, 0]
    indices = indices[:, :count].contiguous()
    if len(unsure):
        least = largest[unsure, count - 1] - margin
        _decide_near_ties(images, values, start, unsure, least, nearest, indices)
    return indices


def _decide_near_ties(
    images: TensorSide, values: Tensor, start: int, unsure: Tensor, least: Tensor, nearest: bool, indices: Tensor
) -> None:
    """Order by float64 all that may be among the first, in the rows that are not certain."""
    torch = library()
    near = (values[unsure] >= least[:, None]).sum(dim=1)
    for chunk in chunks(near.cpu().numpy()):
        rows = unsure[chunk]
        line, column = torch.nonzero(values[rows] >= least[chunk, None], as_tuple=True)
        exact = pair_cosines(images, images, start + rows[line], column)
        # By row, then by cosine, then by index, by which they are listed.
        order = exact.argsort(descending=nearest, stable=True)
        order = order[line[order].argsort(stable=True)]
        first = torch.cumsum(near[chunk], 0) - near[chunk]
        places = first[:, None] + torch.arange(indices.shape[1], device=first.device)
        indices[rows] = column[order[places]]
