"""A GPU through pycuda, on a stand-in for it: pycuda itself has to be built, with the whole of CUDA's toolkit."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from device_round_trip import round_trip
from simulated_gpu import SimulatedGpu
from simulated_pycuda import (
    Context,
    Device,
    PycudaError,
    PycudaLaunchError,
    PycudaLogicError,
    PycudaMemoryError,
    PycudaRuntimeError,
    SimulatedPycuda,
)

from runtime.device import open_device
from runtime.errors import DeviceError
from runtime.pycuda_device import PycudaDevice

LOST = "the GPU is lost to this process: start it again"


@pytest.fixture
def gpu() -> SimulatedGpu:
    return SimulatedGpu()


@pytest.fixture
def driver(gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedPycuda]:
    """What is installed instead of cuda-python. Whatever was made on it has to be given back, in its context."""
    simulated = SimulatedPycuda(gpu)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", cast("Any", simulated))
    yield simulated
    gc.collect()
    assert not gpu.held()
    assert not simulated.complaints
    assert not simulated.cuda_stack


@pytest.fixture
def device(driver: SimulatedPycuda) -> PycudaDevice:
    return PycudaDevice(cast("Any", driver))


def test_pycuda_is_taken_where_cuda_python_is_not_installed(driver: SimulatedPycuda) -> None:
    opened = open_device()
    assert isinstance(opened, PycudaDevice)
    assert opened.architecture == "SM86"


@pytest.mark.parametrize("eager", [set(), {0}, {1}, {0, 1}], ids=str)
def test_a_round_trip(device: PycudaDevice, driver: SimulatedPycuda, gpu: SimulatedGpu, eager: set[int]) -> None:
    """Whichever stream is early or late, the download stands behind the upload that its event stands behind."""
    gpu.eager = eager
    with round_trip(device, 1 << 10) as seconds:
        assert seconds == 5  # an upload takes one, a download four
        assert not gpu.held()
    # CU_STREAM_NON_BLOCKING; CU_EVENT_BLOCKING_SYNC, and CU_EVENT_DISABLE_TIMING where no time is taken.
    assert driver.flags == [("stream", 1), ("stream", 1), ("event", 1), ("event", 1), ("event", 3)]


def test_handles_are_told_apart(device: PycudaDevice) -> None:
    with device.current():
        handles = [device.create_stream(), device.allocate(1), device.create_event(), device.create_event()]
        assert len(set(handles)) == len(handles)
        device.destroy_event(handles[2])
        device.destroy_event(handles[3])
        device.free(handles[1])
        device.destroy_stream(handles[0])


def test_the_context_is_retained_once(driver: SimulatedPycuda) -> None:
    """A primary context cannot be given back in every thread, so that each one retained would stay."""
    for _ in range(3):
        opened = open_device()
        with opened.current():
            pass
        opened.close()
        opened.close()
    assert driver.retained == 1


def test_the_end_of_a_process_is_silent() -> None:
    program = (
        "from simulated_gpu import SimulatedGpu; from simulated_pycuda import SimulatedPycuda\n"
        "from runtime.pycuda_device import PycudaDevice\n"
        "PycudaDevice(SimulatedPycuda(SimulatedGpu())).close(); print('closed')"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("closed\n", "")


def test_the_context_is_current_in_the_block_only(device: PycudaDevice, driver: SimulatedPycuda) -> None:
    others = Context(driver, Device(driver, 0))
    driver.cuda_stack.append(others)
    with device.current():
        assert len(driver.cuda_stack) == 2
        with device.current():
            inner = list(driver.cuda_stack)
        assert driver.cuda_stack == inner
        with pytest.raises(ValueError, match="of the caller's own"), device.current():
            raise ValueError("of the caller's own")
        assert driver.cuda_stack == inner
    assert driver.cuda_stack.pop() is others
    assert not driver.own_stack
    with pytest.raises(DeviceError, match="invalid device context"):
        device.allocate(1)


def test_another_context_of_pycuda_is_put_back(device: PycudaDevice, driver: SimulatedPycuda) -> None:
    """As `import pycuda.autoinit` leaves one."""
    others = Context(driver, Device(driver, 0))
    others.push()
    with device.current():
        assert driver.cuda_stack != [others]
    assert driver.cuda_stack == [others]
    driver.Context.pop()


def test_the_current_gpu_is_taken(driver: SimulatedPycuda) -> None:
    driver.init()
    driver.cuda_stack.append(Context(driver, Device(driver, 1)))
    assert open_device().architecture == "SM87"
    driver.cuda_stack.pop()


def in_another_thread(work: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failures


def test_another_thread_may_use_and_free_it(device: PycudaDevice, driver: SimulatedPycuda, gpu: SimulatedGpu) -> None:
    with device.current():
        stream, event = device.create_stream(), device.create_event()
        address, pinned = device.allocate(4), device.allocate_pinned(4)

    def use_and_free() -> None:
        assert not driver.cuda_stack
        with device.current():
            pinned[:] = 3
            device.upload(address, pinned, stream)
            device.record_event(event, stream)
            device.synchronise_event(event)
            assert (gpu.at(address, 4) == 3).all()
            device.free_pinned(pinned)
            device.free(address)
            device.destroy_event(event)
            device.destroy_stream(stream)
        assert not driver.cuda_stack

    in_another_thread(use_and_free)
    assert not gpu.held()


CALLS: dict[str, Callable[[PycudaDevice, int, int, int, Any], object]] = {
    "cuMemAlloc": lambda device, stream, event, address, pinned: device.allocate(4),
    "cuMemHostAlloc": lambda device, stream, event, address, pinned: device.allocate_pinned(4),
    "cuStreamCreate": lambda device, stream, event, address, pinned: device.create_stream(),
    "cuEventCreate": lambda device, stream, event, address, pinned: device.create_event(),
    "cuMemcpyHtoDAsync": lambda device, stream, event, address, pinned: device.upload(address, pinned, stream),
    "cuMemcpyDtoHAsync": lambda device, stream, event, address, pinned: device.download(pinned, address, stream),
    "cuStreamSynchronize": lambda device, stream, event, address, pinned: device.synchronise(stream),
    "cuEventRecord": lambda device, stream, event, address, pinned: device.record_event(event, stream),
    "cuStreamWaitEvent": lambda device, stream, event, address, pinned: device.wait_for_event(stream, event),
    "cuEventSynchronize": lambda device, stream, event, address, pinned: device.synchronise_event(event),
    "cuEventElapsedTime": lambda device, stream, event, address, pinned: device.seconds_between(event, event),
}


@pytest.mark.parametrize("call", CALLS)
def test_errors_are_the_houses(device: PycudaDevice, driver: SimulatedPycuda, gpu: SimulatedGpu, call: str) -> None:
    with device.current():
        stream, event = device.create_stream(), device.create_event()
        address, pinned = device.allocate(4), device.allocate_pinned(4)
        held = gpu.held()
        driver.fails[call] = PycudaLogicError(f"{call} failed: invalid argument")
        with pytest.raises(DeviceError) as raised:
            CALLS[call](device, stream, event, address, pinned)
        assert str(raised.value) == f"{call} failed: invalid argument"
        assert gpu.held() == held
        driver.fails.clear()
        device.free_pinned(pinned)
        device.free(address)
        device.destroy_event(event)
        device.destroy_stream(stream)


# The texts are the driver's; the classes are those that pycuda chooses for their codes.
@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PycudaMemoryError("cuMemAlloc failed: out of memory"), "free memory on the GPU, or use an engine"),
        (PycudaLogicError("cuStreamSynchronize failed: an illegal memory access was encountered"), LOST),
        (PycudaLogicError("cuStreamSynchronize failed: misaligned address"), LOST),
        (PycudaLaunchError("cuStreamSynchronize failed: unspecified launch failure"), LOST),
        (PycudaLaunchError("cuStreamSynchronize failed: the launch timed out and was terminated"), LOST),
        (PycudaRuntimeError("cuStreamSynchronize failed: uncorrectable ECC error encountered"), LOST),
        (PycudaError("cuStreamSynchronize failed: unknown error"), LOST),
        # The launch did not take place, and the next one may.
        (PycudaLaunchError("cuStreamSynchronize failed: too many resources requested for launch"), None),
        (PycudaLogicError("cuStreamSynchronize failed: invalid argument"), None),
    ],
    ids=str,
)
def test_what_to_do_is_said(
    device: PycudaDevice, driver: SimulatedPycuda, error: PycudaError, advice: str | None
) -> None:
    with device.current():
        stream = device.create_stream()
        driver.fails["cuStreamSynchronize"] = error
        with pytest.raises(DeviceError) as raised:
            device.synchronise(stream)
        driver.fails.clear()
        device.destroy_stream(stream)
    said, _, added = str(raised.value).partition("; ")
    assert said == str(error)
    assert added.startswith(advice) if advice else not added


def test_too_much_memory(device: PycudaDevice) -> None:
    with device.current(), pytest.raises(DeviceError, match="out of memory; free memory on the GPU"):
        device.allocate(1 << 30)


def test_a_context_that_cannot_be_entered(device: PycudaDevice, driver: SimulatedPycuda) -> None:
    driver.fails["cuCtxPushCurrent"] = PycudaLaunchError("cuCtxPushCurrent failed: unspecified launch failure")
    with pytest.raises(DeviceError, match=LOST), device.current():
        pytest.fail("entered")


def test_an_error_on_its_way_stands_before_those_of_leaving(device: PycudaDevice, driver: SimulatedPycuda) -> None:
    """A GPU that is lost refuses everything, and the first refusal says what failed."""
    driver.fails["cuCtxPopCurrent"] = PycudaLaunchError("cuCtxPopCurrent failed: unspecified launch failure")
    with pytest.raises(DeviceError, match="of the caller's own"), device.current():
        raise DeviceError("of the caller's own")
    with device.current():
        pass


@pytest.mark.parametrize("call", ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain"])
def test_no_gpu(driver: SimulatedPycuda, call: str) -> None:
    driver.fails[call] = PycudaRuntimeError(f"{call} failed: no CUDA-capable device is detected")
    with pytest.raises(DeviceError, match=rf"no usable NVIDIA GPU \({call} failed: no CUDA-capable .* \.onnx file"):
        open_device()


def test_graphs_are_refused(device: PycudaDevice) -> None:
    with device.current():
        stream = device.create_stream()
        with pytest.raises(DeviceError, match="pip install cuda-python"):
            device.capture(stream, lambda: pytest.fail("called"))
        with pytest.raises(DeviceError, match="no CUDA graphs"):
            device.launch_graph(1, stream)
        device.destroy_stream(stream)
