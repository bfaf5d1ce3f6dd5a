"""cuda-python's calls, by the real package, on a driver of our own that computes on the host."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).with_name("support")

# Prints what came of it. Run in a process of its own, because a process has one driver.
FAILURES = """
import ctypes, json, sys, threading
import numpy as np
from runtime.device import open_device
from runtime.errors import DeviceError

driver = ctypes.CDLL(sys.argv[1])
messages = {}

def fails(name, code, call, *arguments):
    driver.recording_fail(name.encode(), code)
    try:
        call(*arguments)
        messages[name] = None
    except DeviceError as error:
        messages[name] = str(error)
    driver.recording_fail(b"", 0)

fails("cuInit", 100, open_device)
fails("cuDevicePrimaryCtxRetain", 2, open_device)
device = open_device()
assert driver.recording_retained() == 1
fails("cuCtxPushCurrent", 700, device.current().__enter__)
with device.current():
    stream, address = device.create_stream(), device.allocate(64)
    pinned, event = device.allocate_pinned(64), device.create_event(timed=True)
    held = driver.recording_held()
    for name, code, call, *arguments in [
        ("cuMemAlloc", 2, device.allocate, 64),
        ("cuMemAllocHost", 2, device.allocate_pinned, 64),
        ("cuStreamCreate", 719, device.create_stream),
        ("cuEventCreate", 1, device.create_event),
        ("cuMemcpyHtoDAsync", 1, device.upload, address, pinned, stream),
        ("cuMemcpyDtoHAsync", 1, device.download, pinned, address, stream),
        ("cuStreamSynchronize", 700, device.synchronise, stream),
        ("cuEventRecord", 1, device.record_event, event, stream),
        ("cuStreamWaitEvent", 1, device.wait_for_event, stream, event),
        ("cuEventSynchronize", 214, device.synchronise_event, event),
        ("cuEventElapsedTime", 1, device.seconds_between, event, event),
        ("cuStreamBeginCapture", 1, device.capture, stream, lambda: None),
        ("cuStreamEndCapture", 901, device.capture, stream, lambda: None),
        ("cuGraphInstantiate", 2, device.capture, stream, lambda: None),
        ("cuGraphLaunch", 1, device.launch_graph, 1, stream),
        ("cuMemFree", 1, device.free, address),
        ("cuMemFreeHost", 1, device.free_pinned, pinned),
        ("cuStreamDestroy", 1, device.destroy_stream, stream),
        ("cuEventDestroy", 1, device.destroy_event, event),
        ("cuGraphExecDestroy", 1, device.destroy_graph, 1),
    ]:
        fails(name, code, call, *arguments)
    assert driver.recording_held() == held
    nested = open_device()
    with nested.current():
        assert driver.recording_depth() == 2
    nested.close()
    other = []
    def work():
        other.append(driver.recording_depth())
        with device.current():
            other.append(driver.recording_depth())
        other.append(driver.recording_depth())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    device.free(address), device.free_pinned(pinned), device.destroy_stream(stream), device.destroy_event(event)
try:
    device.allocate(64)
except DeviceError as error:
    messages["not current"] = str(error)
device.close()
device.close()
left = [driver.recording_held(), driver.recording_retained(), driver.recording_depth()]
print(json.dumps({"messages": messages, "left": left, "other": other}))
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver of our own."""
    pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed")
    compiler, header = shutil.which("gcc"), cuda_header()
    if compiler is None or header is None:
        pytest.skip("gcc is not installed" if compiler is None else "cuda.h is not here")
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{header.parent}", f"-Wl,-soname,{library.name}"]
    subprocess.run([compiler, *flags, str(SUPPORT / "recording_driver.c"), "-o", str(library), "-ldl"], check=True)
    return library


def cuda_header() -> Path | None:
    nvcc = shutil.which("nvcc")
    places = [Path(nvcc).resolve().parents[1]] if nvcc else []
    places.append(Path("/usr/local/cuda"))
    packages = importlib.util.find_spec("nvidia")
    places += (
        [place for root in packages.submodule_search_locations or () for place in Path(root).glob("cu*")]
        if packages
        else []
    )
    headers = [place / "include" / "cuda.h" for place in places]
    return next((header for header in headers if header.is_file()), None)


def run_on(driver: Path, *command: str) -> str:
    environment = dict(os.environ, LD_LIBRARY_PATH=str(driver.parent), PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_tested_on_a_gpu(driver: Path) -> None:
    tests = ("test_a_round_trip", "test_a_graph_of_copies", "test_too_much_memory", "test_two_threads")
    names = [f"{Path(__file__).with_name('test_device.py')}::{name}" for name in tests]
    printed = run_on(driver, "-m", "pytest", "-q", "-p", "no:cacheprovider", *names)
    assert "4 passed" in printed


def test_failures_and_contexts(driver: Path) -> None:
    report = json.loads(run_on(driver, "-c", FAILURES, str(driver)))
    messages = report["messages"]
    assert messages.pop("cuInit").startswith("no usable NVIDIA GPU (cuInit failed: CUDA error 100: ")
    assert messages.pop("cuDevicePrimaryCtxRetain").startswith("no usable NVIDIA GPU (cuDevicePrimaryCtxRetain failed")
    assert "CUDA error 201" in messages.pop("not current")
    for name, message in messages.items():
        assert message.startswith(f"{name} failed: CUDA error "), message
    assert messages["cuMemAlloc"].endswith(
        "out of memory; free memory on the GPU, or use an engine whose largest batch is smaller"
    )
    for name in ("cuCtxPushCurrent", "cuStreamCreate", "cuStreamSynchronize", "cuEventSynchronize"):
        assert "the GPU is lost to this process: start it again" in messages[name]
    assert "lost" not in messages["cuMemFree"]
    assert report["left"] == [0, 0, 0]
    # Another thread has no context but inside the block.
    assert report["other"] == [0, 1, 0]
