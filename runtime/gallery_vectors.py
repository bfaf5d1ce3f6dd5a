"""The embeddings of a gallery in a FAISS index: exact, or in inverted lists with full precision behind them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dependencies import require
from .errors import InputError
from .gallery_manifest import Lists

# Gives the rows asked for, (n,) int64 ascending, as (n, D) float32 of length 1.
FetchRows = Callable[[NDArray[np.int64]], NDArray[np.float32]]

# Rows handled at a time, so that memory grows neither with the gallery nor with the number of queries.
BLOCK = 16_384
_QUERIES = 1024

# An approximate search decides on candidates for no fewer results than its recall was measured with.
MEASURED_RESULTS = 10

_TOLERANCE = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Neighbours:
    """The nearest entries of each of N queries, best first.

    Attributes:
        rows: (N, k) int64, of the entries.
        scores: (N, k) float32, cosine similarity in -1..1.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


class VectorIndex:
    """A FAISS index over rows of length 1, searched by cosine similarity."""

    def __init__(self, index: Any, lists: Lists | None) -> None:
        """Wrap an index.

        Args:
            index: `IndexFlatIP` where `lists` is None, else `IndexRefine` as `gallery_ivf` makes it.
            lists: how it is searched.
        """
        self._index = index
        self.lists = lists

    @classmethod
    def exact(cls, fetch: FetchRows, count: int, size: int) -> "VectorIndex":
        """An exact index of `count` rows of `size` elements."""
        index = cls(load_faiss().IndexFlatIP(size), None)
        index.add(fetch, count)
        return index

    @classmethod
    def open(cls, path: Path, lists: Lists | None, *, mapped: bool = True) -> "VectorIndex":
        """Open what `save` wrote.

        Args:
            path: the file.
            lists: how it is searched; None for an exact index.
            mapped: leave it on the disk and read what is needed, which shares it between processes; it cannot be
                added to then.

        Raises:
            InputError: FAISS cannot read it.
            MissingDependencyError: FAISS is not installed.
        """
        faiss = load_faiss()
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        except RuntimeError as error:
            raise InputError(
                f"{path} is no index that FAISS {faiss.__version__} can read ({_reason(error)})"
            ) from error
        expected = faiss.IndexFlatIP if lists is None else faiss.IndexRefine
        if not isinstance(index, expected):
            raise InputError(f"{path} is a FAISS {type(index).__name__}; expected {expected.__name__}")
        return cls(index, lists)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def size(self) -> int:
        """D."""
        return int(self._index.d)

    def add(self, fetch: FetchRows, count: int) -> None:
        """Append `count` rows."""
        for rows in blocks(count):
            self._index.add(fetch(rows))

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows asked for, (n, D) float32, as they were stored: with lists, rounded to half precision."""
        source = self._index if self.lists is None else load_faiss().downcast_index(self._index.refine_index)
        return np.asarray(source.reconstruct_batch(np.ascontiguousarray(rows)), np.float32)

    def search(self, features: NDArray[np.float32], count: int) -> Neighbours:
        """The nearest entries.

        Args:
            features: (N, D) queries, of length 1.
            count: how many for each; at least 1.

        Returns:
            min(count, entries) for each query.
        """
        count = min(count, len(self))
        found = [self._search(features[rows], count) for rows in blocks(len(features), _QUERIES)]
        if not found:
            return Neighbours(np.empty((0, count), np.int64), np.empty((0, count), np.float32))
        rows, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        return Neighbours(rows, np.clip(scores, -1, 1))

    def _search(self, features: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        features = np.ascontiguousarray(features, np.float32)
        if self.lists is None:
            scores, rows = self._index.search(features, count)
            return rows, scores
        rows, scores = self.search_lists(features, count, self.lists.probes, self.lists.depth)
        short = (rows < 0).any(axis=1)
        if short.any():  # so few entries lie in the lists probed
            rows[short], scores[short] = self.search_lists(features[short], count, self.lists.count, self.lists.depth)
        return rows, scores

    def search_lists(
        self, features: NDArray[np.float32], count: int, probes: int, depth: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search with given settings; rows are -1 where the lists probed hold fewer than `count` entries."""
        faiss = load_faiss()
        lists = faiss.SearchParametersIVF(nprobe=probes)
        settings = faiss.IndexRefineSearchParameters(
            k_factor=depth, base_index_params=faiss.SearchParametersPreTransform(index_params=lists)
        )
        distances, rows = self._index.search(features, max(count, MEASURED_RESULTS), params=settings)
        # Of rows of length 1 the squared distance is 2 - 2 cosine.
        return rows[:, :count], 1 - distances[:, :count] / 2

    def save(self, path: Path) -> None:
        """Write to `path`, not atomically: see `gallery_files`.

        Raises:
            InputError: it cannot be written, for instance because the disk is full.
        """
        faiss = load_faiss()
        try:
            faiss.write_index(self._index, str(path))
            # FAISS does not look whether closing the file succeeded.
            written = VectorIndex.open(path, self.lists)
        except (RuntimeError, InputError) as error:
            raise InputError(f"cannot write the gallery's index ({_reason(error)}); is the disk full?") from error
        if len(written) != len(self):
            raise InputError(f"cannot write the gallery's index: {len(written)} of {len(self)} entries arrived")


def load_faiss() -> ModuleType:
    """FAISS.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return require("faiss", purpose="a gallery index", install="pip install 'lgeu-reid[gallery]'")


def blocks(count: int, size: int = BLOCK) -> Iterator[NDArray[np.int64]]:
    """The rows 0 to `count` - 1, some at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count), dtype=np.int64)


def rows_of(features: NDArray[np.float32], source: str) -> FetchRows:
    """Rows of (N, D) features, which may be memory-mapped, brought to length 1 when they are fetched.

    Args:
        features: (N, D) float.
        source: where they came from, for errors.

    The function it gives raises `InputError` where a row is not finite, or zero.
    """

    def fetch(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return normalised(features[rows], source, int(rows[0]) if len(rows) else 0)

    return fetch


def normalised(features: NDArray[np.float32], source: str, first: int = 0) -> NDArray[np.float32]:
    """Rows brought to length 1.

    Args:
        features: (N, D) float.
        source: where they came from, for errors.
        first: number of the first row, for errors.

    Raises:
        InputError: a row holds NaN or infinity, or is zero.
    """
    features = np.asarray(features, np.float32)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    bad = ~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > _TOLERANCE))
    if bad.any():
        raise InputError(
            f"{source}: {int(bad.sum())} embeddings, the first in row {first + int(bad.argmax())}, are zero or hold "
            "NaN or infinity; check the model that made them"
        )
    return np.ascontiguousarray(features / lengths, np.float32)


def _reason(error: Exception) -> str:
    # FAISS puts the place in its source first and what is wrong last.
    return " ".join(str(error).split()).rpartition("failed: ")[2]
