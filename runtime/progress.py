"""The one progress bar: on standard error, after two seconds, and only where a person is looking."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], description: str, *, total: int | None = None, unit: str = "it") -> "tqdm[T]":
    """Iterate over `items` and show how far along that is.

    Silent for the first two seconds and where standard error is not a terminal.
    """
    return tqdm(items, desc=description, total=total, unit=f" {unit}", delay=2.0, disable=None, dynamic_ncols=True)
