"""The file in which TensorRT keeps kernel timings from build to build."""

import logging
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from runtime.files import write_bytes

logger = logging.getLogger(__name__)


def attach_timing_cache(config: Any, path: Path, library: str) -> None:
    """Give a build the timings in `path`. One that cannot be used is built anew, which is said.

    Args:
        config: an `IBuilderConfig`.
        path: of an earlier build; a new cache is begun where there is no such file.
        library: its name and version, for the log.

    Raises:
        InputError: the library takes no new cache either.
    """
    if not path.exists():
        logger.info("%s does not exist; a new timing cache is begun", path)
    elif (reason := _attach_file(config, path)) is None:
        return
    else:
        logger.warning("timing cache %s cannot be used by %s here (%s); it is built anew", path, library, reason)
    if not _attach(config, b""):
        raise InputError(f"{library} accepts no timing cache; leave --timing-cache out")


def save_timing_cache(config: Any, path: Path) -> None:
    """Write what a build knew and measured to `path`, atomically. Of two builds at once the last one's stays.

    A file that cannot be written is no reason for the build to fail, and is said.
    """
    try:
        write_bytes(path, bytes(config.get_timing_cache().serialize()))
    except InputError as error:
        logger.warning("the engine is built, and its timings are not kept: %s", error)


def _attach_file(config: Any, path: Path) -> str | None:
    """Why the file cannot be used; None where it is in use now."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__
    if not content:
        return "it is empty"
    if not _attach(config, content):
        return "it was written by another version or for another GPU, or is damaged"
    return None


def _attach(config: Any, content: bytes) -> bool:
    # A cache of another version is refused on creation, one of another GPU when it is set.
    cache = config.create_timing_cache(content)
    return cache is not None and bool(config.set_timing_cache(cache, False))
