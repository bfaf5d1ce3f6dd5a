"""Training images decoded once, for all runs: a memory-mapped file, whose pages processes share.

A cache is an `.npy` of the images and a JSON beside it that says what they are. Its name is a hash of that JSON, so
that other images, another size or another OpenCV make another file, and runs on all of them share a folder. Nothing
else in the project needs the folder; it may be removed at any time.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.datasets import Image, ReidDataset
from runtime.errors import InputError
from runtime.files import atomic_path, write_json

from .decoding import decode_into

LOGGER = logging.getLogger(__name__)

_VERSION = 1
_PREFIX = "training-images-"
_LOCK = ".lock"


def cached_images(
    folder: Path, dataset: ReidDataset, images: Sequence[Image], height: int, width: int
) -> NDArray[np.uint8]:
    """Images at the network's input size, from the cache; decoded into it where they are not there yet.

    Where several runs need the same images at once, one decodes and the others wait for it.

    Args:
        folder: of the cache; made if need be.
        dataset: where the images are read from.
        images: N of them.
        height: rows of the network's input.
        width: columns of the network's input.

    Returns:
        (N, height, width, 3) uint8, RGB, memory-mapped and read-only.

    Raises:
        InputError: an image is missing or cannot be read (it is named, and nothing is left in the cache), the images
            do not fit on the disk, or the folder cannot be written to.
    """
    content = _describe(dataset, images, height, width)
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    path = Path(folder) / f"{_PREFIX}{height}x{width}-{digest[:16]}.npy"
    if _reason_to_decode(path, content):
        with _locked(path.parent):
            # Another run may have finished it meanwhile.
            reason = _reason_to_decode(path, content)
            if reason:
                LOGGER.info("decoding %d training images into the cache %s: %s", len(images), path, reason)
                _write(path, content, dataset, images)
    return map_images(path)


def map_images(path: Path) -> NDArray[np.uint8]:
    """The images of a cache's `.npy`: (N, H, W, 3) uint8, memory-mapped and read-only."""
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return images


def _describe(dataset: ReidDataset, images: Sequence[Image], height: int, width: int) -> dict[str, Any]:
    return {
        "what": "training images of LGEU-ReID",
        "version": _VERSION,
        "shape": [len(images), height, width, 3],
        "pixels": "uint8, RGB, resized bilinearly",
        "opencv": cv2.__version__,
        "images": [[image.name, dataset.storage.fingerprint(image.name)] for image in images],
    }


def _reason_to_decode(path: Path, content: dict[str, Any]) -> str:
    """Why the cache cannot be used as it is; nothing if it can."""
    description = path.with_suffix(".json")
    if not (path.exists() and description.exists()):
        return "it does not hold them"
    try:
        if json.loads(description.read_text(encoding="utf-8")) != content:
            return f"{description.name} describes other images"
        found = map_images(path)
    except (OSError, ValueError, EOFError) as error:
        return f"it is damaged ({error})"
    if list(found.shape) != content["shape"] or found.dtype != np.uint8:
        return f"it is damaged (it holds {found.shape} {found.dtype})"
    return ""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one run at a time write to the cache; a run that was killed lets go of it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                LOGGER.info("waiting for another run, which is writing to the cache %s", folder)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise InputError(f"cannot write to the cache {folder}: {error}; name a folder on a local disk") from error


def _write(path: Path, content: dict[str, Any], dataset: ReidDataset, images: Sequence[Image]) -> None:
    for unfinished in path.parent.glob(f".{_PREFIX}*"):  # of a run that was killed; no other is writing
        unfinished.unlink()
    _check_space(path, content["shape"])
    with atomic_path(path) as temporary:
        pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, tuple(content["shape"]))
        _allocate(temporary)
        decode_into(pixels, dataset, images)
        pixels.flush()
    write_json(path.with_suffix(".json"), content)


def _check_space(path: Path, shape: Sequence[int]) -> None:
    needed, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"the cache of {shape[0]} images at {shape[1]}x{shape[2]} takes {needed / 1e9:.2f} GB; {path.parent} has "
            f"{free / 1e9:.2f} GB free: make room, name a folder on another disk, or train without a cache"
        )


def _allocate(path: Path) -> None:
    """Take the file's space on the disk: a full disk is an error here, but ends a process that writes to a mapping."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
