"""The StripGate kernel without TensorRT: `engines/plugin/strip_gate_c_api.cpp` from Python."""

import ctypes
import hashlib
import shutil
import subprocess
from ctypes import byref, c_bool, c_char_p, c_int32, c_size_t, c_void_p
from pathlib import Path
from typing import Any

from runtime.errors import DeviceError, InputError, MissingDependencyError

PLUGIN = Path(__file__).resolve().parents[1] / "engines" / "plugin"
SOURCES = ("strip_gate_c_api.cpp", "strip_gate_kernel.cu", "strip_gate_plan.cpp")
HEADERS = ("strip_gate_kernel.h", "strip_gate_launch.h", "strip_gate_plan.h")
LIBRARY = PLUGIN / "build" / "libstrip_gate_c.so"
BUILD = (
    "mkdir -p engines/plugin/build && nvcc -O3 -std=c++17 -arch=native -shared -Xcompiler -fPIC "
    f"-o engines/plugin/build/{LIBRARY.name} {' '.join(f'engines/plugin/{name}' for name in SOURCES)}"
)

FUSED, TWO_KERNELS = 0, 1
FLOAT, HALF = 0, 1


class _Values(ctypes.Structure):
    """A structure of C that compares and prints by its values."""

    def as_dict(self) -> dict[str, Any]:
        return {field[0]: getattr(self, field[0]) for field in self._fields_}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self.as_dict().items())})"


class Shape(_Values):
    """`StripGateShape` of strip_gate_kernel.h."""

    _fields_ = (
        *((name, c_int32) for name in ("images", "channels", "height", "width", "strips", "reduction")),
        ("channels_last", c_bool),
        ("pixel_stride", c_int32),
    )


class Types(_Values):
    """`StripGateTypes`: FLOAT or HALF."""

    _fields_ = (("x", c_int32), ("weights", c_int32))


class Device(_Values):
    """`StripGateDevice` of strip_gate_plan.h."""

    _fields_ = (("multiprocessors", c_int32), ("largest_cluster", c_int32))


class Plan(_Values):
    """`StripGatePlan` of strip_gate_plan.h; method is FUSED or TWO_KERNELS."""

    _fields_ = tuple(
        (name, c_int32) for name in ("method", "slice_channels", "slices", "tile_images", "tiles_at_once", "threads")
    )


class StripGateLibrary:
    """The library's functions. Addresses are of memory that the kernel can use, as integers."""

    def __init__(self, path: Path) -> None:
        """Load it.

        Raises:
            MissingDependencyError: it is not there.
            InputError: it is older than the kernel's sources, or cannot be loaded.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingDependencyError(f"{path} is not there; build it with: {BUILD}")
        if _is_old(path):
            raise InputError(f"{path} is older than the kernel's sources; build it with: {BUILD}")
        try:
            self._c = ctypes.CDLL(str(path.resolve()))
            for name in ("device", "refusal", "plan_refusal", "launch", "launch_plan"):
                self._function(name).restype = c_char_p
            for name in ("workspace_bytes", "plan_workspace_bytes"):
                self._function(name).restype = c_size_t
        except (OSError, AttributeError) as error:
            raise InputError(
                f"{path} is no library of strip_gate_c_api.cpp ({error}); build it with: {BUILD}"
            ) from error

    def _function(self, name: str) -> Any:
        return getattr(self._c, f"strip_gate_{name}")

    def device(self) -> Device:
        """The current CUDA device.

        Raises:
            DeviceError: CUDA cannot say.
        """
        device = Device()
        _check(self._function("device")(byref(device)))
        return device

    def plan(self, shape: Shape, types: Types, device: Device) -> Plan:
        """How the kernel would go about it."""
        plan = Plan()
        self._function("plan")(byref(shape), byref(types), byref(device), byref(plan))
        return plan

    def refusal(self, shape: Shape) -> str | None:
        """Why the kernel does not take the shape."""
        return _text(self._function("refusal")(byref(shape)))

    def plan_refusal(self, shape: Shape, plan: Plan, device: Device) -> str | None:
        """Why the plan cannot be launched."""
        return _text(self._function("plan_refusal")(byref(shape), byref(plan), byref(device)))

    def workspace_bytes(self, shape: Shape, types: Types) -> int:
        """Enough for every GPU and every batch up to shape.images."""
        return int(self._function("workspace_bytes")(byref(shape), byref(types)))

    def plan_workspace_bytes(self, shape: Shape, plan: Plan) -> int:
        """What `launch` needs with a plan."""
        return int(self._function("plan_workspace_bytes")(byref(shape), byref(plan)))

    def launch(
        self, shape: Shape, types: Types, plan: Plan | None, *, addresses: tuple[int, int, int, int, int], stream: int
    ) -> None:
        """Enqueue the kernel with its own plan (None), or with one that `plan_refusal` lets pass.

        Args:
            shape: of the problem.
            types: of X and of the weights.
            plan: or None.
            addresses: of X, W1, W2, Y and the workspace.
            stream: a cudaStream_t.

        Raises:
            DeviceError: it was not launched.
        """
        pointers = [c_void_p(address) for address in (*addresses, stream)]
        if plan is None:
            _check(self._function("launch")(byref(shape), byref(types), *pointers))
        else:
            _check(self._function("launch_plan")(byref(shape), byref(types), byref(plan), *pointers))


def build_library() -> None:
    """Run BUILD in the project's root, where LIBRARY is missing or older than its sources.

    Raises:
        MissingDependencyError: there is no nvcc.
        InputError: it does not compile.
    """
    if LIBRARY.is_file() and not _is_old(LIBRARY):
        return
    if shutil.which("nvcc") is None:
        raise MissingDependencyError("nvcc is not on the PATH; install CUDA's toolkit, or add /usr/local/cuda/bin")
    done = subprocess.run(["sh", "-c", BUILD], cwd=PLUGIN.parents[1], capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"the kernel's library was not built ({BUILD}): {done.stderr.strip()[-2000:]}")


def kernel_sources() -> list[Path]:
    """All files that the library is made of."""
    return [*(PLUGIN / name for name in (*SOURCES, *HEADERS)), *sorted(PLUGIN.glob("*.cuh"))]


def kernel_hash() -> str:
    """SHA-256 of the library's sources together: figures of other sources are of another kernel."""
    digest = hashlib.sha256()
    for source in kernel_sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _is_old(library: Path) -> bool:
    return library.stat().st_mtime < max(source.stat().st_mtime for source in kernel_sources())


def _text(reason: bytes | None) -> str | None:
    return None if reason is None else reason.decode()


def _check(failure: bytes | None) -> None:
    if failure is not None:
        raise DeviceError(f"the StripGate kernel was not launched: {failure.decode()}")
