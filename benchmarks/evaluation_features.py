"""What `evaluation.py` measures on: features made up here at the sizes of real data sets, or read from a file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import DISTRACTOR, JUNK, Embeddings
from runtime.errors import InputError
from runtime.files import require_file

_ARRAYS = ("qf", "q_pids", "q_cams", "gf", "g_pids", "g_cams")
_LATENT = 48
_BLOCK = 4096
_LOOKALIKES = 6


@dataclass(frozen=True)
class Size:
    """How many of what; the counts of images are those of the published data sets.

    Attributes:
        persons: identities that have queries.
        queries: query images.
        gallery: gallery images, distractors among them and junk not.
        cameras: at least 2.
        elements: length of a feature.
        distractors: gallery images of nobody.
        junk: gallery images beside `gallery` that evaluation leaves out.
    """

    persons: int
    queries: int
    gallery: int
    cameras: int
    elements: int = 2048
    distractors: int = 0
    junk: int = 0


SIZES = {
    "small": Size(24, 50, 300, 4, elements=128, distractors=40, junk=24),
    "market": Size(750, 3368, 15913, 6, distractors=2798, junk=3819),
    "msmt17": Size(3060, 11659, 82161, 15),
}


@dataclass(frozen=True)
class Problem:
    """Queries and the gallery they search."""

    query: Embeddings
    gallery: Embeddings

    def without_junk(self) -> "Problem":
        """The same, without the gallery's junk."""
        kept, gallery = np.flatnonzero(self.gallery.person_ids != JUNK), self.gallery
        return Problem(
            self.query, _embeddings(gallery.features[kept], gallery.person_ids[kept], gallery.camera_ids[kept])
        )

    def subset(self, queries: int | None, gallery: int | None) -> "Problem":
        """The first so many queries, and gallery images that are not junk; None for all of them, junk too."""
        searched = self if gallery is None else self.without_junk()
        return Problem(_first(self.query, queries), _first(searched.gallery, gallery))


def generate(size: Size, seed: int = 0) -> Problem:
    """Made-up features that are as hard to tell apart as a good model's; the accuracy on them means nothing.

    A person is one of a group of look-alikes; an image is its person, plus what its camera adds, plus noise of which
    some images have more. Low-dimensional at heart, as learned features are, with a little noise in every element.
    """
    random = np.random.default_rng(seed)
    groups = random.standard_normal((max(2, size.persons // _LOOKALIKES), _LATENT))
    persons = groups[random.integers(len(groups), size=size.persons)] + _noise(random, size.persons)
    cameras = 0.5 * _noise(random, size.cameras)
    basis = random.standard_normal((_LATENT, size.elements)) / np.sqrt(_LATENT)

    def images(person_ids: NDArray[np.int64], centres: NDArray[np.float64]) -> Embeddings:
        camera_ids = random.integers(size.cameras, size=len(person_ids))
        quality = random.choice([0.6, 0.6, 0.8, 0.8, 1.0, 1.3, 1.7], size=len(person_ids))
        latent = centres + cameras[camera_ids] + quality[:, None] * _noise(random, len(person_ids))
        return _embeddings(_features(random, latent, basis), person_ids, camera_ids + 1)

    asked = np.arange(size.queries) % size.persons
    query = images(asked + 1, persons[asked])
    shown = random.integers(size.persons, size=size.gallery - size.distractors + size.junk)
    strangers = groups[random.integers(len(groups), size=size.distractors)] + _noise(random, size.distractors)
    ids = np.concatenate([shown + 1, np.full(size.distractors, DISTRACTOR)])
    ids[: size.junk] = JUNK
    order = random.permutation(len(ids))
    return Problem(query, images(ids[order], np.concatenate([persons[shown], strangers])[order]))


def save(problem: Problem, path: Path) -> None:
    """Write for the processes that measure; `load` reads it."""
    query, gallery = problem.query, problem.gallery
    arrays = (
        query.features,
        query.person_ids,
        query.camera_ids,
        gallery.features,
        gallery.person_ids,
        gallery.camera_ids,
    )
    np.savez(path, **dict(zip(_ARRAYS, arrays, strict=True)))  # type: ignore[arg-type]


def load(path: Path) -> Problem:
    """Read an .npz with float features `qf` and `gf`, and integer `q_pids`, `q_cams`, `g_pids`, `g_cams`.

    Raises:
        InputError: there is no such file, or it lacks one of them.
    """
    with np.load(require_file(path, "feature set"), allow_pickle=False) as archive:
        if missing := [name for name in _ARRAYS if name not in archive.files]:
            raise InputError(f"{path} has no array {missing[0]!r}; expected {', '.join(_ARRAYS)}")
        arrays = [archive[name] for name in _ARRAYS]
    return Problem(_embeddings(*arrays[:3]), _embeddings(*arrays[3:]))


def describe(problem: Problem) -> dict[str, object]:
    """Counts, and a SHA-256 of every array."""
    query, gallery = problem.query, problem.gallery
    junk = int((gallery.person_ids == JUNK).sum())
    arrays = {
        f"{kind}.{name}": getattr(embeddings, name)
        for kind, embeddings in (("query", query), ("gallery", gallery))
        for name in ("features", "person_ids", "camera_ids")
    }
    return {
        "queries": len(query),
        "gallery": len(gallery) - junk,
        "junk": junk,
        "elements": query.features.shape[1],
        "sha256": {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()},
    }


def _embeddings(
    features: NDArray[np.float32], person_ids: NDArray[np.int64], camera_ids: NDArray[np.int64]
) -> Embeddings:
    return Embeddings(
        np.ascontiguousarray(features, np.float32),
        person_ids.astype(np.int64),
        camera_ids.astype(np.int64),
        np.full(len(features), ""),
    )


def _first(embeddings: Embeddings, count: int | None) -> Embeddings:
    if count is None:
        return embeddings
    if count > len(embeddings):
        raise InputError(f"the first {count} of {len(embeddings)} images were asked for; ask for at most all")
    # Copies, so that the rows left out do not stay in memory.
    return _embeddings(embeddings.features[:count].copy(), embeddings.person_ids[:count], embeddings.camera_ids[:count])


def _noise(random: np.random.Generator, rows: int) -> NDArray[np.float64]:
    return random.standard_normal((rows, _LATENT))


def _features(
    random: np.random.Generator, latent: NDArray[np.float64], basis: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Unit-length rows with a little noise in every element; by blocks, because float64 takes twice the memory."""
    features = np.empty((len(latent), basis.shape[1]), np.float32)
    for start in range(0, len(latent), _BLOCK):
        block = latent[start : start + _BLOCK] @ basis
        block += 0.3 * random.standard_normal(block.shape)
        features[start : start + _BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return features
