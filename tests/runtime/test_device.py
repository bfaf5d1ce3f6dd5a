"""Device memory: without a GPU one clear error, with one a round trip."""

from collections.abc import Iterator

import numpy as np
import pytest

from runtime.device import CudaPythonMemory, DeviceMemory, open_device
from runtime.errors import DeviceError

runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
STATUS, COUNT = runtime.cudaGetDeviceCount()
HAS_GPU = runtime.cudaError_t.cudaSuccess == STATUS and COUNT > 0


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_without_a_gpu() -> None:
    with pytest.raises(DeviceError, match=r"no usable NVIDIA GPU \(CUDA error \d+: .+\); .* use the \.onnx file"):
        open_device()


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_a_failing_call_names_itself_and_its_reason() -> None:
    # Made without __init__, which would end at the missing GPU; the calls below are the driver's own.
    memory = CudaPythonMemory.__new__(CudaPythonMemory)
    memory._runtime = runtime
    with pytest.raises(DeviceError, match=r"cudaMalloc failed: CUDA error \d+: .+"):
        memory.allocate(1 << 20)
    with pytest.raises(DeviceError, match="cudaStreamCreate failed"):
        memory.create_stream()
    with pytest.raises(DeviceError, match="cudaMemcpyAsync failed"):
        memory.upload(0, np.zeros(4, np.uint8), 0)
    with pytest.raises(DeviceError, match="cudaMemcpyAsync failed"):
        memory.download(np.zeros(4, np.uint8), 0, 0)
    with pytest.raises(DeviceError, match="cudaStreamSynchronize failed"):
        memory.synchronise(0)
    with pytest.raises(DeviceError, match="cudaEventCreate failed"):
        memory.create_event()


@pytest.fixture
def device() -> Iterator[DeviceMemory]:
    memory = open_device()
    yield memory
    memory.close()


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs an NVIDIA GPU")
def test_a_round_trip(device: DeviceMemory) -> None:
    sent = np.random.default_rng(9).integers(0, 256, 1 << 20, np.uint8)
    received = np.empty_like(sent)
    stream, address = device.create_stream(), device.allocate(sent.nbytes)
    before, after = device.create_event(), device.create_event()
    device.record_event(before, stream)
    device.upload(address, sent, stream)
    device.download(received, address, stream)
    device.record_event(after, stream)
    device.synchronise(stream)
    assert 0 < device.seconds_between(before, after) < 60
    device.destroy_event(before)
    device.destroy_event(after)
    device.free(address)
    device.destroy_stream(stream)
    np.testing.assert_array_equal(received, sent)
    assert device.architecture.startswith("SM")
