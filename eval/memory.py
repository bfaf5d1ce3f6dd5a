"""How much memory re-ranking takes, before it takes it."""

import logging
from dataclasses import dataclass, replace

from runtime.errors import InputError

logger = logging.getLogger(__name__)

_TILE = (2048, 4096)
_BLOCK = 1024

# Products of fewer rows are slow.
_LEAST_ROWS = 64

# Below this nobody needs to be told.
_WORTH_SAYING = 100 * 10**6


@dataclass(frozen=True)
class MemoryPlan:
    """What re-ranking holds at once, beside the features that it is given.

    Attributes:
        queries: Q.
        images: in the gallery, G.
        elements: of a feature.
        k1: as in `eval.reranking.Reranking`.
        k2: likewise.
        keeps_result: whether the (Q, G) distances are held.
        tile: rows and columns of the products of all images made at a time.
        block: queries whose distances are made at a time.
        on_gpu: whether only the sets of neighbours are worked on here, and a GPU holds the rest.
    """

    queries: int
    images: int
    elements: int
    k1: int
    k2: int
    keeps_result: bool
    tile: tuple[int, int]
    block: int
    on_gpu: bool = False

    @property
    def needed(self) -> int:
        """Bytes, estimated: the sizes of the encodings depend on the features, and are taken to be large."""
        total = self.queries + self.images
        kept = total * 4 * self.elements + (4 * self.queries * self.images if self.keeps_result else 0)
        # Twice those asked for and some spare ones, with their cosines; labels, matches and lengths besides.
        count = max(self.k1, self.k2)
        lists = total * (8 * (2 * count + 24) + 4 * count + 100)
        tile = 4 * min(self.tile[0], total) * min(max(self.tile), total)
        sets = total * 120 * (self.k1 + 1)
        encodings = total * 24 * (self.k1 + 1) * (1 + self.k2 // 2)
        if self.on_gpu:
            return lists + max(sets, encodings)
        block = 0 if self.keeps_result else 4 * min(self.block, self.queries) * self.images
        return kept + lists + max(tile, sets, encodings + block)


def plan_memory(
    queries: int,
    images: int,
    elements: int,
    k1: int,
    k2: int,
    limit: int | None,
    keeps_result: bool,
    on_gpu: bool = False,
) -> MemoryPlan:
    """Choose how much is worked on at a time, and say how much memory that takes.

    Args:
        queries: see `MemoryPlan`, as for all that are not named here.
        images: likewise.
        elements: likewise.
        k1: likewise; more than there are images means all of them.
        k2: likewise.
        limit: bytes that may be used; None for no limit.
        keeps_result: likewise.
        on_gpu: likewise; what the GPU holds is not counted.

    Raises:
        InputError: it cannot be done within the limit.
    """
    total = queries + images
    k1, k2 = min(k1, total), min(k2, total)
    plan = MemoryPlan(queries, images, elements, k1, k2, keeps_result, _TILE, _BLOCK, on_gpu)
    while limit is not None and plan.needed > limit:
        smaller = _halve(plan)
        if smaller == plan:
            raise InputError(
                f"re-ranking {queries:,} queries and {images:,} gallery images of {elements} elements needs about "
                f"{_in_words(plan.needed)} beside the features, and the limit is {_in_words(limit)}; allow more, "
                "or take fewer images"
            )
        plan = smaller
    logger.log(
        logging.INFO if plan.needed >= _WORTH_SAYING else logging.DEBUG,
        "re-ranking %s queries and %s gallery images: about %s of memory beside the features",
        f"{queries:,}",
        f"{images:,}",
        _in_words(plan.needed),
    )
    return plan


def _halve(plan: MemoryPlan) -> MemoryPlan:
    """Work on half as much at a time, as far as that is sensible."""
    height, width = (max(_LEAST_ROWS, size // 2) for size in plan.tile)
    return replace(plan, tile=(height, width), block=max(_LEAST_ROWS, plan.block // 2))


def _in_words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.0f} MB" if size >= 10**6 else f"{size:,} bytes"
