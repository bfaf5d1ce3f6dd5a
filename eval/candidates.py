"""What is compared with the reference: models, and embeddings that were computed elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.embedder import Embedder
from runtime.errors import InputError

from .exported import is_exported


@dataclass(frozen=True)
class Candidate:
    """A model to compare; opened when its turn comes."""

    name: str
    open: Callable[[], Embedder]


@dataclass(frozen=True)
class ExportedCandidate:
    """Embeddings that another program computed; see `eval.exported.read_exported`."""

    name: str
    path: Path


def candidate(
    path: Path, open_model: Callable[[Path], Embedder], name: str | None = None
) -> Candidate | ExportedCandidate:
    """Take a file for what its suffix says.

    Args:
        path: a model, or exported embeddings (a `.json` or a folder).
        open_model: opens a model.
        name: what to call it; None takes the file's name.

    Raises:
        InputError: there is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"candidate {path} does not exist; expected a model or exported embeddings")
    name = name or path.name
    return ExportedCandidate(name, path) if is_exported(path) else Candidate(name, lambda: open_model(path))


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Name each file by its own name, with as many folders before it as tell it from the others."""
    every = [Path(path).absolute().parts for path in paths]
    names = []
    for parts in every:
        others = [other for other in every if other != parts]
        lengths = (n for n in range(1, len(parts)) if all(other[-n:] != parts[-n:] for other in others))
        names.append(str(Path(*parts[-next(lengths, len(parts)) :])))
    return names
