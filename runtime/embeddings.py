"""Embeddings on disk: one `.npz`, the same for images and for video."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .files import atomic_path, require_file, write_text
from .manifest import Manifest

# Beside embeddings: what their model is.
MANIFEST_NAME = "manifest.json"

JUNK = -1
DISTRACTOR = 0
UNKNOWN_PERSON = -2
UNKNOWN_CAMERA = -1
NO_TRACK = -1

_REQUIRED = ("features", "person_ids", "camera_ids", "names")
_FROM_VIDEO = ("frames", "tracks", "boxes")


@dataclass(frozen=True)
class Embeddings:
    """N embeddings and what is known of each.

    Attributes:
        features: (N, D) float32.
        person_ids: (N,) int64; -1 junk, 0 distractor (as in Market-1501), -2 unknown.
        camera_ids: (N,) int64; -1 unknown.
        names: (N,) unicode, e.g. file names.
        frames: (N,) int64, 0-based video frame; None where the crops are not from a video.
        tracks: (N,) int64; -1 for no track; None likewise.
        boxes: (N, 4) float32, x y w h in pixels, clipped to the frame; None likewise.
    """

    features: NDArray[np.float32]
    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64]
    names: NDArray[np.str_]
    frames: NDArray[np.int64] | None = None
    tracks: NDArray[np.int64] | None = None
    boxes: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _check("features", self.features, "f", 2)
        rows = len(self.features)
        for name, kind, dimensions in (
            ("person_ids", "i", 1),
            ("camera_ids", "i", 1),
            ("names", "U", 1),
            ("frames", "i", 1),
            ("tracks", "i", 1),
            ("boxes", "f", 2),
        ):
            array = getattr(self, name)
            if array is None and name in _FROM_VIDEO:
                continue
            _check(name, array, kind, dimensions)
            if len(array) != rows:
                raise InputError(f"embeddings: {name} has {len(array)} rows and features {rows}; expected as many")
        if self.boxes is not None and self.boxes.shape[1] != 4:
            raise InputError(f"embeddings: boxes has shape {self.boxes.shape}; expected (N, 4)")

    def __len__(self) -> int:
        return len(self.features)

    def save(self, path: Path) -> None:
        """Write to `path` (.npz), atomically."""
        arrays = {name: getattr(self, name) for name in (*_REQUIRED, *_FROM_VIDEO) if getattr(self, name) is not None}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Embeddings":
        """Read from `path` (.npz).

        Raises:
            InputError: the file is missing, truncated, holds pickles, or lacks a required array.
        """
        arrays = _read_arrays(require_file(path, "embeddings file"))
        if missing := [name for name in _REQUIRED if name not in arrays]:
            raise InputError(f"{path} has no array {missing[0]!r}; expected {', '.join(_REQUIRED)}")
        try:
            return cls(**arrays)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def check_manifest_is_of(folder: Path, names: Collection[str]) -> None:
    """Refuse a folder whose manifest is, or would be taken for, that of something else than these embeddings.

    Args:
        folder: need not exist.
        names: of embeddings files of one model.

    Raises:
        InputError: it holds other embeddings, or a manifest without any of these.
    """
    # Not the hidden ones, which a killed run may have left half-written.
    others = sorted(path.name for path in folder.glob("*.npz") if path.name not in names and path.name[0] != ".")
    if others:
        raise InputError(
            f"{folder} holds {others[0]}, and {MANIFEST_NAME} there, which this run writes or removes, says whose "
            "embeddings those are; name another folder"
        )
    if (folder / MANIFEST_NAME).exists() and not any((folder / name).exists() for name in names):
        raise InputError(
            f"{folder} holds a {MANIFEST_NAME} without {' or '.join(sorted(names))}, which this run would replace or "
            "remove; name another folder, or delete it"
        )


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of the model whose embeddings are, or will be, in `folder`, atomically."""
    write_text(folder / MANIFEST_NAME, manifest.to_json() + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of the model whose embeddings are in `folder`; None where there is none, or no such folder.

    Raises:
        ManifestError: it is not valid.
    """
    file = folder / MANIFEST_NAME
    if not file.exists():
        return None
    return Manifest.from_json(require_file(file, "manifest").read_text(errors="replace"), str(file))


def _read_arrays(path: Path) -> dict[str, Any]:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.lib.npyio.NpzFile):
            with archive:
                return {name: archive[name] for name in (*_REQUIRED, *_FROM_VIDEO) if name in archive.files}
    except Exception as error:  # damaged content reaches NumPy's header parser, which raises whatever it stumbles over
        # NumPy takes what it does not know for pickles, and advises to load them.
        reason = "" if "pickle" in str(error) else f" ({error})"
        raise InputError(f"{path} is not a readable .npz without pickles{reason}; write it again") from error
    raise InputError(f"{path} holds a single array; expected an .npz with {', '.join(_REQUIRED)}")


def _check(name: str, array: NDArray[np.generic], kind: str, dimensions: int) -> None:
    kinds = {"f": "float", "i": "integer", "U": "unicode"}
    if array.dtype.kind != kind or array.ndim != dimensions:
        raise InputError(
            f"embeddings: {name} is {array.ndim}-D of type {array.dtype}; expected {dimensions}-D {kinds[kind]}"
        )
