"""Where the files of a data set lie: a folder or a zip, read the same way.

Neither keeps an open file, so both can be used from several threads and processes and be sent to another process.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from runtime.errors import InputError
from runtime.files import require_file
from runtime.images import is_image_name

# A file of this name anywhere in a data set says that its people were drawn.
SYNTHETIC_MARKER = "SYNTHETIC.txt"

_TEXT = ".txt"

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of the name, length of the extra field
_RAW_DEFLATE = -15


@dataclass(frozen=True)
class Folder:
    """Files below a folder.

    Attributes:
        path: the folder.
        names: of the images below it, relative to it, with "/" between parts, sorted.
        others: of the other files, likewise.
        synthetic: whether a marker lies below it.
    """

    path: Path
    names: tuple[str, ...]
    others: tuple[str, ...]
    synthetic: bool

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InputError: the file cannot be read.
        """
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {self.path / name}: {error.strerror}; put the file back") from error

    def fingerprint(self, name: str) -> str:
        """Changes when the file's content does: its size and when it was written; it is not read.

        Raises:
            InputError: there is no such file.
        """
        try:
            status = (self.path / name).stat()
        except OSError as error:
            raise InputError(f"cannot read {self.path / name}: {error.strerror}; put the file back") from error
        return f"{status.st_size} bytes, {status.st_mtime_ns} ns"


@dataclass(frozen=True)
class Member:
    """Where one file lies in a zip: `offset` of its local header, its compressed size, its method and checksum."""

    offset: int
    compressed_size: int
    method: int
    crc: int


@dataclass(frozen=True)
class Archive:
    """Files in a zip, stored or deflated.

    Attributes:
        path: the zip.
        members: what can be read, the images and the text files, by name.
        names: of the images, sorted.
        others: of the other files, likewise.
        synthetic: whether a marker is in it.
    """

    path: Path
    members: Mapping[str, Member]
    names: tuple[str, ...]
    others: tuple[str, ...]
    synthetic: bool

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InputError: it is not in the zip, or the zip is damaged there.
        """
        member = self._member(name)
        try:
            with self.path.open("rb") as file:
                return _read_member(file, member)
        except (OSError, ValueError, struct.error, zlib.error) as error:
            raise InputError(f"{self.path} is damaged at {name} ({error}); copy or download it again") from error

    def fingerprint(self, name: str) -> str:
        """Changes when the file's content does: the zip's checksum of it; it is not read.

        Raises:
            InputError: it is not in the zip.
        """
        return f"crc32 {self._member(name).crc:08x}"

    def _member(self, name: str) -> Member:
        member = self.members.get(name)
        if member is None:
            raise InputError(f"{self.path} has no file {name}; was the data set opened from another file?")
        return member


Storage = Folder | Archive


def open_storage(path: Path) -> Storage:
    """List the files in a folder or zip.

    Args:
        path: a folder, or a file that is a zip.

    Raises:
        InputError: there is nothing at `path`, it is neither, it is damaged or encrypted, something in it cannot be
            looked into, or the name of an image is not UTF-8.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"data set {path} does not exist; expected a folder or a .zip")
    return _open_folder(path) if path.is_dir() else _open_archive(path)


def _open_folder(path: Path) -> Folder:
    try:
        files = sorted(_files_below(path, "", frozenset()))
    except OSError as error:
        raise InputError(
            f"cannot look into {error.filename}: {error.strerror}; repair it, or give a folder without it"
        ) from error
    images, others = _images_and_others(files)
    _require_unicode(images, path)
    return Folder(path, images, others, _is_synthetic(others))


def _files_below(folder: Path | str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Names of the files, and of links that lead nowhere, so that reading them says it.

    Linked folders are looked into, which pathlib's rglob does not do, except one that is among those above it.
    """
    status = os.stat(folder)  # noqa: PTH116
    this = (status.st_dev, status.st_ino)
    if this in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir():
                yield from _files_below(entry.path, f"{name}/", above | {this})
            elif entry.is_file() or entry.is_symlink():
                yield name


def _require_unicode(names: Iterable[str], path: Path) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the file name {os.fsencode(name)!r} in {path} is not UTF-8, which reports are written in; rename it"
            ) from error


def _open_archive(path: Path) -> Archive:
    require_file(path, "data set")
    try:
        with zipfile.ZipFile(path) as archive:
            # Of a file that was put in twice, the later one is meant, as for every program that unpacks.
            latest = {entry.filename: entry for entry in archive.infolist() if not entry.filename.endswith("/")}
    except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeDecodeError) as error:
        raise InputError(
            f"data set {path} is neither a folder nor a whole .zip ({error}); if it is a zip, copy or download it "
            "again, or pack it anew"
        ) from error
    images, others = _images_and_others(sorted(latest))
    readable = (*images, *(name for name in others if name.endswith(_TEXT)))
    members = {name: _member(path, latest[name]) for name in readable}
    return Archive(path, members, images, others, _is_synthetic(others))


def _images_and_others(files: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    images = tuple(name for name in files if is_image_name(name))
    found = set(images)
    return images, tuple(name for name in files if name not in found)


def _is_synthetic(names: Iterable[str]) -> bool:
    return any(PurePosixPath(name).name == SYNTHETIC_MARKER for name in names)


def _member(path: Path, entry: zipfile.ZipInfo) -> Member:
    if entry.flag_bits & 1:
        raise InputError(f"{entry.filename} in {path} is encrypted; unpack it and give the folder")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{entry.filename} in {path} has compression method {entry.compress_type}; expected stored or deflated: "
            "unpack it and give the folder"
        )
    if entry.header_offset + entry.compress_size > path.stat().st_size:
        raise InputError(f"{path} is damaged: it ends before {entry.filename} does; copy or download it again")
    return Member(entry.header_offset, entry.compress_size, entry.compress_type, entry.CRC)


def _read_member(file: BinaryIO, member: Member) -> bytes:
    # zipfile shares one file position between threads and forked processes; this opens the file for each read instead.
    file.seek(member.offset)
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise ValueError("no file header where the directory says")
    file.seek(name_length + extra_length, 1)
    content = file.read(member.compressed_size)
    if member.method == zipfile.ZIP_DEFLATED:
        content = zlib.decompress(content, _RAW_DEFLATE)
    if zlib.crc32(content) != member.crc:
        raise ValueError("wrong checksum")
    return content
