"""The files that a build writes: their names, and whether they may be written."""

from collections.abc import Iterable
from pathlib import Path

from runtime.errors import InputError
from runtime.files import check_target
from runtime.manifest import manifest_path

from .layers import layers_path

_SUFFIX = ".engine"


def engine_path(onnx_path: Path, out: Path | None) -> Path:
    """`out`, or the ONNX file's name with `.engine` where that is None.

    Raises:
        InputError: `out` ends otherwise.
    """
    return onnx_path.with_suffix(_SUFFIX) if out is None else check_engine_name(out)


def check_engine_name(engine: Path) -> Path:
    """Return the name of an engine if it is one by which every command knows it.

    Raises:
        InputError: it does not end in `.engine`.
    """
    if engine.suffix != _SUFFIX:
        raise InputError(f"{engine} is not a name for an engine; expected one that ends in {_SUFFIX}")
    return engine


def as_argument(path: Path) -> str:
    """A file's name for a command, which does not take it for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def check_distinct(engine: Path, timing_cache: Path | None, read: Iterable[Path]) -> None:
    """Refuse a file that a build would write in the place of another of its files.

    Args:
        engine: written with what lies beside it.
        timing_cache: written, too; None without one.
        read: what the engine is built from.

    Raises:
        InputError: two are one file.
    """
    taken = {path.resolve() for path in read}
    for path in _written(engine, timing_cache):
        if path.resolve() in taken:
            raise InputError(f"{path} would be written over another file of this very build; name another")
        taken.add(path.resolve())


def check_writable(engine: Path, timing_cache: Path | None) -> None:
    """Find out before a build that what it writes cannot be written; nothing is made.

    Raises:
        InputError: the engine, what lies beside it or the timing cache is a folder, or lies where none can be written.
    """
    for path in _written(engine, timing_cache):
        check_target(path)


def _written(engine: Path, timing_cache: Path | None) -> list[Path]:
    files = [engine, manifest_path(engine), layers_path(engine)]
    return files if timing_cache is None else [*files, timing_cache]
