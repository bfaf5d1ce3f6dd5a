"""What a command writes must not be what fails at its end, and must not replace what it reads."""

from collections.abc import Sequence
from pathlib import Path

from runtime.errors import InputError
from runtime.files import check_target
from runtime.manifest import manifest_path


def check_outputs(outputs: Sequence[Path | None], inputs: Sequence[Path | None]) -> None:
    """Refuse, before the work, outputs that cannot be written or that are read.

    Args:
        outputs: files; None for what was not asked for.
        inputs: files and folders, likewise. With an engine, the manifest beside it is one.

    Raises:
        InputError: see `check_target`; or an output is an input, or another output.
    """
    taken = {path.resolve() for given in inputs if given is not None for path in _read_with(given)}
    for path in outputs:
        if path is None:
            continue
        check_target(path)
        if path.resolve() in taken:
            raise InputError(f"{path} is read, or written twice, by this very command; name another file or folder")
        taken.add(path.resolve())


def check_outside(out: Path, data: Path) -> None:
    """Refuse a folder for pictures that lies in a data set, whose images they would be taken for.

    Raises:
        InputError: it does.
    """
    if data.resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError(f"--out {out} lies in the data set {data}, whose images the pictures would be; name another")


def _read_with(path: Path) -> tuple[Path, ...]:
    return (path, manifest_path(path)) if path.suffix == ".engine" else (path,)
