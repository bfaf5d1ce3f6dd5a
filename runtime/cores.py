"""How many processor cores this process may use."""

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Physical cores within the process's affinity (`taskset`) and its container's quota, at least 1.

    Two hardware threads of a core count once: they share its arithmetic units, which is what a network waits for.
    """
    return max(1, min(_physical_cores(_affinity(), _TOPOLOGY), _quota(_CGROUPS, _OWN_CGROUP)))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _physical_cores(processors: set[int], topology: Path) -> int:
    try:
        return len({(topology / f"cpu{n}/topology/thread_siblings_list").read_text() for n in processors})
    except OSError:  # not Linux, or hidden from this container
        return len(processors)


def _quota(cgroups: Path, own: Path) -> int:
    """Cores' worth of time a second that the process's control groups (version 2) allow, rounded up."""
    try:
        (name,) = (line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, ValueError):
        name = "/"
    group = cgroups / name.lstrip("/")
    limits = [_limit(folder / "cpu.max") for folder in (group, *group.parents) if folder.is_relative_to(cgroups)]
    return min(limits)


def _limit(file: Path) -> int:
    try:
        quota, period = file.read_text().split()
    except (OSError, ValueError):
        quota, period = "max", "1"
    unlimited = os.cpu_count() or 1
    return unlimited if quota == "max" else -(-int(quota) // int(period))
