"""Whether memory grows with the batches that went through, for `runtime_gpu.py`."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from runtime.backend import Backend, Processor
from runtime.cuda_python_device import CudaPythonDevice
from runtime.dependencies import require
from runtime.device import CudaDevice
from runtime.errors import CheckFailedError
from runtime.pycuda_device import PycudaDevice

# Of the GPU's, other processes take and give back some meanwhile; one batch lost of each size would be more.
ALLOWED = 32 << 20

_MARKS = 10
_MEGABYTE = 1e6
_SESSION = 100

COPIERS: dict[str, tuple[str, Callable[[ModuleType], CudaDevice]]] = {
    "cuda-python": ("cuda.bindings.driver", CudaPythonDevice),
    "pycuda": ("pycuda.driver", PycudaDevice),
}


def growth_of_batches(backend: Backend, device: Processor, batches: int, largest: int) -> dict[str, Any]:
    """Run batches of 1 to `largest` images in a random order, after some of each size.

    Returns:
        MB in use before, after each tenth of them, and at the end less before.
    """
    generator = np.random.default_rng(0)
    shape = (largest, backend.manifest.height, backend.manifest.width, 3)
    images = generator.integers(0, 256, shape, np.uint8)
    # Three times, because a size that comes again may get a graph, in each of two places.
    for size in [*range(largest, 0, -1)] * 4:
        backend.run(images[:size])
    sizes = generator.integers(1, largest + 1, batches)
    used = [memory_in_use(device)]
    for part in np.array_split(sizes, min(_MARKS, batches)):
        for size in part:
            backend.run(images[:size])
        used.append(memory_in_use(device))
    return growth(used, device, batches, largest)


def growth(used: list[float], device: Processor, batches: int, largest: int) -> dict[str, Any]:
    """What is said of memory in use, in bytes: before, and after each part."""
    return {
        "memory": "in use on the GPU, by all processes" if device == "cuda" else "resident, of this process",
        "batches": batches,
        "largest": largest,
        "used_mb": [value / _MEGABYTE for value in used],
        "growth_mb": (used[-1] - used[0]) / _MEGABYTE,
        "allowed_mb": ALLOWED / _MEGABYTE,
    }


def memory_in_use(device: Processor) -> float:
    """In bytes: on the GPU, by whichever process; on a CPU, resident of this one."""
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return float(total - free)
    return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def copies(package: str, batches: int, largest: int) -> dict[str, Any]:
    """Bring batches to the GPU and back through `runtime.device`'s interface on one package, comparing every byte.

    Memory, streams and events are taken and given back every 100 batches.

    Raises:
        MissingDependencyError: the package is not installed.
        DeviceError: there is no GPU, or it failed.
        CheckFailedError: other bytes came back.
    """
    module, kind = COPIERS[package]
    driver = require(module, purpose="copies to a GPU", install=f"pip install {package}")
    device = kind(driver)
    try:
        size = largest * 256 * 128 * 3
        copied: list[tuple[int, float]] = []
        _copy(device, [size] * _SESSION, 0)
        sizes = np.random.default_rng(0).integers(1, size + 1, batches)
        sessions = [sizes[start : start + _SESSION].tolist() for start in range(0, batches, _SESSION)]
        used = [memory_in_use("cuda")]
        for number, session in enumerate(sessions, 1):
            copied += _copy(device, session, number)
            if number % max(1, len(sessions) // _MARKS) == 0 or number == len(sessions):
                used.append(memory_in_use("cuda"))
    finally:
        device.close()
    rates = sorted(moved / seconds for moved, seconds in copied)
    return growth(used, "cuda", batches, largest) | {"median_gb_per_second": rates[len(rates) // 2] / 1e9}


def _copy(device: CudaDevice, sizes: list[int], seed: int) -> list[tuple[int, float]]:
    """Bytes and seconds of each way there and back."""
    took = []
    sent = np.random.default_rng(seed).integers(0, 256, max(sizes), np.uint8)
    with device.current():
        stream, address = device.create_stream(), device.allocate(len(sent))
        source, target = device.allocate_pinned(len(sent)), device.allocate_pinned(len(sent))
        start, end = device.create_event(timed=True), device.create_event(timed=True)
        source[:] = sent
        for number, size in enumerate(sizes):
            source[0] = sent[0] = number % 256
            target[:size] = 0
            device.record_event(start, stream)
            device.upload(address, source[:size], stream)
            device.download(target[:size], address, stream)
            device.record_event(end, stream)
            device.synchronise_event(end)
            if not np.array_equal(target[:size], sent[:size]):
                raise CheckFailedError(f"{size} bytes were sent to the GPU, and others came back")
            took.append((2 * size, device.seconds_between(start, end)))
        for event in (start, end):
            device.destroy_event(event)
        for array in (source, target):
            device.free_pinned(array)
        device.free(address)
        device.destroy_stream(stream)
    return took
