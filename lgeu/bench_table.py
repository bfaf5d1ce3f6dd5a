"""What `lgeu bench` measured, as plain text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.bench import Measurement

_HEADER = ("backend", "batch", "runs", "p50", "p90", "p99", "resize", "upload", "network", "download", "images/s")
_RUNTIMES = ("torch", "onnxruntime", "openvino", "tensorrt")


def table(measurements: Sequence[Measurement], about: Mapping[str, Any], not_run: Sequence[str]) -> str:
    """The measurements, what they were made on and what was left out.

    Args:
        measurements: a line each.
        about: the machine, the versions and the load, as `lgeu bench --json` writes them.
        not_run: backends that could not be measured, with the reason.
    """
    rows = [_HEADER, *map(_row, measurements)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["times in milliseconds a batch; images/s of a stream, where the stages overlap"]
    lines += [_line(row, widths) for row in rows]
    return "\n".join([*lines, *_about(about), *(f"not run: {reason}" for reason in not_run)])


def _row(each: Measurement) -> tuple[str, ...]:
    times = (each.p50, each.p90, each.p99, each.preprocessing, each.upload, each.compute, each.download)
    shown = ["-" if time is None else f"{time:.2f}" for time in times]
    return (each.backend, str(each.batch), str(each.runs), *shown, f"{each.images_per_second:.1f}")


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = row
    return "  ".join([name.ljust(widths[0]), *map(str.rjust, numbers, widths[1:])])


def _about(about: Mapping[str, Any]) -> list[str]:
    machine, versions = about["machine"], about["versions"]
    load = "" if about["load"] is None else f", load {about['load']} before the start"
    runtimes = [f"{name} {version}" for name, version in versions.items() if name.startswith(_RUNTIMES)]
    return [
        f"{machine['processor']}, {machine['cores']} cores ({about['threads']} threads for a network on the CPU){load}",
        ", ".join(runtimes),
    ]
