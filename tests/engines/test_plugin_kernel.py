"""The kernel's device code, compiled for the CPU, against the operator's definition in NumPy float64."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

Kernel = Callable[..., NDArray[np.generic]]

# Sums are fp32 in any case; a half result is off by its own rounding, relative to values around 1.
TOLERANCE = {np.float32: 2e-6, np.float16: 1e-3}


def strip_gate_float64(x: NDArray, w1: NDArray, w2: NDArray) -> NDArray[np.float64]:
    """The paper's equations (1) to (4) for X (N, C, H, W), W1 (K, R, C), W2 (K, C, R), image by image."""
    x, w1, w2 = (array.astype(np.float64) for array in (x, w1, w2))
    strips, rows = len(w1), x.shape[2] // len(w1)
    y = np.zeros(x.shape[:2])
    for n in range(len(x)):
        gated = np.empty_like(x[n])
        for k in range(strips):
            strip = x[n, :, k * rows : (k + 1) * rows]
            local = strip.mean(axis=(1, 2))
            gate = 1 / (1 + np.exp(-(w2[k] @ np.maximum(w1[k] @ local, 0))))
            gated[:, k * rows : (k + 1) * rows] = strip * gate[:, None, None]
        y[n] = gated.mean(axis=(1, 2))
    return y


def inputs(
    shape: tuple[int, int, int, int], strips: int, reduction: int, dtype: type
) -> tuple[NDArray, NDArray, NDArray]:
    rng = np.random.default_rng([*shape, strips, reduction])
    channels = shape[1]
    x = rng.standard_normal(shape) + rng.standard_normal((1, channels, 1, 1))
    w1 = rng.standard_normal((strips, reduction, channels)) * 4 / channels**0.5
    w2 = rng.standard_normal((strips, channels, reduction))
    return x.astype(dtype), w1.astype(dtype), w2.astype(dtype)


def offset_copy(array: NDArray, elements: int) -> NDArray:
    """The same values at an address `elements` past a 64-byte boundary."""
    item = array.itemsize
    memory = np.empty(array.nbytes + 64 + elements * item, np.uint8)
    start = -memory.ctypes.data % 64 + elements * item
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.fixture(scope="module")
def kernel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    plugin = repository / "engines" / "plugin"
    library = tmp_path_factory.mktemp("host") / "libstrip_gate_host.so"
    flags = ["-O2", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    source = plugin / "host" / "strip_gate_host.cpp"
    subprocess.run([compiler, *flags, f"-I{plugin}", str(source), "-o", str(library)], check=True)
    run = ctypes.CDLL(str(library)).strip_gate_host

    def call(x: NDArray, w1: NDArray, w2: NDArray, channels_last: bool) -> NDArray[np.generic]:
        n, c, h, w = x.shape
        if channels_last:
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        y = np.full((n, c), np.nan, x.dtype)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (x, w1, w2, y)]
        half = int(x.dtype == np.float16)
        assert run(n, c, h, w, w1.shape[0], w1.shape[1], int(channels_last), half, *pointers) == 0
        return y

    return call


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float", "half"])
@pytest.mark.parametrize(
    ("shape", "strips", "reduction"),
    [
        ((1, 2048, 8, 4), 4, 16),  # the network of the paper at 256 x 128
        ((3, 512, 8, 4), 4, 16),
        ((3, 64, 4, 2), 4, 16),  # 128 x 64: strips smaller than 16 bytes
        ((1, 2048, 16, 8), 1, 16),  # the SE unit, last stride 1
        ((1, 2048, 8, 4), 8, 64),  # more strip means than shared memory holds on a GPU
        ((0, 64, 8, 4), 4, 16),
        ((3, 10, 6, 5), 3, 3),  # nothing is a multiple of 8, odd width
        ((1, 1, 1, 1), 1, 1),
        ((3, 8, 8, 7), 2, 8),
        ((1, 8, 24, 12), 8, 1),
        ((1, 40, 7, 33), 7, 5),
        ((1, 24, 5, 3), 5, 8),
        ((1, 72, 12, 11), 6, 2),
        ((2, 513, 8, 4), 4, 16),  # one channel more than threads in a block
    ],
)
def test_agrees_with_float64(
    kernel: Kernel,
    shape: tuple[int, int, int, int],
    strips: int,
    reduction: int,
    dtype: type,
    channels_last: bool,
) -> None:
    x, w1, w2 = inputs(shape, strips, reduction, dtype)

    y = kernel(x, w1, w2, channels_last)

    assert y.dtype == dtype
    np.testing.assert_allclose(y, strip_gate_float64(x, w1, w2), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float", "half"])
def test_addresses_that_forbid_wide_loads_give_the_same(kernel: Kernel, dtype: type, channels_last: bool) -> None:
    aligned = inputs((2, 64, 8, 4), 4, 16, dtype)
    shifted = tuple(offset_copy(array, 1) for array in aligned)

    y = kernel(*shifted, channels_last)

    np.testing.assert_allclose(y, strip_gate_float64(*aligned), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_sums_do_not_overflow_in_half(kernel: Kernel) -> None:
    """The sum over a strip, and the squeezed values, are far above half's 65,504; the result is not."""
    x = np.full((1, 64, 16, 8), 3e4, np.float16)
    w1 = np.full((2, 8, 64), 1.0, np.float16)
    w2 = np.full((2, 64, 8), 1e-3, np.float16)

    y = kernel(x, w1, w2, False)

    np.testing.assert_allclose(y, np.full((1, 64), 3e4), rtol=1e-3)


def test_a_nan_in_the_input_is_not_hidden_by_the_rectifier(kernel: Kernel) -> None:
    x, w1, w2 = inputs((2, 16, 4, 4), 2, 4, np.float32)
    x[1, 3, 0, 0] = np.nan

    y = kernel(x, w1, w2, False)

    assert np.isfinite(y[0]).all()
    assert np.isnan(y[1]).all()
