"""Alpha query expansion and database-side feature augmentation: features moved towards their nearest gallery images.

Query expansion adds to a query its n nearest gallery images, each weighted by its cosine to the power of alpha
(Radenović, Tolias & Chum: Fine-tuning CNN Image Retrieval with No Human Annotation, 2018). Augmentation does the same
to every gallery image, among the others, and comes first (Arandjelović & Zisserman 2012, Gordo et al. 2017, who weigh
in other ways: here both sides have the weights of alpha query expansion). A neighbour whose cosine is not above zero
weighs nothing. The sums are brought to unit length.

Who is in an image, and seen by which camera, is not looked at. The neighbours come from the whole gallery, so that
images of the query's person under the query's own camera take part. The protocol leaves these out of the ranking
because they are easy to find: the figures are those of a system that has them, and stand beside others of query
expansion, not beside plain ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError

from .features import (
    Labelled,
    LabelledFeatures,
    check_labels,
    check_rows,
    check_sizes,
    open_side,
    select,
    unit_side,
    without_junk,
)
from .kernels import Side, add_neighbours, gather_unit
from .neighbours import find_nearest, find_nearest_in_gallery
from .numbers import real, whole
from .tensors import are_on_gpu, to_device
from .threads import Threads

# Rows and columns of the products that are made at a time; 33 MB.
_TILE = (2048, 4096)


@dataclass(frozen=True)
class Expansion:
    """How features are expanded.

    Attributes:
        query_neighbours: gallery images added to each query; 0 for no query expansion.
        gallery_neighbours: other gallery images added to each gallery image, before that; 0 for no augmentation.
        alpha: power of the cosine that weighs them; 0 weighs all alike (average query expansion).
    """

    query_neighbours: int = 0
    gallery_neighbours: int = 0
    alpha: float = 3.0

    def __post_init__(self) -> None:
        for name in ("query_neighbours", "gallery_neighbours"):
            object.__setattr__(self, name, whole(f"expansion: {name}", getattr(self, name)))
        object.__setattr__(self, "alpha", real("expansion: alpha", self.alpha))
        counts = self.query_neighbours, self.gallery_neighbours
        if min(counts) < 0 or max(counts) == 0:
            raise InputError(
                f"expansion: {counts[0]} neighbours for queries and {counts[1]} for the gallery; expected none or more "
                "for each, and at least 1 for one of them"
            )
        if not 0 <= self.alpha < np.inf:
            raise InputError(f"expansion: alpha is {self.alpha}; expected a finite number, at least 0")

    def __str__(self) -> str:
        sides = {"queries": self.query_neighbours, "gallery": self.gallery_neighbours}
        return ", ".join([f"{side} by {count}" for side, count in sides.items() if count] + [f"alpha {self.alpha:g}"])


def expand(query: Labelled, gallery: Labelled, expansion: Expansion) -> tuple[LabelledFeatures, LabelledFeatures]:
    """Augment the gallery, then expand the queries by the augmented gallery; junk is nobody's neighbour.

    Neighbours are exact, equal cosines ordered by gallery index. Beside the features this takes one matrix for each
    side that is expanded, another copy of the gallery while one with junk is augmented, and some 60 MB. Features in
    CUDA tensors are copied from their GPU, and the expanded ones back to it.

    Args:
        query: Q labelled features; their length does not matter.
        gallery: G of them, of as many elements, junk and distractors included.
        expansion: settings; more neighbours than there are means all of them.

    Returns:
        Both with their labels. The features of a side that is expanded are new: (N, D) float32 of unit length, or zero
        where they were; junk has unit length, too, and nothing is added to it. Those of the other side are the ones
        given.

    Raises:
        InputError: either is empty, has unknown persons or cameras (nothing could be evaluated) or a NaN or infinite
            feature, or the features differ in size or are on different devices.
    """
    on_gpu = are_on_gpu(query.features, gallery.features)
    check_rows("query", query)
    check_rows("gallery", gallery)
    kept = without_junk(gallery)
    check_labels("query", query)
    check_labels("gallery", select(gallery, kept))
    features = [query.features, gallery.features]
    with Threads((len(query.person_ids) + len(kept)) * len(kept)) as threads:
        left = open_side("query", query.features, threads)
        right = open_side("gallery", gallery.features, threads, kept)
        check_sizes(left, right)
        if expansion.gallery_neighbours > 0:
            features[1] = _augment(right, expansion.gallery_neighbours, expansion.alpha, threads)
            right = open_side("gallery", features[1], threads, kept)
        if expansion.query_neighbours > 0:
            features[0] = _expand(left, right, expansion.query_neighbours, expansion.alpha, threads)
    if on_gpu:
        features = [to_device(each, query.features) if isinstance(each, np.ndarray) else each for each in features]
    return (
        LabelledFeatures(features[0], query.person_ids, query.camera_ids),
        LabelledFeatures(features[1], gallery.person_ids, gallery.camera_ids),
    )


def _augment(gallery: Side, count: int, alpha: float, threads: Threads) -> NDArray[np.float32]:
    """All gallery features at unit length, those that take part with their neighbours added."""
    augmented = np.empty_like(gallery.features)
    everything = Side(gallery.features, gallery.scale, np.arange(len(augmented)))
    threads.run(gather_unit, len(augmented), everything, 0, augmented)
    images = len(gallery.rows)
    count = min(count, images - 1)
    if count > 0:
        unit = augmented if images == len(augmented) else augmented[gallery.rows]
        nearest, _ = find_nearest(unit_side(unit, threads), count, _TILE, threads)
        threads.run(add_neighbours, images, gallery, gallery, nearest, alpha, augmented)
    return augmented


def _expand(query: Side, gallery: Side, count: int, alpha: float, threads: Threads) -> NDArray[np.float32]:
    nearest = find_nearest_in_gallery(query, gallery, min(count, len(gallery.rows)), threads)
    expanded = np.empty_like(query.features)
    threads.run(add_neighbours, len(expanded), query, gallery, nearest, alpha, expanded)
    return expanded
