"""The one progress bar: on standard error, after two seconds, and only where a person is looking."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from tqdm import tqdm

from .console import speaks_for_all

T = TypeVar("T")

_REFRESH_SECONDS = 0.5


def progress(items: Iterable[T], description: str, *, total: int | None = None, unit: str = "it") -> "tqdm[T]":
    """Iterate over `items` and show how far along that is.

    Silent for the first two seconds, where standard error is not a terminal, and in all but the first of the processes
    that were launched together.
    """
    disable = None if speaks_for_all() else True
    return tqdm(items, desc=description, total=total, unit=f" {unit}", delay=2.0, disable=disable, dynamic_ncols=True)


def pipeline_progress(
    frames: Iterable[T],
    total: int | None,
    people_on: Callable[[T], int],
    busy: Callable[[], Mapping[str, float]],
    passed_over: Callable[[], int],
) -> Iterator[T]:
    """Iterate over frames and show frames and people a second, and the share of its time that each stage works.

    Frames that were passed over are shown where there are any.

    Args:
        frames: of a pipeline.
        total: how many there will be; None where that is not known.
        people_on: how many people are on a frame.
        busy: seconds that each stage worked so far.
        passed_over: how many frames were, so far.
    """
    bar = progress(frames, "embedding", total=total, unit="frame")
    started = shown = time.perf_counter()
    people = 0
    for frame in bar:
        people += people_on(frame)
        now = time.perf_counter()
        if not bar.disable and now - shown >= _REFRESH_SECONDS:
            shown = now
            seconds = now - started
            parts = [f"{people / seconds:.0f} people/s", describe_shares(busy(), seconds)]
            if number := passed_over():
                parts.append(f"{number} passed over")
            bar.set_postfix_str(" | ".join(parts), refresh=False)
        yield frame


def describe_shares(busy: Mapping[str, float], seconds: float) -> str:
    """`decode 12% detect 88% ...`: the share of so many seconds that each stage worked."""
    return " ".join(f"{name} {min(100 * worked / max(seconds, 1e-9), 100):.0f}%" for name, worked in busy.items())
