"""Writing files so that a killed run leaves the old file or none, and naming files by their content."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError

_CHUNK = 1 << 20


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; put it in `path`'s place when the block ends without an exception.

    The temporary name keeps the suffix of `path`, because many libraries choose a format by it. What was written is
    flushed to the disk before the rename. After an exception the temporary file is gone and `path` is as it was.

    Raises:
        InputError: the parent folder cannot be created or written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.parent / f".{path.stem}.{secrets.token_hex(8)}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by tempfile: its files are private, and to read the umask is to set it for every thread.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}; name a folder that can be written to") from error
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def removed_path(path: Path) -> Iterator[None]:
    """Remove `path`, where there is such a file, when the block ends without an exception.

    For an output of an earlier run that this one does not write: entered after the `atomic_path`s of those it does,
    the old file goes once the new ones are complete, and before the first of them takes its place.

    Raises:
        InputError: it cannot be removed.
    """
    yield
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot remove {path}, which an earlier run left: {error.strerror}; remove it") from error


def check_folder(folder: Path) -> None:
    """Find out before long work that files cannot be written into `folder`; nothing is made.

    Raises:
        InputError: it, or the nearest folder above where it does not exist, is no folder or cannot be written to.
    """
    folder = Path(folder).absolute()
    # Not Path.exists: it raises where a folder above cannot be looked into.
    nearest = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {folder}: {nearest} is no folder that can be written to; name another")


def check_target(path: Path) -> None:
    """Find out before long work that `atomic_path` would fail; nothing is made.

    Raises:
        InputError: `path` is a folder, or as `check_folder` for the one it will lie in.
    """
    if Path(path).is_dir():
        raise InputError(f"cannot write {path}: it is a folder; name a file")
    check_folder(Path(path).parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` atomically as indented JSON; NaN and infinity are refused, JSON has neither."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class FileIdentity:
    """Which file it is.

    Attributes:
        path: as it was given.
        size: in bytes.
        sha256: of its content, in hexadecimal.
    """

    path: str
    size: int
    sha256: str


def identify(path: Path, what: str) -> FileIdentity:
    """Size and hash of a file.

    Raises:
        InputError: as `require_file`.
    """
    path = require_file(path, what)
    return FileIdentity(str(path), path.stat().st_size, sha256(path))


def require_file(path: Path, what: str) -> Path:
    """Return `path` if it is a file with content.

    Raises:
        InputError: it is missing, a folder, another thing that is no file (a device, a pipe), or empty.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{what} {path} does not exist; check the path")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "a device or a pipe"
        raise InputError(f"{what} {path} is {kind}; a file was expected")
    if path.stat().st_size == 0:
        raise InputError(f"{what} {path} is empty; it was probably not written to its end: make it again")
    return path


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
