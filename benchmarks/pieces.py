"""Figures that are measured piece by piece: what an earlier run left, and may be gone on from."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.errors import InputError


def done_before(path: Path, report: dict[str, Any], same: Sequence[str]) -> dict[str, Any]:
    """The pieces of an earlier run under the same circumstances.

    Args:
        path: its report, or nothing yet.
        report: of the run that begins.
        same: entries of a report that pieces in one file have in common.

    Raises:
        InputError: the file holds something else, or pieces measured under other circumstances.
    """
    if not path.exists():
        return {}
    try:
        earlier = json.loads(path.read_text())
        pieces: dict[str, Any] = earlier["pieces"]
        others = [name for name in same if earlier[name] != report[name]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no pieces that this wrote ({error!r}); name another file") from error
    if others:
        raise InputError(
            f"{path} holds pieces measured with other {', '.join(others)}, which do not go with what is measured now; "
            "name another file"
        )
    return pieces
