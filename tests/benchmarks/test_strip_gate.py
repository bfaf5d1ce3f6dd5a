"""What the kernel's benchmark measures, what it holds results against, and what it refuses."""

import json
import os
import subprocess
import sys
import time
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import strip_gate
import strip_gate_timing
import torch
from strip_gate_cases import BATCHES, CHANNELS, REDUCTION, STRIPS, Case, all_cases, chosen
from strip_gate_library import FUSED, Device, StripGateLibrary, kernel_sources
from strip_gate_plans import alternatives
from strip_gate_torch import as_einsum, as_matrix_products, as_sums, in_float64

from runtime.errors import CheckFailedError, InputError, MissingDependencyError

HOPPER = Device(132, 8)
GATES = {"matrix products": as_matrix_products, "einsum": as_einsum, "sums": as_sums}


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.name for case in all_cases()]
    assert len(set(names)) == len(names) == len(BATCHES) * 8
    assert names[0] == "half nchw 8x4 batch 1"


@pytest.mark.parametrize(
    ("words", "count"),
    [([], 40), (["half"], 20), (["1"], 8), (["8"], 8), (["float", "nhwc", "16x8", "512"], 1), (["3"], 0)],
)
def test_cases_are_chosen_by_words(words: list[str], count: int) -> None:
    assert len(chosen(words)) == count


def test_bytes_are_those_of_x_the_weights_and_y() -> None:
    case = Case(batch=8, half=True, channels_last=False, height=8, width=4)
    assert case.moved_bytes == 2 * (8 * 2048 * 8 * 4 + 2 * 4 * 16 * 2048 + 8 * 2048)
    assert Case(8, False, True, 8, 4).moved_bytes == 2 * case.moved_bytes


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_what_a_graph_goes_through_is_more_than_any_cache_holds(case: Case) -> None:
    assert case.sets * case.moved_bytes > 100e6
    assert case.launches >= 20
    assert case.launches % case.sets == 0


@pytest.mark.parametrize("device", [HOPPER, Device(108, 1)], ids=["clusters", "no clusters"])
@pytest.mark.parametrize("batch", BATCHES)
def test_other_plans_can_be_launched_and_differ(
    kernel_on_the_cpu: StripGateLibrary, batch: int, device: Device
) -> None:
    shape = Case(batch, True, False, 8, 4).shape
    plans = alternatives(kernel_on_the_cpu, shape, device)
    assert len({bytes(plan) for plan in plans}) == len(plans) >= 8
    assert all(kernel_on_the_cpu.plan_refusal(shape, plan, device) is None for plan in plans)
    assert any(plan.method == FUSED and plan.slices > 1 for plan in plans) == (device.largest_cluster > 1)
    assert not any(plan.tile_images >= 2 * batch for plan in plans if plan.tile_images > 1)


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("gate", [*GATES, "in float64"])
def test_torch_computes_the_operator(gate: str, channels_last: bool) -> None:
    """Against the paper's own order: every strip is gated, then pooled."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, CHANNELS, 8, 4, generator=generator, dtype=torch.double)
    w1 = torch.randn(STRIPS, REDUCTION, CHANNELS, generator=generator, dtype=torch.double) / 8
    w2 = torch.randn(STRIPS, CHANNELS, REDUCTION, generator=generator, dtype=torch.double)
    gated = []
    for strip, squeeze, excite in zip(x.chunk(STRIPS, dim=2), w1, w2, strict=True):
        values = torch.sigmoid(torch.relu(strip.mean((2, 3)) @ squeeze.T) @ excite.T)
        gated.append(strip * values[:, :, None, None])
    expected = torch.cat(gated, dim=2).mean((2, 3))

    laid_out = x.permute(0, 2, 3, 1).contiguous() if channels_last else x
    y = (
        in_float64(laid_out, w1, w2, channels_last)
        if gate == "in float64"
        else GATES[gate](channels_last)(laid_out, w1, w2)
    )

    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("gpu", "sweep", "name"),
    [("NVIDIA H200", False, "strip_gate-h200"), ("NVIDIA H100 80GB HBM3", True, "strip_gate-sweep-h100-80gb-hbm3")],
)
def test_results_are_named_by_the_gpu(gpu: str, sweep: bool, name: str) -> None:
    assert strip_gate.default_out(gpu, sweep).name == f"{name}.json"


def test_a_library_that_is_not_there_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(
        MissingDependencyError, match=r"none\.so is not there; build it with: .*nvcc .*strip_gate_c_api"
    ):
        StripGateLibrary(tmp_path / "none.so")


def test_a_library_older_than_the_kernel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.so"
    path.touch()
    before = min(source.stat().st_mtime for source in kernel_sources()) - 1
    os.utime(path, (before, before))
    with pytest.raises(InputError, match="older than the kernel's sources; build it with"):
        StripGateLibrary(path)


def test_something_else_than_the_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.so"
    path.write_text("not a library")
    with pytest.raises(InputError, match="is no library of strip_gate_c_api"):
        StripGateLibrary(path)


def test_what_a_graph_uses_lives_as_long_as_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's graphs keep no tensors, and a copy into freed memory would be timed, and would spoil results."""
    monkeypatch.setattr(strip_gate_timing, "capture", lambda launch, numbers: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(strip_gate_timing, "_elapsed", lambda work: 1.0)
    tensor = torch.ones(1)
    alive = weakref.ref(tensor)

    timed = strip_gate_timing.prepare(partial(torch.Tensor.copy_, tensor), 1, 1)
    del tensor

    assert alive() is not None
    del timed
    assert alive() is None


def run(repository: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "benchmarks/strip_gate.py", *options]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


def test_without_a_gpu_one_line_says_so(repository: Path, has_gpu: bool, tmp_path: Path) -> None:
    if has_gpu:
        pytest.skip("there is a GPU")
    done = run(repository, "--out", str(tmp_path / "figures.json"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("strip_gate: error: torch ")
    assert "finds no GPU" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--only", "half", "float"], "no case has all of: half float"), (["--out", "."], "it is a folder; name a file")],
)
def test_what_cannot_be_measured_is_said_first(repository: Path, options: list[str], message: str) -> None:
    done = run(repository, *options)
    assert done.returncode == 2
    assert message in done.stderr


class RecordingBench:
    """Stands where a GPU would be: says which cases it was asked for, and takes its time."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def compare(self, case: Case) -> dict[str, float]:
        self.asked.append(case.name)
        return {"started": time.monotonic()}


def test_what_is_not_begun_in_time_is_left_for_another_run(tmp_path: Path) -> None:
    out, cases = tmp_path / "figures.json", chosen(["half", "nchw", "8x4"])
    bench, report = RecordingBench(), {"pieces": {}}
    with pytest.raises(CheckFailedError, match="5 pieces are left after -1 s; run again for them"):
        strip_gate.measure_all(bench, cases, SimpleNamespace(sweep=False, seconds=-1.0), report, out)
    strip_gate.measure_all(bench, cases, SimpleNamespace(sweep=False, seconds=60.0), report, out)
    assert bench.asked == [case.name for case in cases] == list(json.loads(out.read_text())["pieces"])
