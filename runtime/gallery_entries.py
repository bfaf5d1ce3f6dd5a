"""What is known of each embedding in a gallery."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .embeddings import DISTRACTOR, JUNK, UNKNOWN_PERSON, Embeddings
from .errors import InputError
from .files import require_file

_KINDS = {"person_ids": "i", "person_names": "U", "camera_ids": "i", "names": "U", "times": "f"}


@dataclass(frozen=True)
class GalleryEntries:
    """N entries of known people.

    Attributes:
        person_ids: (N,) int64, from 1.
        person_names: (N,) unicode; "" for a person who has none. A person has one name, and a name is one person's.
        camera_ids: (N,) int64; -1 unknown.
        names: (N,) unicode, of the pictures, e.g. file names.
        times: (N,) float64, seconds since 1970-01-01 UTC at which the pictures were taken; NaN unknown.
    """

    person_ids: NDArray[np.int64]
    person_names: NDArray[np.str_]
    camera_ids: NDArray[np.int64]
    names: NDArray[np.str_]
    times: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            array = getattr(self, name)
            if array.dtype.kind != kind or array.shape != (len(self.person_ids),):
                raise InputError(
                    f"gallery entries: {name} has type {array.dtype} and shape {array.shape}; expected kind {kind!r} "
                    f"and ({len(self.person_ids)},)"
                )
        if len(self) and self.person_ids.min() < 1:
            raise InputError(f"gallery entries: a person has id {self.person_ids.min()}; expected ids from 1")
        self.people()

    def __len__(self) -> int:
        return len(self.person_ids)

    def people(self) -> dict[int, str]:
        """The name of each person ("" for none), by ascending id.

        Raises:
            InputError: a person has two names, or a name two persons.
        """
        ids, first, inverse = np.unique(self.person_ids, return_index=True, return_inverse=True)
        names = self.person_names[first]
        differ = self.person_names != names[inverse]
        if differ.any():
            double = self.person_ids[differ.argmax()]
            raise InputError(f"person {double} has more than one name in the gallery; give each of them one")
        given, counts = np.unique(names[names != ""], return_counts=True)
        if (counts > 1).any():
            double = str(given[counts.argmax()])
            raise InputError(f"{double!r} is the name of more than one person in the gallery; give each another")
        return dict(zip(ids.tolist(), names.tolist(), strict=True))

    def find(self, person: str) -> int | None:
        """The id of the person who is called `person`, or else whose id it is; None where there is nobody."""
        people = self.people()
        by_name = {name: number for number, name in people.items() if name}
        if person in by_name:
            return by_name[person]
        return int(person) if person.isascii() and person.isdigit() and int(person) in people else None

    def selected(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "GalleryEntries":
        """The entries at `rows`."""
        return GalleryEntries(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    def save(self, path: Path) -> None:
        """Write to `path` (.npz), not atomically: see `gallery_files`."""
        with path.open("wb") as file:
            np.savez(file, **{each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "GalleryEntries":
        """Read from `path` (.npz).

        Raises:
            InputError: the file is missing, damaged, or lacks an array.
        """
        try:
            with np.load(require_file(path, "gallery table"), allow_pickle=False) as archive:
                return cls(**{each.name: archive[each.name] for each in fields(cls)})
        except InputError:
            raise
        except Exception as error:  # damaged content reaches NumPy's header parser, which raises whatever it meets
            raise InputError(f"{path} is not a readable gallery table ({error}); build the gallery again") from error

    @classmethod
    def concatenate(cls, parts: Sequence["GalleryEntries"]) -> "GalleryEntries":
        """Several of them, one after the other.

        Raises:
            InputError: together a person has two names, or a name two persons.
        """
        return cls(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)})


def known_people(embeddings: Embeddings, source: str) -> NDArray[np.bool_]:
    """(N,) which embeddings name somebody: junk and distractors do not.

    Args:
        embeddings: N of them.
        source: where they came from, for errors.

    Raises:
        InputError: a person is unknown, or nobody is left.
    """
    ids = embeddings.person_ids
    if unknown := int(np.count_nonzero(ids == UNKNOWN_PERSON)):
        raise InputError(
            f"gallery {source} has {unknown} of {len(ids)} entries with person {UNKNOWN_PERSON} (unknown); "
            "expected embeddings of people whose identity is known"
        )
    known = ~np.isin(ids, (JUNK, DISTRACTOR))
    if not known.any():
        raise InputError(f"gallery {source} names nobody: it has {len(ids)} entries, all junk or distractors")
    return known
