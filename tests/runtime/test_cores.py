"""How many cores a process may use, from what the kernel says."""

import os
from pathlib import Path

import pytest

from runtime import cores
from runtime.cores import usable_cores


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight hardware threads on four cores, none of them limited."""
    topology, cgroups, own = tmp_path / "cpu", tmp_path / "cgroup", tmp_path / "own"
    for processor in range(8):
        folder = topology / f"cpu{processor}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{processor % 4},{processor % 4 + 4}\n")
    (cgroups / "user" / "job").mkdir(parents=True)
    own.write_text("0::/user/job\n")
    for name, value in (("_TOPOLOGY", topology), ("_CGROUPS", cgroups), ("_OWN_CGROUP", own)):
        monkeypatch.setattr(cores, name, value)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.usefixtures("kernel")
def test_hardware_threads_of_a_core_count_once() -> None:
    assert usable_cores() == 4


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("processors", "expected"), [({0}, 1), ({0, 4}, 1), ({0, 1, 4}, 2), ({0, 1, 2}, 3)])
def test_within_the_affinity(processors: set[int], expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: processors, raising=False)
    assert usable_cores() == expected


@pytest.mark.parametrize(
    ("group", "limit", "expected"),
    [
        ("user/job", "200000 100000", 2),
        ("user", "150000 100000", 2),
        (".", "50000 100000", 1),
        ("user/job", "max 100000", 4),
        ("user/job", "6400000 100000", 4),
        ("user/job", "nonsense", 4),
    ],
)
def test_within_the_quota_of_every_control_group_around(kernel: Path, group: str, limit: str, expected: int) -> None:
    (kernel / "cgroup" / group / "cpu.max").write_text(limit + "\n")
    assert usable_cores() == expected


def test_a_kernel_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_TOPOLOGY", "_CGROUPS", "_OWN_CGROUP"):
        monkeypatch.setattr(cores, name, tmp_path / "absent")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert usable_cores() == 3
