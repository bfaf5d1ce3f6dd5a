"""The part of `lgeu visualise` that draws rank lists."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.datasets import Image, ReidDataset
from eval.picture_page import Picture, Section, write_picture
from eval.rank_lists import RankList, Reason
from eval.rank_pictures import draw_rank_list

FOLDER = "rank-lists"

_TITLES: dict[Reason, str] = {
    "worst": "The queries with the lowest average precision",
    "best": "The queries with the highest average precision",
    "random": "Other queries, drawn by chance",
    "asked for": "The queries asked for",
}


def write_rank_sheets(lists: Sequence[RankList], dataset: ReidDataset, out: Path) -> tuple[Section, ...]:
    """Draw rank lists, one picture each; gives the sections of the page.

    Args:
        lists: of images of the data set.
        dataset: where the images are read from.
        out: where the folder `rank-lists` is made.

    Raises:
        InputError: an image cannot be read, or `out` cannot be written to.
    """
    images = {image.name: image for image in (*dataset.query, *dataset.gallery)}
    pictures: dict[Reason, list[Picture]] = {}
    for number, ranked in enumerate(lists, start=1):
        path = f"{FOLDER}/{number:03d}.jpg"
        write_picture(out / path, _draw(ranked, dataset, images))
        pictures.setdefault(ranked.reason, []).append(Picture(path, _alt(ranked), _caption(ranked)))
    return tuple(Section(_TITLES[reason], (), tuple(each)) for reason, each in pictures.items())


def _draw(ranked: RankList, dataset: ReidDataset, images: dict[str, Image]) -> NDArray[np.uint8]:
    query = dataset.read(images[ranked.name])
    return draw_rank_list(ranked, query, [dataset.read(images[found.name]) for found in ranked.found])


def _caption(ranked: RankList) -> str:
    if ranked.average_precision is None:
        return f"{ranked.name}: the gallery has no match for it"
    return (
        f"{ranked.name}: average precision {100 * ranked.average_precision:.1f} %, first match at {ranked.first_match}"
    )


def _alt(ranked: RankList) -> str:
    right = [str(rank) for rank, found in enumerate(ranked.found, start=1) if found.right]
    where = f"right at {', '.join(right)}" if right else "none of them right"
    return f"Query {ranked.name} and the {len(ranked.found)} nearest gallery images, {where}"
