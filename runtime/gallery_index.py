"""A gallery on the disk, opened for searching: a folder with an index, a table of its entries and a manifest."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .gallery import Gallery, Matches
from .gallery_entries import GalleryEntries
from .gallery_files import check_file
from .gallery_manifest import MANIFEST_NAME, GalleryManifest, ModelIdentity
from .gallery_vectors import Neighbours, VectorIndex, normalised
from .manifest import Manifest

# A gallery that is changed faster than it can be opened is not one that this is for.
_ATTEMPTS = 5


@dataclass(frozen=True)
class GalleryIndex:
    """Embeddings of known people, searched by cosine similarity.

    Example:
        gallery = GalleryIndex.open(Path("people"))
        gallery.check_model(embedder.manifest)
        found = gallery.search(embedder.embed(crops, "BGR"), count=10)
        names = gallery.entries.person_names[found.rows]

    Attributes:
        path: the folder.
        manifest: what it is.
        entries: what is known of each embedding.
        vectors: the embeddings.
    """

    path: Path
    manifest: GalleryManifest
    entries: GalleryEntries
    vectors: VectorIndex

    @classmethod
    def open(cls, path: Path, *, mapped: bool = True, whole: bool = False) -> "GalleryIndex":
        """Open a gallery; it stays as it was opened when it is changed later.

        Args:
            path: its folder.
            mapped: leave the embeddings on the disk and read what a search needs.
            whole: read every file to its end and compare its hash, instead of a sample.

        Raises:
            InputError: there is none, or its files are damaged or do not belong together.
            MissingDependencyError: FAISS is not installed.
        """
        path = Path(path)
        if not (path / MANIFEST_NAME).is_file():
            raise InputError(
                f"{path} is not a gallery: it has no {MANIFEST_NAME}; expected a folder of `lgeu gallery build`"
            )
        for _ in range(_ATTEMPTS):
            manifest = GalleryManifest.read(path)
            try:
                return cls._open(path, manifest, mapped, whole)
            except FileNotFoundError as error:
                missing = error.filename
                if GalleryManifest.read(path).generation == manifest.generation:
                    break
        raise InputError(
            f"gallery {path} lacks {missing}, which its {MANIFEST_NAME} names; copy the whole folder again"
        )

    @classmethod
    def _open(cls, path: Path, manifest: GalleryManifest, mapped: bool, whole: bool) -> "GalleryIndex":
        index = check_file(path, manifest.index, whole=whole)
        entries = GalleryEntries.load(check_file(path, manifest.table, whole=whole))
        vectors = VectorIndex.open(index, manifest.lists, mapped=mapped)
        sizes = len(vectors), len(entries), vectors.size
        if sizes != (manifest.entries, manifest.entries, manifest.model.embedding_size):
            raise InputError(
                f"gallery {path} does not fit together: {sizes[0]} embeddings of {sizes[2]} elements, a table of "
                f"{sizes[1]}, and a manifest of {manifest.entries} of {manifest.model.embedding_size}; build it again"
            )
        return cls(path, manifest, entries, vectors)

    def __len__(self) -> int:
        return len(self.entries)

    def check_model(self, manifest: Manifest) -> None:
        """Refuse a model that is not the gallery's.

        Raises:
            ManifestError: its weights or its input are others, or not known.
        """
        self.check_identity(ModelIdentity.of(manifest, "the model"))

    def check_identity(self, model: ModelIdentity) -> None:
        """`check_model` where only the identity is at hand."""
        self.manifest.model.check(model, str(self.path))

    def search(self, features: NDArray[np.float32], count: int = 10) -> Neighbours:
        """The nearest entries to each of (N, D) `features`, which need not be of length 1.

        Args:
            features: the queries.
            count: entries for each; fewer where the gallery has not as many.

        Raises:
            InputError: D is not the gallery's, a query is zero or not finite, or `count` is not positive.
        """
        if features.ndim != 2 or features.shape[1] != self.vectors.size:
            raise InputError(
                f"queries have shape {features.shape}; expected (N, {self.vectors.size}), as gallery {self.path} has"
            )
        if count < 1:
            raise InputError(f"{count} results were asked for; expected at least 1")
        return self.vectors.search(normalised(features, "the queries"), count)

    def nearest(self, features: NDArray[np.float32]) -> Matches:
        """The entry nearest to each of (N, D) `features`; see `search`."""
        found = self.search(features, 1)
        rows = found.rows[:, 0]
        entries = self.entries
        return Matches(entries.person_ids[rows], found.scores[:, 0], entries.names[rows], entries.person_names[rows])


def open_gallery(path: Path) -> Gallery | GalleryIndex:
    """Open a gallery folder, or an embeddings file (.npz) as a gallery.

    Raises:
        InputError: it is neither, or damaged.
        MissingDependencyError: it is a folder, and FAISS is not installed.
    """
    return GalleryIndex.open(path) if Path(path).is_dir() else Gallery.load(path)
