"""Which gallery images count for a query, from the labels alone."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import DISTRACTOR

from .features import Labels
from .kernels import Lists


class Matches(NamedTuple):
    """Positions in the gallery without junk, for each of Q queries.

    Attributes:
        wanted: same person, another camera.
        queries: (M,) int64, the query of each wanted position.
        left_out: same person, same camera.
    """

    wanted: Lists
    queries: NDArray[np.int64]
    left_out: Lists


def find_matches(query: Labels, gallery: Labels) -> Matches:
    """Look up each query's person in the gallery.

    Args:
        query: of Q images. Junk and distractors among them are nobody: they match nothing and nothing is left out.
        gallery: without junk.
    """
    by_person = np.argsort(gallery.person_ids, kind="stable")
    sorted_ids = gallery.person_ids[by_person]
    first = np.searchsorted(sorted_ids, query.person_ids, "left")
    found = np.searchsorted(sorted_ids, query.person_ids, "right") - first
    counts = np.where(query.person_ids > DISTRACTOR, found, 0)
    queries = np.repeat(np.arange(len(counts)), counts)
    offsets = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
    positions = by_person[np.repeat(first, counts) + offsets]
    same_camera = gallery.camera_ids[positions] == query.camera_ids[queries]
    return Matches(
        _lists(queries[~same_camera], positions[~same_camera], len(counts)),
        queries[~same_camera],
        _lists(queries[same_camera], positions[same_camera], len(counts)),
    )


def _lists(queries: NDArray[np.int64], positions: NDArray[np.int64], count: int) -> Lists:
    return Lists(np.concatenate([[0], np.cumsum(np.bincount(queries, minlength=count))]), positions)
