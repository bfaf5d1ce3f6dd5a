"""What is compared: features, and who is in each image, seen by which camera."""

import logging
import sys
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runtime.embeddings import JUNK, UNKNOWN_CAMERA, UNKNOWN_PERSON
from runtime.errors import InputError

from .kernels import Side, squared_lengths
from .threads import Threads

logger = logging.getLogger(__name__)

# Rounding to float16 changes a length by up to 5e-4; what is farther off was never normalised.
_UNIT_TOLERANCE = 1e-3

# Outside of these a float32 product of features loses digits.
_LENGTHS = (1e-12, 1e12)


class Labels(Protocol):
    """Who is in each of N images, and seen by which camera."""

    @property
    def person_ids(self) -> NDArray[np.int64]:
        """(N,); -1 junk, 0 distractor."""
        ...

    @property
    def camera_ids(self) -> NDArray[np.int64]:
        """(N,)."""
        ...


class HasFeatures(Protocol):
    """What holds features."""

    @property
    def features(self) -> Any:
        """(N, D)."""
        ...


class Labelled(Labels, Protocol):
    """Labels and features of N images; `runtime.embeddings.Embeddings` is one, `LabelledFeatures` another."""

    @property
    def features(self) -> Any:
        """(N, D) of any float type: a NumPy array or a torch tensor."""
        ...


@dataclass(frozen=True)
class LabelledFeatures:
    """Features with labels, from arrays or torch tensors.

    Attributes:
        features: (N, D) of any float type: a NumPy array, or a torch tensor on any device.
        person_ids: (N,) of any integer type, kept as int64; -1 junk, 0 distractor.
        camera_ids: (N,) likewise.

    Raises:
        InputError: the ids are not integers, or their number differs from that of the features.
    """

    features: Any
    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("person_ids", "camera_ids"):
            object.__setattr__(self, name, _as_ids(name, getattr(self, name), len(self.features)))


@dataclass(frozen=True)
class PlainLabels:
    """Labels without features.

    Attributes:
        person_ids: (N,) of any integer type, kept as int64; -1 junk, 0 distractor.
        camera_ids: (N,) likewise.

    Raises:
        InputError: the ids are not integers, or not as many of each.
    """

    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("person_ids", "camera_ids"):
            object.__setattr__(self, name, _as_ids(name, getattr(self, name), len(self.person_ids)))


def without_junk(labels: Labels) -> NDArray[np.int64]:
    """Rows that are not junk, in their order."""
    return np.flatnonzero(labels.person_ids != JUNK)


def select(labels: Labels, rows: NDArray[np.int64]) -> PlainLabels:
    """The labels of some rows."""
    return PlainLabels(labels.person_ids[rows], labels.camera_ids[rows])


def check_rows(what: str, images: Labelled) -> None:
    """Refuse labels of more or fewer images than there are features.

    Raises:
        InputError: says how many of each.
    """
    rows = len(images.features), len(images.person_ids), len(images.camera_ids)
    if len(set(rows)) > 1:
        raise InputError(
            f"{what}: {rows[0]} features, {rows[1]} person ids and {rows[2]} camera ids; expected as many of each"
        )


def check_labels(what: str, labels: Labels) -> None:
    """Refuse unknown persons and cameras, and no images at all.

    Raises:
        InputError: says how many and which is the first.
    """
    if len(labels.person_ids) == 0:
        raise InputError(f"{what} is empty, junk left out; expected at least one image")
    for kind, ids, unknown in (
        ("person", labels.person_ids, UNKNOWN_PERSON),
        ("camera", labels.camera_ids, UNKNOWN_CAMERA),
    ):
        if ids.min() <= unknown:
            bad = np.flatnonzero(ids <= unknown)
            raise InputError(
                f"{what}: {bad.size} of {len(ids)} images have an unknown {kind}, the first is row {bad[0]} "
                f"({kind} {ids[bad[0]]}); evaluation needs to know every {kind}"
            )


def is_tensor(features: Any) -> bool:
    """Whether this is a torch tensor; torch is not imported to find out."""
    return "torch" in sys.modules and isinstance(features, sys.modules["torch"].Tensor)


def as_array(values: Any) -> NDArray[Any]:
    """A tensor on any device as an array, of float32 where it was shorter; anything else as it is."""
    if not is_tensor(values):
        return np.asarray(values)
    values = values.detach().cpu()
    array: NDArray[Any] = (values if values.element_size() > 2 else values.float()).numpy()
    return array


def open_side(what: str, features: Any, threads: Threads, rows: NDArray[np.int64] | None = None) -> Side:
    """Check features and measure their lengths.

    Args:
        what: what to call them in messages.
        features: (N, D) of any float type; what is not float32 in the order of rows is copied, and the rest is not.
        threads: to measure with.
        rows: those that take part; None for all. The others are checked, too.

    Raises:
        InputError: not a matrix of floats, empty, or a row that is not finite, too short or too long.
    """
    values = _as_float32(what, features)
    squares = np.empty(len(values))
    threads.run(squared_lengths, len(values), values, squares)
    scale = scale_to_unit(what, np.sqrt(squares))
    return Side(values, scale, np.arange(len(values)) if rows is None else rows)


def scale_to_unit(what: str, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """What brings rows of these lengths to unit length; 0 for a row of zeros.

    Raises:
        InputError: a length is not finite, too short or too long.
    """
    _check_lengths(what, lengths)
    return _scale(lengths)


def check_matrix(what: str, floating: bool, kind: object, shape: tuple[int, ...]) -> None:
    """Refuse what is no (N, D) matrix of floats, or has nothing in it.

    Raises:
        InputError: says what it is.
    """
    if not floating or len(shape) != 2:
        raise InputError(f"{what}: features are {len(shape)}-D of type {kind}; expected (N, D) floats")
    if 0 in shape:
        raise InputError(f"{what}: nothing to evaluate, shape {shape}; expected at least one row")


def check_sizes(query: HasFeatures, gallery: HasFeatures) -> None:
    """Refuse features of different models.

    Raises:
        InputError: the sizes differ.
    """
    left, right = query.features.shape[1], gallery.features.shape[1]
    if left != right:
        raise InputError(
            f"query features have {left} elements and gallery features {right}; expected as many: embed both with the "
            "same model"
        )


def product_margin(elements: int) -> float:
    """Twice the rounding error to expect of a float32 product of unit vectors, as that of a random walk."""
    return float(2.0**-23 * (2 + np.sqrt(elements)))


def product_bound(elements: int) -> float:
    """The largest rounding error that a float32 product of unit vectors can have."""
    return 2.0**-24 * (elements + 8)


def unit_side(features: NDArray[np.float32], threads: Threads) -> Side:
    """All of these, which have unit length but for what rounding to float32 changed: that is left to the scale."""
    squares = np.empty(len(features))
    threads.run(squared_lengths, len(features), features, squares)
    return Side(features, _scale(np.sqrt(squares)), np.arange(len(features)))


def _scale(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def _as_ids(name: str, ids: ArrayLike, expected: int) -> NDArray[np.int64]:
    array = np.asarray(ids.cpu() if is_tensor(ids) else ids)  # type: ignore[union-attr]
    if array.dtype.kind not in "iu" or array.shape != (expected,):
        raise InputError(f"{name} has shape {array.shape} and type {array.dtype}; expected ({expected},) integers")
    return array.astype(np.int64)


def _as_float32(what: str, features: Any) -> NDArray[np.float32]:
    if is_tensor(features):
        check_matrix(what, features.is_floating_point(), features.dtype, tuple(features.shape))
        features = features.detach().float().cpu().numpy()
    values = np.asarray(features)
    check_matrix(what, values.dtype.kind == "f", values.dtype, values.shape)
    with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
        return np.ascontiguousarray(values, np.float32)


def _check_lengths(what: str, lengths: NDArray[np.float64]) -> None:
    shortest, longest = lengths.min(), lengths.max()
    if not np.isfinite(longest):  # which is NaN where any is
        raise InputError(
            f"{what}: {_places(~np.isfinite(lengths))} hold NaN or infinity; expected finite numbers: check the model "
            "that made them"
        )
    if shortest < _LENGTHS[0] or longest > _LENGTHS[1]:
        bad = (lengths > 0) & ((lengths < _LENGTHS[0]) | (lengths > _LENGTHS[1]))
        if bad.any():
            raise InputError(
                f"{what}: {_places(bad)} have a length outside {_LENGTHS[0]:g} to {_LENGTHS[1]:g}; check the model "
                "that made them, or scale them"
            )
    if shortest < 1 - _UNIT_TOLERANCE or longest > 1 + _UNIT_TOLERANCE:
        logger.info("%s: features of length %.4g to %.4g, not 1: normalised", what, shortest, longest)


def _places(bad: NDArray[np.bool_]) -> str:
    rows = np.flatnonzero(bad)
    return f"{len(rows)} of {len(bad)} rows, the first is row {rows[0]},"
