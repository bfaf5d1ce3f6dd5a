"""One case of `strip_gate.py`: checked, then timed."""

from dataclasses import dataclass, field
from typing import Any

import torch
from strip_gate_cases import CHANNELS, Case
from strip_gate_library import Device, Plan, StripGateLibrary
from strip_gate_plans import alternatives
from strip_gate_timing import (
    COPY_BYTES,
    Launch,
    Timed,
    poison,
    prepare,
    prepare_copy,
    replay_microseconds,
    side_by_side,
)
from strip_gate_torch import Gate, contenders, in_float64, make_inputs
from torch import Tensor

from runtime.errors import CheckFailedError

KERNEL, TWO_KERNELS, COPY = "StripGate", "StripGate, two kernels", "copy"

# As in the tests: of values around 1, half's own rounding, and that of sums of 2,048 in float.
_TOLERANCE = {True: 1e-3, False: 5e-6}
_SWEEP_ROUNDS = 5


class Buffers:
    """The sets of a case on the GPU, and the kernel's launches on them."""

    def __init__(self, library: StripGateLibrary, case: Case, workspace_bytes: int) -> None:
        self._library = library
        self._case = case
        self.inputs = [make_inputs(case, seed) for seed in range(case.sets)]
        dtype = self.inputs[0][0].dtype
        self.outputs = [torch.empty(case.batch, CHANNELS, dtype=dtype, device="cuda") for _ in self.inputs]
        self._workspace = torch.empty(max(1, workspace_bytes), dtype=torch.uint8, device="cuda")
        self._expected = {number: in_float64(*self.inputs[number], case.channels_last) for number in (0, case.sets - 1)}

    def launch(self, number: int, plan: Plan | None = None) -> None:
        """The kernel on one set, with its own plan or another."""
        x, w1, w2 = self.inputs[number]
        tensors = (x, w1, w2, self.outputs[number], self._workspace)
        self._library.launch(
            self._case.shape,
            self._case.types,
            plan,
            addresses=tuple(tensor.data_ptr() for tensor in tensors),  # type: ignore[arg-type]
            stream=torch.cuda.current_stream().cuda_stream,
        )

    def check(self, plan: Plan | None = None) -> float:
        """The largest error of the kernel on the first and on the last set, from outputs that were NaN.

        Raises:
            CheckFailedError: it is not within its tolerance.
        """
        poison(self.outputs)
        for number in self._expected:
            self.launch(number, plan)
        torch.cuda.synchronize()
        return self.check_outputs(plan)

    def check_outputs(self, plan: Plan | None = None) -> float:
        """The same of what the last launches left."""
        error = max(error_of(self.outputs[number], expected) for number, expected in self._expected.items())
        if not error <= _TOLERANCE[self._case.half]:  # a NaN is not
            raise CheckFailedError(
                f"{self._case.name}: the kernel is {error:.2g} off float64; allowed: {_TOLERANCE[self._case.half]:g}; "
                f"plan: {plan or 'its own'}"
            )
        return error

    def planned_launch(self, plan: Plan) -> Launch:
        """The kernel's launches with a plan."""
        return lambda number: self.launch(number, plan)

    def torch_launch(self, gate: Gate) -> Launch:
        """A contender's launches."""
        return lambda number: gate(*self.inputs[number])


@dataclass(frozen=True)
class Bench:
    """What measures cases.

    Attributes:
        library: the kernel.
        rounds: of which the median counts.
    """

    library: StripGateLibrary
    rounds: int
    device: Device = field(init=False)

    def __post_init__(self) -> None:
        torch.cuda.synchronize()  # makes the context in which the library finds itself
        object.__setattr__(self, "device", self.library.device())

    def compare(self, case: Case) -> dict[str, Any]:
        """The kernel beside torch and a copy, and as GPUs without clusters run it."""
        buffers = Buffers(self.library, case, self.library.workspace_bytes(case.shape, case.types))
        two_kernels = self.library.plan(case.shape, case.types, Device(self.device.multiprocessors, 1))
        error = max(buffers.check(), buffers.check(two_kernels))
        timed, not_measured = self._prepare(case, buffers, two_kernels)
        poison(buffers.outputs)
        microseconds = side_by_side(timed, self.rounds)
        buffers.check_outputs()
        poison(buffers.outputs)
        replayed = replay_microseconds(buffers.launch, case.sets, self.rounds)
        buffers.check_outputs()
        copied = 2 * COPY_BYTES / (microseconds.pop(COPY) * 1e-6)
        reached = case.moved_bytes / (microseconds[KERNEL] * 1e-6)
        torchs = [name for name in microseconds if name not in (KERNEL, TWO_KERNELS)]
        best = min(torchs, key=microseconds.__getitem__, default=None)
        return {
            "bytes": case.moved_bytes,
            "sets": case.sets,
            "plan": self.library.plan(case.shape, case.types, self.device).as_dict(),
            "plan of two kernels": two_kernels.as_dict(),
            "largest_error": error,
            "microseconds": microseconds,
            "replay_microseconds": replayed,
            "bytes_per_second": reached,
            "copy_bytes_per_second": copied,
            "share_of_copy": reached / copied,
            **({"best_of_torch": best, "torch / StripGate": microseconds[best] / microseconds[KERNEL]} if best else {}),
            **({"not_measured": not_measured} if not_measured else {}),
        }

    def sweep(self, case: Case) -> dict[str, Any]:
        """Every plan that can be launched, the kernel's own among them, fastest first."""
        own = self.library.plan(case.shape, case.types, self.device)
        plans = [own, *(plan for plan in alternatives(self.library, case.shape, self.device) if plan != own)]
        workspace = max(self.library.plan_workspace_bytes(case.shape, plan) for plan in plans)
        buffers = Buffers(self.library, case, workspace)
        microseconds = []
        for plan in plans:
            buffers.check(plan)
            timed = prepare(buffers.planned_launch(plan), case.sets, case.launches)
            microseconds.append(side_by_side({KERNEL: timed}, _SWEEP_ROUNDS)[KERNEL])
        ranked = sorted(zip(microseconds, map(Plan.as_dict, plans), strict=True), key=lambda pair: pair[0])
        entries = [{"microseconds": time, **plan} for time, plan in ranked]
        return {"own": {"microseconds": microseconds[0], **own.as_dict()}, "fastest": entries[0], "plans": entries}

    def _prepare(self, case: Case, buffers: Buffers, two_kernels: Plan) -> tuple[dict[str, Timed], dict[str, str]]:
        """Everything that is timed side by side, and what cannot be with the reason."""
        timed = {
            KERNEL: prepare(buffers.launch, case.sets, case.launches),
            TWO_KERNELS: prepare(buffers.planned_launch(two_kernels), case.sets, case.launches),
            COPY: prepare_copy(),
        }
        not_measured = {}
        for name, gate in contenders(case.channels_last).items():
            try:
                timed[name] = prepare(buffers.torch_launch(gate), case.sets, case.launches)
            except RuntimeError as error:  # all that torch and its compilers raise
                not_measured[name] = next(iter(str(error).splitlines()), type(error).__name__)
        return timed, not_measured


def error_of(output: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to values above 1; NaN where the output has one."""
    return float(((output.double() - expected).abs() / expected.abs().clamp(min=1)).max())
