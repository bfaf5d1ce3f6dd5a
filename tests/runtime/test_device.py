"""A GPU's memory, streams, events and graphs: without a GPU one clear error; the rest needs one."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from device_round_trip import round_trip

from runtime.device import CudaDevice, open_device
from runtime.errors import DeviceError


@pytest.fixture
def device(has_gpu: bool) -> Iterator[CudaDevice]:
    if not has_gpu:
        pytest.skip("needs an NVIDIA GPU")
    device = open_device()
    yield device
    device.close()


def test_without_a_gpu(has_gpu: bool) -> None:
    pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed")
    if has_gpu:
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match=r"no usable NVIDIA GPU \(.+\); .* use the \.onnx file"):
        open_device()


@pytest.mark.gpu
def test_a_round_trip(device: CudaDevice) -> None:
    with round_trip(device, 1 << 20) as seconds:
        assert 0 < seconds < 60
    assert device.architecture.startswith("SM")


@pytest.mark.gpu
def test_a_graph_of_copies(device: CudaDevice) -> None:
    with device.current():
        stream, address = device.create_stream(), device.allocate(1 << 16)
        source, target = device.allocate_pinned(1 << 16), device.allocate_pinned(1 << 16)

        def copy() -> None:
            device.upload(address, source, stream)
            device.download(target, address, stream)

        def fail() -> None:
            copy()
            raise DeviceError("refused in the middle")

        target[:] = 0
        with pytest.raises(DeviceError, match="in the middle"):
            device.capture(stream, fail)
        graph = device.capture(stream, copy)
        device.synchronise(stream)
        assert not target.any()
        for value in (3, 5):
            source[:] = value
            device.launch_graph(graph, stream)
            device.synchronise(stream)
            assert (target == value).all()
        device.destroy_graph(graph)
        for array in (source, target):
            device.free_pinned(array)
        device.free(address)
        device.destroy_stream(stream)


@pytest.mark.gpu
def test_too_much_memory(device: CudaDevice) -> None:
    with device.current(), pytest.raises(DeviceError, match=r"out of memory; free memory on the GPU"):
        device.allocate(1 << 50)


def copy_batches(device: CudaDevice, count: int, seed: int) -> None:
    """Copy `count` batches there and back through two sets of page-locked buffers, and compare all of them."""
    size = 8 * 256 * 128 * 3
    batch = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    with device.current():
        stream = device.create_stream()
        slots = [
            (device.allocate(size), device.allocate_pinned(size), device.allocate_pinned(size), device.create_event())
            for _ in range(2)
        ]
        for number in range(count + 2):
            address, source, target, done = slots[number % 2]
            if number >= 2:
                device.synchronise_event(done)
                assert target[0] == (number - 2) % 256
                np.testing.assert_array_equal(target[1:], batch[1:])
            source[:] = batch
            source[0] = number % 256
            device.upload(address, source, stream)
            device.download(target, address, stream)
            device.record_event(done, stream)
        device.synchronise(stream)
        for address, source, target, done in slots:
            device.destroy_event(done)
            device.free_pinned(source)
            device.free_pinned(target)
            device.free(address)
        device.destroy_stream(stream)


@pytest.mark.gpu
def test_two_threads(device: CudaDevice) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            copy_batches(device, 200, seed)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.gpu
def test_beside_torch_memory_does_not_grow(device: CudaDevice) -> None:
    """10,000 batches, with torch computing in the same context and its own current device left as it was."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    matrix = torch.randn(256, 256, device="cuda")
    product = matrix @ matrix
    copy_batches(device, 10, 0)
    free = torch.cuda.mem_get_info()[0]
    for seed in range(100):
        copy_batches(device, 100, seed)
        torch.testing.assert_close(matrix @ matrix, product)
    # Other processes may take some meanwhile; a buffer lost each time would be 150 MiB.
    assert free - torch.cuda.mem_get_info()[0] < 32 << 20
    again = open_device()
    again.close()
    torch.testing.assert_close(matrix @ matrix, product)
