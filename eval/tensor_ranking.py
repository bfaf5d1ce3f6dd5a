"""At which rank the matches of each query come, on the device that the features are on."""

from collections.abc import Callable

import numpy as np

from runtime.progress import progress

from .kernels import Lists, Ranking
from .matches import Matches
from .ranking import margins, new_ranking
from .tensors import (
    BLOCK_ELEMENTS,
    Tensor,
    TensorSide,
    chunks,
    library,
    list_entries,
    pair_cosines,
    to_device,
    unit_rows,
)

# Distances in float64: called with rows of a block and gallery positions.
Exactly = Callable[[Tensor, Tensor], Tensor]


def rank_tensors(query: TensorSide, gallery: TensorSide, matches: Matches) -> Ranking:
    """Rank by cosine distance; see `eval.ranking.rank_features`."""
    queries, images = unit_rows(query), unit_rows(gallery)
    pairs = to_device(matches.queries, queries), to_device(matches.wanted.positions, queries)
    distances = (1 - pair_cosines(query, gallery, *pairs)).clamp_(min=0)
    margin = to_device(margins(distances.cpu().numpy(), matches, queries.shape[1]), queries)
    ranking = new_ranking(matches)
    height = max(1, BLOCK_ELEMENTS // len(images))
    for start in progress(range(0, len(queries), height), "evaluating", unit="block"):
        stop = min(start + height, len(queries))

        def exactly(lines: Tensor, positions: Tensor, start: int = start) -> Tensor:
            return (1 - pair_cosines(query, gallery, start + lines, positions)).clamp_(min=0)

        distances = (queries[start:stop] @ images.T).neg_().add_(1).clamp_(min=0)
        rank_block(distances, start, matches, margin[start:stop], exactly, ranking)
    return ranking


def rank_block(
    distances: Tensor, first_query: int, matches: Matches, margin: Tensor, exactly: Exactly, ranking: Ranking
) -> None:
    """Rank the matches of some queries among all images, and find each query's nearest.

    Args:
        distances: (B, G) float32; overwritten.
        first_query: the query of the first row.
        matches: of all queries.
        margin: (B,) float64; distances that differ by less are decided by `exactly`.
        exactly: distances in float64.
        ranking: of all queries; what belongs to these is written.
    """
    lines, positions, _ = _entries(matches.left_out, first_query, distances)
    distances[lines, positions] = float("inf")
    lines, positions, wanted = _entries(matches.wanted, first_query, distances)
    exact = exactly(lines, positions)
    # A match counts as near to itself however its product was rounded.
    distances[lines, positions] = exact.float()
    ordered, order = distances.sort(dim=1)
    below = _count(ordered, lines, exact - margin[lines], up_to=False)
    reached = _count(ordered, lines, exact + margin[lines], up_to=True)
    before = below + _count_exactly(order, lines, positions, exact, below, reached, exactly)
    ranking.ranks[wanted] += before.cpu().numpy()
    nearest, distance = _find_nearest(ordered, order, margin, exactly)
    block = slice(first_query, first_query + len(distances))
    ranking.nearest[block], ranking.nearest_distance[block] = nearest.cpu().numpy(), distance.cpu().numpy()


def _entries(lists: Lists, first_query: int, block: Tensor) -> tuple[Tensor, Tensor, slice]:
    """Rows of the block and positions that its queries' lists hold, and where in the lists these stand."""
    starts = lists.starts[first_query : first_query + len(block) + 1]
    entries = slice(int(starts[0]), int(starts[-1]))
    lines = np.repeat(np.arange(len(block)), np.diff(starts))
    return to_device(lines, block), to_device(lists.positions[entries], block), entries


def _count(ordered: Tensor, lines: Tensor, ends: Tensor, up_to: bool) -> Tensor:
    """How many values of each line are below an end, or up to it; `lines` ascend."""
    torch = library()
    counts = torch.bincount(lines, minlength=len(ordered))
    slots = torch.arange(len(lines), device=lines.device) - (torch.cumsum(counts, 0) - counts)[lines]
    table = ordered.new_zeros((len(ordered), max(1, int(counts.max()))))
    table[lines, slots] = ends.float()
    return torch.searchsorted(ordered, table, right=up_to)[lines, slots]


def _count_exactly(
    order: Tensor,
    lines: Tensor,
    positions: Tensor,
    exact: Tensor,
    below: Tensor,
    reached: Tensor,
    exactly: Exactly,
) -> Tensor:
    """How many of the values near to each match come before it: nearer, or as near and of a lower position."""
    torch = library()
    before = torch.zeros_like(positions)
    near = reached - below
    unsure = torch.nonzero(near > 1)[:, 0]
    for chunk in chunks(near[unsure].cpu().numpy()):
        matches = unsure[chunk]
        entries, places = list_entries(below[matches], near[matches])
        match = matches[entries]
        other = order[lines[match], places]
        distance = _each_once(lines[match], other, order.shape[1], exactly)
        nearer = (distance < exact[match]) | ((distance == exact[match]) & (other < positions[match]))
        before += torch.bincount(match[nearer], minlength=len(before))
    return before


def _each_once(lines: Tensor, positions: Tensor, images: int, exactly: Exactly) -> Tensor:
    """Distances in float64 of pairs that may be listed again and again."""
    pairs, places = library().unique(lines * images + positions, return_inverse=True)
    return exactly(pairs // images, pairs % images)[places]


def _find_nearest(ordered: Tensor, order: Tensor, margin: Tensor, exactly: Exactly) -> tuple[Tensor, Tensor]:
    """Position and distance of what is nearest in each row; -1 and infinity where all is left out."""
    torch = library()
    rows = torch.arange(len(ordered), device=ordered.device)
    least = ordered[:, 0].double()
    reached = torch.where(least.isfinite(), _count(ordered, rows, least + margin, up_to=True), 0)
    nearest, distance = torch.full_like(rows, -1), torch.full_like(least, float("inf"))
    for chunk in chunks(reached.cpu().numpy()):
        lines, places = list_entries(torch.zeros_like(reached[chunk]), reached[chunk])
        lines = lines + chunk.start
        positions = order[lines, places]
        exact = exactly(lines, positions)
        distance.scatter_reduce_(0, lines, exact, "amin")
        first = exact == distance[lines]
        nearest.scatter_reduce_(0, lines[first], positions[first], "amin", include_self=False)
    return nearest, distance
