"""The folder in which a run's files grow until all of them are complete."""

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from .errors import InputError

PREFIX = "unfinished-"

logger = logging.getLogger(__name__)


class UnfinishedFolder:
    """A folder inside the results' folder; its files take their places together, or not at all.

    A context manager: left with an exception, or without `put_in_place`, it is removed, and what was there before
    stays as it was. Only a killed run leaves it behind, with what was finished by then.

    Attributes:
        path: the folder.
    """

    def __init__(self, out: Path) -> None:
        """Make the folder in `out`, which is made where it does not exist.

        Raises:
            InputError: that cannot be written to.
        """
        self._out = Path(out)
        self._made_out = not self._out.exists()
        self._kept = False
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            for left in sorted(self._out.glob(f"{PREFIX}*")):
                logger.warning("warning: %s is what a killed run, or one that still goes on, has finished", left)
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._out))
        except OSError as error:
            raise InputError(
                f"cannot write to {out}: {error.strerror}; name a folder that can be written to"
            ) from error

    def put_in_place(self, names: Sequence[str], absent: Sequence[str]) -> None:
        """Move complete files into the results' folder.

        Args:
            names: of files, or folders, in this folder.
            absent: names of what an earlier run may have left there, which does not belong to this run's results.

        Raises:
            InputError: something cannot be moved or removed; an earlier run's files may then be gone.
        """
        try:
            for name in names:
                _flush(self.path / name)
            for name in absent:
                _remove(self._out / name)
            for name in names:
                if (self._out / name).is_dir():
                    _remove(self._out / name)
                (self.path / name).replace(self._out / name)
            self._made_out = False
        except OSError as error:
            raise InputError(f"cannot write to {self._out}: {error}; look at what is there") from error

    def keep(self) -> None:
        """Leave the folder where it is."""
        self._kept = True

    def __enter__(self) -> "UnfinishedFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._kept:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if self._made_out and self._out.is_dir() and not any(self._out.iterdir()):
            self._out.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    for file in path.iterdir() if path.is_dir() else [path]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
