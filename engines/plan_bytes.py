"""What can be read of a plan without the library that built it: undocumented, and seen in TensorRT-RTX only."""

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

# What a plan holds in plain text of a plugin layer, and of nothing else: the name of the operator, and of an attribute
# that the plugin serialises.
_PLUGIN_TRACES = (b"StripGate", b"num_strips")

# The tags at the start of a plan end in these letters ("vtrt" and "ptrt" in TensorRT-RTX 1.7).
_TAG, _TAG_WITHIN = b"trt", 4096

# A shared library for the CPU: 64-bit, little-endian ELF of type DYN for x86-64 or aarch64. Kernels are ELF files, too,
# for a machine of their own.
_ELF, _DYNAMIC, _HOSTS = b"\x7fELF\x02\x01", 3, (62, 183)
_HEADER = 64


def missing_plugin_traces(path: Path) -> list[str]:
    """What an engine with a StripGate layer would hold in plain text and this file does not; empty where it does.

    A plugin library inside the plan holds the same text, and is not looked at.
    """
    plan = path.read_bytes()
    for start, end in reversed(list(_libraries(plan))):
        plan = plan[:start] + plan[end:]
    return [trace.decode() for trace in _PLUGIN_TRACES if trace not in plan]


def embedded_libraries(path: Path) -> tuple[str, ...]:
    """SHA-256 of every library for the CPU that lies in a plan as it was on disk."""
    plan = path.read_bytes()
    return tuple(hashlib.sha256(plan[start:end]).hexdigest() for start, end in _libraries(plan))


def looks_like_plan(path: Path) -> bool:
    """Whether a file starts as the plans that we know do."""
    with path.open("rb") as file:
        return _TAG in file.read(_TAG_WITHIN)


def _libraries(plan: bytes) -> Iterator[tuple[int, int]]:
    """Where libraries begin and end; one inside another is part of it."""
    start = plan.find(_ELF)
    while start >= 0:
        end = start + _library_size(plan[start : start + _HEADER])
        if start < end <= len(plan):
            yield start, end
        start = plan.find(_ELF, max(end, start + 1))


def _library_size(header: bytes) -> int:
    """Size of the library that begins with these bytes, which is where its table of sections ends; 0 if it is none."""
    if len(header) < _HEADER:
        return 0
    kind, machine = struct.unpack_from("<HH", header, 16)
    if kind != _DYNAMIC or machine not in _HOSTS:
        return 0
    (sections,) = struct.unpack_from("<Q", header, 40)
    entry_size, entries = struct.unpack_from("<HH", header, 58)
    return int(sections + entry_size * entries)
