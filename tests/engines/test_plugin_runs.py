"""The plugin as TensorRT runs it, from getCreators to enqueue: on a GPU, and on the CPU by its kernel's host build."""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_cases import GRID, LARGE_GATE, TYPES, Problem, assert_agrees, in_layout, layouts_of, make_inputs
from plugin_harness import Engine, Harness, HarnessError, compile_for_gpu, compile_for_host

PAPER = Problem(33, 2048, 8, 4, 4, 16)

# The CPU runs a block's threads one after the other: what is small, and one problem of several slices of channels.
ON_THE_CPU = [problem for problem in GRID if problem.channels <= 128] + [Problem(2, 512, 8, 4, 4, 16)]
ON_A_GPU = [
    *(*GRID, LARGE_GATE, PAPER),
    *(Problem(9, 256, 16, 8, 4, 16), Problem(130, 96, 8, 4, 4, 16), Problem(3, 4096, 8, 4, 4, 16)),
]


@pytest.fixture(scope="session")
def gpu(plugin_library: Path, tensorrt_headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """The harness on this machine's GPU, with the plugin that is built here."""
    harness = Harness(compile_for_gpu(tensorrt_headers, tmp_path_factory.mktemp("gpu")), plugin_library)
    if harness.device is None:
        pytest.skip("needs an NVIDIA GPU")
    return harness


@pytest.fixture(scope="session")
def cpu(tensorrt_headers: Path, cuda_headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """The harness on this machine's CPU, with the plugin's own object and its kernel compiled by g++."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    return Harness(*compile_for_host(tensorrt_headers, cuda_headers, tmp_path_factory.mktemp("cpu")))


def cases(device: str, problems: Iterable[Problem]) -> list[Any]:
    marks = [pytest.mark.gpu] if device == "gpu" else []
    return [
        pytest.param(device, problem, *types, layout, marks=marks)
        for problem, types in product(problems, TYPES)
        for layout in layouts_of(types[0])
    ]


@pytest.mark.parametrize(
    ("device", "problem", "x_type", "weights_type", "layout"), cases("cpu", ON_THE_CPU) + cases("gpu", ON_A_GPU)
)
def test_agrees_with_float64(
    device: str, problem: Problem, x_type: Any, weights_type: Any, layout: Any, request: pytest.FixtureRequest
) -> None:
    harness: Harness = request.getfixturevalue(device)
    inputs = x, w1, w2 = make_inputs(problem, x_type, weights_type)

    with harness.engine(problem, layout, x_type, weights_type) as engine, engine.context(w1, w2) as context:
        y = context.run(x)

    assert y.dtype == x_type
    assert_agrees(y, inputs)


@pytest.mark.parametrize("device", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_a_context_runs_every_batch_up_to_its_largest(device: str, request: pytest.FixtureRequest) -> None:
    harness: Harness = request.getfixturevalue(device)
    problem = Problem(33, 264, 8, 4, 4, 16)
    x, w1, w2 = make_inputs(problem, np.float16, np.float16)

    with harness.engine(problem, "hwc8", np.float16, np.float16) as engine, engine.context(w1, w2) as context:
        for images in (1, 8, 33, 9, 0, 7):
            assert_agrees(context.run(x[:images]), (x[:images], w1, w2))


@pytest.mark.parametrize("device", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_addresses_that_forbid_wide_loads(device: str, request: pytest.FixtureRequest) -> None:
    harness: Harness = request.getfixturevalue(device)
    problem = Problem(3, 64, 8, 4, 4, 16)
    inputs = x, w1, w2 = make_inputs(problem, np.float16, np.float16)

    with (
        harness.engine(problem, "nhwc", np.float16, np.float16) as engine,
        engine.context(w1, w2, offset=np.dtype(np.float16).itemsize) as context,
    ):
        assert_agrees(context.run(x), inputs)


def test_the_harness_passes_on_what_the_plugin_says(cpu: Harness) -> None:
    engine = cpu.engine(Problem(1, 8, 9, 4, 4, 2), "nchw", np.float16, np.float16)

    with pytest.raises(HarnessError, match="configurePlugin refused: StripGate: X has 9 rows"):
        engine.__enter__()


def test_a_layout_pads_with_nan() -> None:
    """What a kernel must not read: TensorRT leaves the padding of HWC8 undefined."""
    padded = in_layout(np.ones((2, 10, 3, 5), np.float16), "hwc8")

    assert padded.shape == (2, 3, 5, 16)
    assert np.isnan(padded[..., 10:]).all()
    assert (padded[..., :10] == 1).all()


@pytest.mark.gpu
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "hwc8"])
def test_reruns_are_equal_to_the_bit(gpu: Harness, layout: Any) -> None:
    x, w1, w2 = make_inputs(PAPER, np.float16, np.float16)

    with gpu.engine(PAPER, layout, np.float16, np.float16) as engine, engine.context(w1, w2) as context:
        results = [context.run(x) for _ in range(20)]

    assert all(result.tobytes() == results[0].tobytes() for result in results)


@pytest.mark.gpu
def test_two_contexts_on_two_streams_at_once(gpu: Harness) -> None:
    """Each thread keeps its stream busy and has inputs and weights of its own; results are those of a run alone."""

    def rounds(engine: Engine, seed: int, count: int) -> list[bytes]:
        x, w1, w2 = make_inputs(PAPER, np.float16, np.float16, seed)
        results = []
        with engine.context(w1, w2) as context:
            for _ in range(count):
                results.append(context.run(x).tobytes())
                context.enqueue(PAPER.images, 200)
        return results

    with gpu.engine(PAPER, "nchw", np.float16, np.float16) as engine:
        alone = [rounds(engine, seed, 1)[0] for seed in (1, 2)]
        with ThreadPoolExecutor(2) as threads:
            together = list(threads.map(lambda seed: rounds(engine, seed, 10), (1, 2)))

    assert alone[0] != alone[1]
    assert [set(results) for results in together] == [{alone[0]}, {alone[1]}]


@pytest.mark.gpu
@pytest.mark.parametrize("images", [1, 33])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_cuda_graph_computes_what_its_inputs_hold_now(gpu: Harness, layout: Any, images: int) -> None:
    _, w1, w2 = make_inputs(PAPER, np.float16, np.float16)
    batches = [make_inputs(PAPER, np.float16, np.float16, seed)[0][:images] for seed in (3, 4, 5)]

    with gpu.engine(PAPER, layout, np.float16, np.float16) as engine, engine.context(w1, w2) as context:
        direct = [context.run(x).tobytes() for x in batches]
        context.capture(images)
        replayed = [context.replay(x).tobytes() for x in batches]

    assert len(set(direct)) == len(batches)
    assert replayed == direct


@pytest.mark.gpu
def test_a_nan_stays_in_its_image(gpu: Harness) -> None:
    x, w1, w2 = make_inputs(PAPER, np.float16, np.float16)
    x[7, 3, 0, 0] = np.nan

    with gpu.engine(PAPER, "nchw", np.float16, np.float16) as engine, engine.context(w1, w2) as context:
        y = context.run(x)

    assert np.isnan(y[7]).all()
    assert np.isfinite(np.delete(y, 7, axis=0)).all()
