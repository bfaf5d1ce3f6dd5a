"""Making a gallery and changing it: each change takes effect at once, or not at all."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ManifestError
from .gallery_entries import GalleryEntries
from .gallery_files import locked, remove_others, write_file
from .gallery_index import GalleryIndex
from .gallery_ivf import EXACT_BELOW, make_lists
from .gallery_manifest import MANIFEST_NAME, GalleryManifest, ModelIdentity, OpenSetThreshold
from .gallery_vectors import FetchRows, VectorIndex, load_faiss, rows_of

# Lists that were made of fewer than half of the entries they hold are made anew.
_GROWTH = 2


def build_gallery(
    path: Path, features: NDArray[np.float32], entries: GalleryEntries, model: ModelIdentity
) -> GalleryManifest:
    """Make a gallery.

    Args:
        path: its folder, made where it does not exist.
        features: (N, D) float, memory-mapped or not, of any lengths.
        entries: what is known of each.
        model: that made the features.

    Raises:
        InputError: there is a gallery already, the arguments do not fit together, or it cannot be written.
        MissingDependencyError: FAISS is not installed.
    """
    _check_fit(features, entries, model)
    with locked(path):
        if (path / MANIFEST_NAME).exists():
            raise InputError(f"{path} is a gallery already; add to it with `lgeu gallery add`, or name another folder")
        vectors = _make(rows_of(features, "the embeddings"), len(features), features.shape[1])
        return _commit(path, vectors, entries, model, generation=1, threshold=None)


def add_to_gallery(
    path: Path, features: NDArray[np.float32], entries: GalleryEntries, model: ModelIdentity
) -> GalleryManifest:
    """Append entries to a gallery; arguments as in `build_gallery`.

    Raises:
        InputError: there is no gallery, it is another model's, the arguments do not fit together or to it (a person has
            two names, or a name two persons), or it cannot be written.
    """
    _check_fit(features, entries, model)
    with _locked_gallery(path):
        gallery = GalleryIndex.open(path, mapped=False)
        gallery.check_identity(model)
        together = GalleryEntries.concatenate([gallery.entries, entries])
        vectors = _extend(gallery.vectors, rows_of(features, "the embeddings"), len(features))
        return _change(gallery, vectors, together)


def remove_person(path: Path, person_id: int) -> GalleryManifest:
    """Remove all entries of a person, and what the index learned from them: it is made anew from the others.

    Raises:
        InputError: there is no such gallery or person, nobody else is in it, or it cannot be written.
    """
    with _locked_gallery(path):
        gallery = GalleryIndex.open(path)
        kept = np.flatnonzero(gallery.entries.person_ids != person_id)
        if len(kept) == len(gallery):
            raise InputError(f"gallery {path} has nobody with id {person_id}; `lgeu gallery info` lists who is in it")
        if not len(kept):
            raise InputError(f"gallery {path} holds nobody but person {person_id}; remove the whole folder instead")
        vectors = _make(lambda rows: gallery.vectors.fetch(kept[rows]), len(kept), gallery.vectors.size)
        return _change(gallery, vectors, gallery.entries.selected(kept))


def set_threshold(path: Path, threshold: OpenSetThreshold) -> GalleryManifest:
    """Keep an open-set threshold in the gallery's manifest.

    Raises:
        InputError: there is no such gallery, or it cannot be written.
    """
    with _locked_gallery(path):
        manifest = replace(GalleryManifest.read(path), threshold=threshold)
        manifest.write(path)
        return manifest


def _locked_gallery(path: Path) -> AbstractContextManager[None]:
    if not (path / MANIFEST_NAME).is_file():
        raise InputError(f"{path} is not a gallery: it has no {MANIFEST_NAME}; make one with `lgeu gallery build`")
    return locked(path)


def _make(fetch: FetchRows, count: int, size: int) -> VectorIndex:
    if count < EXACT_BELOW:
        return VectorIndex.exact(fetch, count, size)
    return make_lists(fetch, count, size)


def _extend(vectors: VectorIndex, fetch: FetchRows, count: int) -> VectorIndex:
    """The index with `count` more rows; made anew where it has outgrown what it was made for."""
    before, total = len(vectors), len(vectors) + count
    outgrown = total >= EXACT_BELOW if vectors.lists is None else total > _GROWTH * vectors.lists.trained_on
    if not outgrown:
        vectors.add(fetch, count)
        return vectors

    def fetch_any(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        split = int(np.searchsorted(rows, before))
        return np.concatenate([vectors.fetch(rows[:split]), fetch(rows[split:] - before)])

    return _make(fetch_any, total, vectors.size)


def _change(gallery: GalleryIndex, vectors: VectorIndex, entries: GalleryEntries) -> GalleryManifest:
    manifest = gallery.manifest
    return _commit(
        gallery.path,
        vectors,
        entries,
        manifest.model,
        generation=manifest.generation + 1,
        threshold=manifest.threshold,
    )


def _commit(
    path: Path,
    vectors: VectorIndex,
    entries: GalleryEntries,
    model: ModelIdentity,
    *,
    generation: int,
    threshold: OpenSetThreshold | None,
) -> GalleryManifest:
    index = write_file(path, f"index-{generation:06}.faiss", vectors.save)
    table = write_file(path, f"entries-{generation:06}.npz", entries.save)
    manifest = GalleryManifest(
        model=model,
        generation=generation,
        entries=len(entries),
        people=len(entries.people()),
        index=index,
        table=table,
        lists=vectors.lists,
        threshold=threshold,
        tools=_tools(),
    )
    manifest.write(path)
    remove_others(path, manifest)
    return manifest


def _tools() -> Mapping[str, str]:
    return {"faiss": str(load_faiss().__version__), "numpy": np.__version__}


def _check_fit(features: NDArray[np.float32], entries: GalleryEntries, model: ModelIdentity) -> None:
    load_faiss()  # before a folder is made
    if features.ndim != 2 or len(features) == 0 or len(features) != len(entries):
        raise InputError(
            f"embeddings have shape {features.shape} and the table {len(entries)} entries; expected (N, D) and N of at "
            "least 1"
        )
    if features.shape[1] != model.embedding_size:
        raise ManifestError(
            f"embeddings have {features.shape[1]} elements, and their model gives {model.embedding_size}; give the "
            "model that made them"
        )
