"""The harness around the plugin (tests/engines/plugin_harness), compiled and wrapped for Python."""

import ctypes
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from kernel_cases import Floats, Layout, Problem, in_layout
from numpy.typing import NDArray

HARNESS = Path(__file__).resolve().parents[1] / "plugin_harness"
PLUGIN = Path(__file__).resolve().parents[3] / "engines" / "plugin"
PLUGIN_PARTS = ("fields", "library", "log", "plugin", "tensors")

GUARD_BYTES = 4096


class HarnessError(Exception):
    """The plugin or the device refused, or memory that is nobody's was written."""


class _Case(ctypes.Structure):
    """GateCase in gate_engine.h."""

    _fields_ = [
        (name, ctypes.c_int32)
        for name in (
            *("max_images", "channels", "height", "width", "strips", "reduction"),
            *("channels_last", "hwc8", "half", "half_weights"),
        )
    ]


def headers_of(plugin: Path) -> Path | None:
    """The folder of NvInferRuntime.h that the plugin was built with, as CMake found it; None where it is gone."""
    cache = (plugin.parent / "CMakeCache.txt").read_text().splitlines()
    root = next((line.split("=", 1)[1] for line in cache if line.startswith("TensorRT_ROOT:")), "")
    system = [Path("/usr/include/x86_64-linux-gnu"), Path("/usr/include/aarch64-linux-gnu")]
    candidates = [Path(root), Path(root) / "include"] if root else system
    return next((folder for folder in candidates if (folder / "NvInferRuntime.h").is_file()), None)


def compile_for_gpu(headers: Path, folder: Path) -> Path:
    """The harness for a GPU, by nvcc; `headers` are TensorRT's."""
    library = folder / "libharness.so"
    flags = ["-std=c++17", "-O1", "-shared", "-Xcompiler", "-fPIC", "-cudart", "static", "-isystem", str(headers)]
    _run("nvcc", *flags, *_sources("device_cuda"), "-o", str(library), "-ldl")
    return library


def compile_for_host(headers: Path, cuda_headers: Path, folder: Path) -> tuple[Path, Path]:
    """The harness and a plugin whose kernel is compiled for this machine, by g++."""
    harness, plugin = folder / "libharness.so", folder / "libstrip_gate.so"
    flags = ["-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations"]
    flags += ["-Wno-unknown-pragmas", "-isystem", str(headers), "-isystem", str(cuda_headers)]
    _run("g++", *flags, *_sources("device_host"), "-o", str(harness), "-ldl")
    names = [*(f"strip_gate_{part}" for part in PLUGIN_PARTS), "strip_gate_plan", "host/strip_gate_host"]
    _run("g++", *flags, f"-I{PLUGIN}", *(str(PLUGIN / f"{name}.cpp") for name in names), "-o", str(plugin))
    return harness, plugin


def _sources(device: str) -> list[str]:
    return [str(HARNESS / f"{name}.cpp") for name in ("harness", "gate_engine", device)]


def _run(*command: str) -> None:
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


class Harness:
    """The compiled harness, with the plugin that it drives."""

    def __init__(self, library: Path, plugin: Path) -> None:
        self.plugin = plugin
        self._library = ctypes.CDLL(str(library))
        pointer, size, integer = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        for name, result, arguments in (
            ("error", ctypes.c_char_p, []),
            ("device", ctypes.c_char_p, []),
            ("engine", pointer, [ctypes.c_char_p, pointer]),
            ("workspace", size, [pointer]),
            ("free_engine", None, [pointer]),
            ("context", pointer, [pointer, pointer, pointer, size, size, integer]),
            ("free_context", None, [pointer]),
            ("run", integer, [pointer, integer, pointer, pointer]),
            ("enqueue", integer, [pointer, integer, integer]),
            ("capture", integer, [pointer, integer]),
            ("replay", integer, [pointer, pointer, pointer]),
        ):
            function = getattr(self._library, f"harness_{name}")
            function.restype, function.argtypes = result, arguments

    @property
    def device(self) -> str | None:
        """Name of the GPU; None where there is no usable one."""
        name = self._library.harness_device()
        return None if name is None else str(name.decode())

    @contextmanager
    def engine(self, problem: Problem, layout: Layout, x_type: Floats, weights_type: Floats) -> Iterator["Engine"]:
        """Build for batches up to `problem.images`, at least 1."""
        case = _Case(
            max(problem.images, 1),
            *(problem.channels, problem.height, problem.width, problem.strips, problem.reduction),
            *(layout == "nhwc", layout == "hwc8", x_type is np.float16, weights_type is np.float16),
        )
        handle = self.checked(self._library.harness_engine(str(self.plugin).encode(), ctypes.byref(case)))
        try:
            yield Engine(self, handle, layout, problem.channels, x_type)
        finally:
            self._library.harness_free_engine(handle)

    def call(self, name: str, *arguments: object) -> None:
        """A function that returns a status."""
        if getattr(self._library, f"harness_{name}")(*arguments) != 0:
            self._fail()

    def checked(self, handle: int | None) -> int:
        """A function's object, if it made one."""
        if handle is None:
            self._fail()
        return handle

    def create_context(self, engine: int, w1: NDArray, w2: NDArray, guard: int, offset: int, poisoned: bool) -> int:
        """An execution context's handle."""
        weights = (_address(np.ascontiguousarray(w)) for w in (w1, w2))
        return self.checked(self._library.harness_context(engine, *weights, guard, offset, poisoned))

    def free_context(self, context: int) -> None:
        """Give back what `create_context` returned."""
        self._library.harness_free_context(context)

    def _fail(self) -> None:
        raise HarnessError(self._library.harness_error().decode())


class Engine:
    """What was built from the plugin for a problem, a layout and types."""

    def __init__(self, harness: Harness, handle: int, layout: Layout, channels: int, x_type: Floats) -> None:
        self.harness = harness
        self.layout = layout
        self.channels = channels
        self.x_type = x_type
        self._handle = handle

    @contextmanager
    def context(
        self, w1: NDArray, w2: NDArray, *, guard: int = GUARD_BYTES, offset: int = 0, poisoned: bool = True
    ) -> Iterator["Context"]:
        """Open an execution context with its own stream and memory; `offset` bytes take addresses off alignment."""
        handle = self.harness.create_context(self._handle, w1, w2, guard, offset, poisoned)
        try:
            yield Context(self, handle)
        finally:
            self.harness.free_context(handle)


class Context:
    """An execution context. X is given as (N, C, H, W) and put into the engine's layout."""

    def __init__(self, engine: Engine, handle: int) -> None:
        self._engine = engine
        self._handle = handle

    def run(self, x: NDArray) -> NDArray:
        """Y (N, C) of one batch."""
        return self._result("run", x, len(x))

    def enqueue(self, images: int, times: int) -> None:
        """Queue the batch that was run last again, and do not wait for it."""
        self._engine.harness.call("enqueue", self._handle, images, times)

    def capture(self, images: int) -> None:
        """Record a batch as a CUDA graph."""
        self._engine.harness.call("capture", self._handle, images)

    def replay(self, x: NDArray) -> NDArray:
        """Y (N, C) by the graph."""
        return self._result("replay", x)

    def _result(self, function: str, x: NDArray, *arguments: int) -> NDArray:
        engine = self._engine
        given = in_layout(x.astype(engine.x_type), engine.layout)
        y = np.zeros((len(x), engine.channels), engine.x_type)
        engine.harness.call(function, self._handle, *arguments, _address(given), _address(y))
        return y


def _address(array: NDArray) -> int:
    return int(array.ctypes.data)
