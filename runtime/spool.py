"""Embeddings of a video of any length, on the disk as they come: memory stays flat, and a killed run can be read.

A spool is a folder of plain `.npy` files, one an array of `Embeddings`. Rows are appended, and each file's header says
how many are complete, so that `numpy.load` reads every one of them at any time. An `.npz` is a zip of such files:
finishing copies them into one.
"""

import io
import zipfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .embeddings import UNKNOWN_CAMERA, UNKNOWN_PERSON, Embeddings
from .errors import InputError
from .files import atomic_path
from .pipeline import EmbeddedFrame

# "frame", 12 digits, "_box", 5 digits.
_NAME = np.dtype("<U26")


class EmbeddingsSpool:
    """Takes a video's embeddings frame by frame; a context manager that closes its files.

    Attributes:
        rows: how many it has.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """Start an empty spool.

        Args:
            folder: of its files; made where it does not exist.
            size: D, of an embedding.

        Raises:
            InputError: a file cannot be written.
        """
        self.rows = 0
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._arrays = {
                "features": _GrowingArray(folder / "features.npy", np.dtype("<f4"), (size,)),
                "person_ids": _GrowingArray(folder / "person_ids.npy", np.dtype("<i8")),
                "camera_ids": _GrowingArray(folder / "camera_ids.npy", np.dtype("<i8")),
                "names": _GrowingArray(folder / "names.npy", _NAME),
                "frames": _GrowingArray(folder / "frames.npy", np.dtype("<i8")),
                "tracks": _GrowingArray(folder / "tracks.npy", np.dtype("<i8")),
                "boxes": _GrowingArray(folder / "boxes.npy", np.dtype("<f4"), (4,)),
            }
        except OSError as error:
            raise InputError(
                f"cannot write to {folder}: {error.strerror}; name a folder that can be written to"
            ) from error

    def append(self, frame: EmbeddedFrame) -> None:
        """Add the people of a frame.

        Raises:
            InputError: the disk is full; what was appended before stays readable.
        """
        count = len(frame.features)
        if not count:
            return
        columns: dict[str, NDArray[np.generic]] = {
            "features": frame.features,
            "person_ids": np.full(count, UNKNOWN_PERSON),
            "camera_ids": np.full(count, UNKNOWN_CAMERA),
            "names": np.array([frame.name_of(row) for row in range(count)], _NAME),
            "frames": np.full(count, frame.index),
            "tracks": frame.found.tracks,
            "boxes": frame.found.boxes,
        }
        try:
            for name, array in self._arrays.items():
                array.append(columns[name])
            # No header promises a row before every file has it.
            for array in self._arrays.values():
                array.promise()
        except OSError as error:
            raise InputError(f"cannot write to {self._folder}: {error.strerror}; free some space") from error
        self.rows += count

    def finish(self, path: Path) -> None:
        """Write everything to `path` (.npz), atomically; the spool stays.

        Raises:
            InputError: `path` cannot be written.
        """
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, array in self._arrays.items():
                archive.write(array.path, f"{name}.npy")

    def close(self) -> None:
        """Close the files; they stay."""
        for array in self._arrays.values():
            # What could not be written has been reported, and no header promises it.
            with suppress(OSError):
                array.close()

    def __enter__(self) -> "EmbeddingsSpool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_spool(folder: Path) -> Embeddings:
    """The embeddings that a killed run left in its spool: of every frame that was finished.

    Raises:
        InputError: `folder` is not a spool.
    """
    names = ("features", "person_ids", "camera_ids", "names", "frames", "tracks", "boxes")
    try:
        arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in names}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is not the spool of a run ({error}); expected a folder with features.npy"
        ) from error
    # A kill between two headers leaves them apart by a frame.
    rows = min(len(array) for array in arrays.values())
    return Embeddings(**{name: array[:rows] for name, array in arrays.items()})


class _GrowingArray:
    """A `.npy` file to which rows are appended."""

    def __init__(self, path: Path, dtype: np.dtype[np.generic], shape: tuple[int, ...] = ()) -> None:
        self.path = path
        self._dtype = dtype
        self._shape = shape
        self._rows = 0
        self._file: BinaryIO = path.open("wb")
        self._file.write(self._header())
        self._file.flush()

    def append(self, rows: NDArray[np.generic]) -> None:
        array = np.ascontiguousarray(rows, self._dtype)
        if array.shape[1:] != self._shape:
            raise InputError(f"{self.path.stem} has rows of shape {array.shape[1:]}; expected {self._shape}")
        self._file.write(array.tobytes())
        self._file.flush()
        self._rows += len(array)

    def promise(self) -> None:
        """Put the number of rows into the header."""
        self._file.seek(0)
        self._file.write(self._header())
        self._file.flush()
        self._file.seek(0, io.SEEK_END)

    def close(self) -> None:
        self._file.close()

    def _header(self) -> bytes:
        # NumPy leaves room for the first number of the shape to grow.
        header = io.BytesIO()
        description = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, *self._shape)}
        np.lib.format.write_array_header_1_0(header, description)
        return header.getvalue()
