"""A rank list as a picture: the query, and the images found, framed green where right and red where wrong."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import DISTRACTOR

from .rank_lists import Found, RankList

# Colours are BGR. The words in the captions say the same to those who cannot tell the colours apart.
RIGHT = (60, 150, 40)
WRONG = (40, 40, 210)
QUERY = (90, 70, 50)

IMAGE_HEIGHT = 192
IMAGE_WIDTH = 96
FRAME = 5
GAP = 6

_WHITE = (255, 255, 255)
_BLACK = (0, 0, 0)
_LINE = 15
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.38


def draw_rank_list(
    ranked: RankList, query: NDArray[np.uint8], images: Sequence[NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Draw the query and what was found, from left to right.

    Args:
        ranked: the list.
        query: the query's image, h x w x 3 uint8, BGR.
        images: those of `ranked.found`, likewise.

    Returns:
        H x W x 3 uint8, BGR. Column c (0 for the query) begins at `GAP + c * (IMAGE_WIDTH + 2 * FRAME + GAP)`.
    """
    tiles = [
        _tile(query, QUERY, ("query", _person(ranked.person_id), f"camera {ranked.camera_id}")),
        *(
            _tile(image, RIGHT if found.right else WRONG, caption(rank, found))
            for rank, (image, found) in enumerate(zip(images, ranked.found, strict=True), start=1)
        ),
    ]
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    row = np.hstack([part for tile in tiles for part in (gap, tile)] + [gap])
    return np.asarray(cv2.copyMakeBorder(row, GAP, GAP, 0, 0, cv2.BORDER_CONSTANT, value=_WHITE), np.uint8)


def caption(rank: int, found: Found) -> tuple[str, str, str]:
    """The lines below the gallery image at this rank."""
    verdict = "right" if found.right else "wrong"
    return f"{rank} {verdict} {found.cosine:.3f}", _person(found.person_id), f"camera {found.camera_id}"


def _person(person_id: int) -> str:
    return "distractor" if person_id == DISTRACTOR else f"person {person_id}"


def _tile(image: NDArray[np.uint8], colour: tuple[int, int, int], caption: Sequence[str]) -> NDArray[np.uint8]:
    framed = cv2.copyMakeBorder(_fit(image), *(FRAME,) * 4, cv2.BORDER_CONSTANT, value=colour)
    tile = cv2.copyMakeBorder(framed, 0, _LINE * len(caption), 0, 0, cv2.BORDER_CONSTANT, value=_WHITE)
    for number, line in enumerate(caption, start=1):
        place = (1, framed.shape[0] + _LINE * number - 4)
        cv2.putText(tile, line, place, _FONT, _FONT_SCALE, _BLACK, 1, cv2.LINE_AA)
    return np.asarray(tile, np.uint8)


def _fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole image in the middle of a white one of the tile's size."""
    scale = min(IMAGE_HEIGHT / image.shape[0], IMAGE_WIDTH / image.shape[1])
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    fitted = np.full((IMAGE_HEIGHT, IMAGE_WIDTH, 3), 255, np.uint8)
    top, left = (IMAGE_HEIGHT - height) // 2, (IMAGE_WIDTH - width) // 2
    fitted[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return fitted
