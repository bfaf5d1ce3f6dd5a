"""Made-up descriptors in the number and length of a large gallery's, on the disk because they outgrow memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.files import atomic_path

ELEMENTS = 2048
PEOPLE_EACH = 20  # pictures of a person
_LATENT = 48
_CAMERAS = 15
_LOOKALIKES = 6
_BLOCK = 16_384
_GALLERY, _QUERIES = "descriptors.npy", "queries.npy"


def make(work: Path, count: int, queries: int, seed: int = 0) -> None:
    """Write `count` descriptors and `queries` more of the same people into `work`, unless they are there.

    Made as those of `evaluation_features`: a person is one of a group of look-alikes; a picture is its person, plus
    what its camera adds, plus noise of which some have more. People follow each other in the gallery.
    """
    work.mkdir(parents=True, exist_ok=True)
    if (work / _QUERIES).exists() and load(work)[0].shape == (count, ELEMENTS):
        return
    random = np.random.default_rng(seed)
    people = -(-count // PEOPLE_EACH)
    draw = _model(random, people)
    with atomic_path(work / _GALLERY) as path:
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, ELEMENTS))
        for start in range(0, count, _BLOCK):
            out[start : start + _BLOCK] = draw(np.arange(start, min(start + _BLOCK, count)) // PEOPLE_EACH)
        out.flush()
    with atomic_path(work / _QUERIES) as path:
        np.save(path, draw(random.integers(people, size=queries)))


def load(work: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The descriptors, memory-mapped, and the queries; rows of length 1."""
    return np.load(work / _GALLERY, mmap_mode="r"), np.load(work / _QUERIES)


def _model(random: np.random.Generator, people: int) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    groups = random.standard_normal((max(2, people // _LOOKALIKES), _LATENT))
    persons = groups[random.integers(len(groups), size=people)] + random.standard_normal((people, _LATENT))
    cameras = 0.5 * random.standard_normal((_CAMERAS, _LATENT))
    basis = (random.standard_normal((_LATENT, ELEMENTS)) / np.sqrt(_LATENT)).astype(np.float32)

    def draw(person: NDArray[np.int64]) -> NDArray[np.float32]:
        quality = random.choice([0.6, 0.6, 0.8, 0.8, 1.0, 1.3, 1.7], size=(len(person), 1))
        noise = quality * random.standard_normal((len(person), _LATENT))
        latent = persons[person] + cameras[random.integers(_CAMERAS, size=len(person))] + noise
        features = latent.astype(np.float32) @ basis
        features += 0.3 * random.standard_normal(features.shape, dtype=np.float32)
        return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)

    return draw
