"""The nearest known identity of an embedding."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .embeddings import MANIFEST_NAME, UNKNOWN_PERSON, Embeddings, read_manifest
from .errors import InputError
from .gallery_entries import known_people
from .gallery_manifest import ModelIdentity
from .gallery_vectors import normalised
from .manifest import Manifest

# Rows compared at a time, so that memory does not grow with the number of queries.
_CHUNK = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Matches:
    """The nearest gallery entry of each of N embeddings.

    Attributes:
        person_ids: (N,) int64; -2 for who is unknown.
        scores: (N,) float32, cosine similarity in -1..1, also of who is unknown.
        names: (N,) unicode, of the gallery entries; "" for who is unknown.
        person_names: (N,) unicode; "" for who has none or is unknown.
    """

    person_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    names: NDArray[np.str_]
    person_names: NDArray[np.str_]

    def take(self, rows: NDArray[np.int64]) -> "Matches":
        """Those of some rows, in their order."""
        return Matches(self.person_ids[rows], self.scores[rows], self.names[rows], self.person_names[rows])

    def known_from(self, threshold: float) -> "Matches":
        """The same, with everyone unknown whose score is below `threshold`."""
        known = self.scores >= threshold
        return Matches(
            person_ids=np.where(known, self.person_ids, UNKNOWN_PERSON),
            scores=self.scores,
            names=np.where(known, self.names, ""),
            person_names=np.where(known, self.person_names, ""),
        )


class Gallery:
    """Embeddings of known people in a file, who have no names; exact search by cosine similarity, without FAISS."""

    def __init__(self, embeddings: Embeddings, source: str, model: Manifest | None = None) -> None:
        """Keep the entries of `embeddings` that name somebody: junk and distractors are left out.

        Args:
            embeddings: G entries of D dimensions.
            source: where they came from, for errors.
            model: that made them; None where that is not known.

        Raises:
            InputError: a person is unknown, nobody is left, or an embedding is zero or not finite.
        """
        known = known_people(embeddings, source)
        self._source = source
        self._model = model
        self._ids = embeddings.person_ids[known]
        self._names = embeddings.names[known]
        self._features = normalised(embeddings.features[known], f"gallery {source}")

    @classmethod
    def load(cls, path: Path) -> "Gallery":
        """Read an embeddings file, and what its model is where `manifest.json` beside it says so.

        Raises:
            InputError: it is not one, or not one of known people.
            ManifestError: the manifest is not valid.
        """
        return cls(Embeddings.load(path), str(path), read_manifest(Path(path).parent))

    def check_size(self, size: int) -> None:
        """Refuse embeddings of `size` dimensions where the gallery's have others.

        Raises:
            InputError: they differ.
        """
        if size != self._features.shape[1]:
            raise InputError(
                f"gallery {self._source} holds embeddings of size {self._features.shape[1]}, and the model gives "
                f"{size}; make the gallery with the same model"
            )

    def check_model(self, manifest: Manifest) -> None:
        """Refuse a model that did not make the gallery; with a warning where only the size of its embeddings is known.

        Raises:
            InputError: the sizes differ.
            ManifestError: weights or input of the model are others than the gallery's, or either is not known.
        """
        self.check_size(manifest.embedding_size)
        if self._model is None:
            logger.warning(
                "warning: gallery %s has no %s beside it that says which model made it; were it another, the people "
                "found in it would be wrong",
                self._source,
                MANIFEST_NAME,
            )
            return
        made = ModelIdentity.of(self._model, f"gallery {self._source} ({MANIFEST_NAME} beside it)")
        made.check(ModelIdentity.of(manifest, "the model"), self._source)

    def nearest(self, features: NDArray[np.float32]) -> Matches:
        """The gallery entry with the largest cosine similarity to each of (N, D) `features`.

        Raises:
            InputError: D is not the gallery's, or a query is zero or not finite.
        """
        self.check_size(features.shape[1])
        rows = np.empty(len(features), np.int64)
        scores = np.empty(len(features), np.float32)
        for start in range(0, len(features), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            similarity = normalised(features[chunk], "the queries", start) @ self._features.T
            rows[chunk] = similarity.argmax(axis=1)
            scores[chunk] = similarity.max(axis=1)
        return Matches(self._ids[rows], scores, self._names[rows], np.full(len(rows), ""))
