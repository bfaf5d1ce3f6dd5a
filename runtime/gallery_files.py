"""The files of a gallery: changed all at once or not at all, and never mixed with another gallery's.

A change writes new files beside the old ones, then the manifest that names them, then removes the old ones. Whoever
reads meanwhile, or after a run that was killed, finds the old manifest with the old files or the new with the new.
"""

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError
from .files import atomic_path, sha256
from .gallery_manifest import MANIFEST_NAME, GalleryManifest, StoredFile

_LOCK = ".lock"
_OURS = ("index-[0-9]*.faiss", "entries-[0-9]*.npz")
_BLOCK = 1 << 16
_BLOCKS = 64


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the gallery while the block runs.

    Raises:
        InputError: another process is changing it, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise InputError(f"cannot write gallery {folder}: {error.strerror}; name a folder to write to") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"gallery {folder} is being changed by another process; try again later") from error
        yield


def write_file(folder: Path, name: str, write: Callable[[Path], None]) -> StoredFile:
    """Write a file of a gallery; the manifest does not name it yet.

    Args:
        folder: the gallery's.
        name: of the file.
        write: writes the content to the path given.

    Raises:
        InputError: it cannot be written, for instance because the disk is full.
    """
    path = folder / name
    with atomic_path(path) as temporary:
        write(temporary)
    return StoredFile(name, path.stat().st_size, sha256(path), sample_sha256(path))


def remove_others(folder: Path, manifest: GalleryManifest) -> None:
    """Remove what earlier generations and runs that were killed left.

    Raises:
        InputError: a file cannot be removed.
    """
    current = {manifest.index.name, manifest.table.name}
    for path in (path for pattern in _OURS for path in (*folder.glob(pattern), *folder.glob(f".{pattern}"))):
        if path.name in current:
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"gallery {folder} was changed, but {path.name} of before cannot be removed ({error.strerror}); it "
                "still holds people's embeddings: remove it"
            ) from error


def check_file(folder: Path, stored: StoredFile, *, whole: bool = False) -> Path:
    """The path of a file of a gallery, if it is the one that the manifest names.

    Args:
        folder: the gallery's.
        stored: what the manifest says of it.
        whole: read it to its end; otherwise size and a sample of it are compared.

    Raises:
        FileNotFoundError: it is missing, which may mean that the gallery was changed meanwhile.
        InputError: it is another file, or damaged.
    """
    path = folder / stored.name
    size = path.stat().st_size
    if size != stored.size:
        raise InputError(
            f"{path} has {size:,} bytes, and the gallery's {MANIFEST_NAME} promises {stored.size:,}; it was not copied "
            "to its end or is another gallery's: copy the whole folder again"
        )
    same = sha256(path) == stored.sha256 if whole else sample_sha256(path) == stored.sample_sha256
    if not same:
        raise InputError(
            f"{path} is not the file that the gallery's {MANIFEST_NAME} names: its content has another SHA-256; it is "
            "damaged or another gallery's: copy the whole folder again"
        )
    return path


def sample_sha256(path: Path) -> str:
    """SHA-256 of up to 64 blocks of 64 KiB, spread evenly from the first to the last; of all of a file up to 4 MiB.

    Files are memory-mapped so as not to be read whole. This tells generations and galleries apart, and covers the
    header that is parsed; it does not find every flipped bit.
    """
    size = path.stat().st_size
    last = max(size - _BLOCK, 0)
    digest = hashlib.sha256(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        for block in range(_BLOCKS):
            file.seek(last * block // (_BLOCKS - 1) if size > _BLOCK * _BLOCKS else block * _BLOCK)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()
