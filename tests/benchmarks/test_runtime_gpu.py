"""The runtime's benchmark for a GPU: its way on a CPU, what it does not run, and what its figures are of."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import runtime_gpu
import runtime_gpu_memory
import runtime_gpu_pieces
from numpy.typing import NDArray
from runtime_gpu_frames import DecodedFrames, Scene, write_video
from runtime_gpu_memory import copies, growth_of_batches
from runtime_gpu_models import Models, opened
from runtime_gpu_pieces import in_rounds, run_bare
from simulated_gpu import SimulatedGpu
from simulated_pycuda import SimulatedPycuda

from runtime.errors import CheckFailedError, DeviceError, InputError, MissingDependencyError
from runtime.manifest import Manifest
from runtime.sources import VideoFile
from runtime.video import Frame
from train.checkpoint import untrained_checkpoint

TINY = [
    *("--device", "cpu", "--backbone", "resnet10t", "--input", "128", "32", "--batch", "1", "4"),
    *("--plan-seconds", "0", "--rounds", "2", "--pipeline-batch", "4", "--frames", "5", "--frame-size", "96", "64"),
    *("--people", "2", "--memory-batches", "10", "--memory-largest", "2"),
]
PYTORCH_PIECES = ["batch 1", "batch 4", "pipeline torch-fp32", "memory torch-fp32"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs the benchmark with a tiny model and gives its file."""
    monkeypatch.setitem(sys.modules, "onnxscript", None)

    def benchmark(*options: str) -> dict[str, Any]:
        out = tmp_path / "figures.json"
        command = ["runtime_gpu.py", *TINY, "--work", str(tmp_path / "work"), "--out", str(out), *options]
        monkeypatch.setattr(sys, "argv", command)
        runtime_gpu.main()
        return cast("dict[str, Any]", json.loads(out.read_text()))

    return benchmark


def test_a_run_measures_what_it_can_names_the_rest_and_goes_on(run: Callable[..., dict[str, Any]]) -> None:
    first = run("--only", "batch")
    assert list(first["pieces"]) == ["batch 1", "batch 4"]
    with pytest.raises(CheckFailedError, match="11 pieces are left after -1 s; run again for them"):
        run("--seconds", "-1")
    report = run()
    assert list(report["pieces"]) == PYTORCH_PIECES
    assert report["pieces"]["batch 4"] == first["pieces"]["batch 4"]
    assert report["device"] == "cpu"
    assert report["frames"] == "synthetic"
    assert {"date", "machine", "versions"} <= report.keys()

    batch = report["pieces"]["batch 4"]
    assert batch["measurements"].keys() == {"torch-fp32"}
    assert batch["measurements"]["torch-fp32"]["batch"] == 4
    pipeline = report["pieces"]["pipeline torch-fp32"]
    assert pipeline["people"] == 5 * 2
    assert pipeline["share"] > 0
    assert pipeline["share_with_decoding"] > 0

    reasons = {
        "torch-fp16": "use a GPU",
        "torch-fp16-compiled": "use a GPU",
        "onnxruntime": "'onnxscript'.* pip install 'lgeu-reid[export]'",
        "tensorrt": "an engine runs on a GPU",
    }
    assert batch["not_run"].keys() == reasons.keys()
    assert all(part in batch["not_run"][name] for name, reason in reasons.items() for part in reason.split(".*"))
    assert set(report["not_run"]) == {
        *(f"pipeline {name}" for name in reasons),
        *(f"memory {name}" for name in reasons if name != "torch-fp16-compiled"),
        *("copies cuda-python", "copies pycuda"),
    }
    with pytest.raises(InputError, match="measured with other settings"):
        run("--rounds", "3")


def test_a_contender_that_is_asked_for_runs_or_fails(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="an engine runs on a GPU only"):
        run("--contenders", "tensorrt", "--only", "batch", "1")
    assert not (tmp_path / "figures.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "batch", "3"], "no piece has all of: batch 3; the pieces are: batch 1, batch 4, pipeline"),
        (["--video", "a.mp4"], "--video and --boxes go together"),
        (["--onnx", "none.onnx"], r"none\.onnx"),
        (["--people", "0"], r"--people is 0; expected at least 1"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_measured_is_said_first(
    run: Callable[..., dict[str, Any]], tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(*options)
    assert not list(tmp_path.iterdir())


def test_without_a_gpu_there_is_no_run_on_the_cpu(
    has_gpu: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if has_gpu:
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["runtime_gpu.py", "--out", str(tmp_path / "figures.json")])
    with pytest.raises(DeviceError, match="finds no GPU"):
        runtime_gpu.main()
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["runtime_gpu.py"])
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match="pip install opencv-python-headless"):
        runtime_gpu.main()


def test_shares_are_of_rounds_and_the_first_one_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now, order = [0.0], []

    def way(name: str, *seconds: float) -> Callable[[], int]:
        left: Iterator[float] = iter(seconds)

        def once() -> int:
            order.append(name)
            now[0] += next(left)
            return 12

        return once

    monkeypatch.setattr(runtime_gpu_pieces.time, "perf_counter", lambda: now[0])
    rates = in_rounds({"a": way("a", 30, 1, 2), "b": way("b", 30, 3, 4)}, 2)
    assert rates == {"a": [12, 6], "b": [4, 3]}
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_a_slow_machine_gets_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def once() -> int:
        now[0] += 60
        return 60

    monkeypatch.setattr(runtime_gpu_pieces.time, "perf_counter", lambda: now[0])
    assert in_rounds({"a": once}, 7) == {"a": [1]}


def test_people_are_inside_the_frames_of_the_video(tmp_path: Path) -> None:
    scene = Scene(width=96, height=64, frames=40, people=3)
    path = write_video(scene, tmp_path / "video.mp4")
    decoded = list(VideoFile(path).frames(threading.Event()))
    assert len(decoded) == len(scene.boxes()) == 40
    for frame, drawn in zip(decoded, scene.pixels(), strict=True):
        assert frame.pixels.shape == (64, 96, 3)
        assert np.abs(frame.pixels.astype(int) - drawn).mean() < 40  # the codec's loss; another frame is further off
        boxes = scene.boxes()[frame.index]
        np.testing.assert_array_equal(boxes.clipped(96, 64).boxes, boxes.boxes)


def test_frames_in_memory_are_a_source() -> None:
    frames = [Frame(index, index / 25, np.full((4, 4, 3), index, np.uint8)) for index in range(5)]
    source = DecodedFrames(frames)
    assert [frame.index for frame in source.frames(threading.Event(), every=2)] == [0, 2, 4]
    assert source.count == source.total == 5


def test_a_model_that_cannot_be_exported_is_a_contender_that_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights in half may be too far off for the exporter, and the other contenders run all the same."""

    def refuse(*_: object, **__: object) -> None:
        raise CheckFailedError("too far off")

    monkeypatch.setattr("export.onnx_export.export_checkpoint", refuse)
    checkpoint = untrained_checkpoint(tmp_path / "tiny.pt", backbone="resnet10t", height=128, width=32)
    models = Models(checkpoint, tmp_path, "cpu", onnx=None, engine=None, largest=1)
    with opened(models, ["torch-fp32", "onnxruntime"], 1, must=False) as (running, not_run):
        assert running.keys() == {"torch-fp32"}
        assert "too far off" in not_run["onnxruntime"]


class Recording:
    """A backend that notes its batches, and holds on to memory for each."""

    name = "recording"
    device = "cpu"
    max_batch: int | None = None

    def __init__(self, megabytes: int = 0) -> None:
        self.manifest = Manifest(
            backbone="none", embedding_size=1, gate="none", strips=1, reduction=0, height=4, width=2,
            mean=(0.5,) * 3, std=(0.5,) * 3, opset={"": 18},
        )  # fmt: skip
        self.sizes: list[int] = []
        self.held: list[NDArray[np.uint8]] = []
        self._megabytes = megabytes

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.sizes.append(len(images))
        self.held.append(np.ones(self._megabytes << 20, np.uint8))
        return np.ones((len(images), 1), np.float32)

    def close(self) -> None:
        """Nothing to free."""


class Queueing(Recording):
    def __init__(self) -> None:
        super().__init__()
        self.waiting = self.most = 0

    def submit(self, images: NDArray[np.uint8]) -> "Queueing":
        self.run(images)
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        return self

    def result(self) -> NDArray[np.float32]:
        self.waiting -= 1
        return np.ones((1, 1), np.float32)


@pytest.mark.parametrize("kind", [Recording, Queueing])
def test_the_bare_model_runs_each_batch_once(kind: type[Recording]) -> None:
    backend = kind()
    assert run_bare(cast("Any", backend), 3, 4) == 12
    assert backend.sizes == [3] * 4
    if isinstance(backend, Queueing):
        assert (backend.most, backend.waiting) == (2, 0)


def test_memory_that_is_not_given_back_is_seen() -> None:
    backend = Recording(megabytes=3)
    grown = growth_of_batches(cast("Any", backend), "cpu", batches=100, largest=3)
    assert grown["growth_mb"] > 150  # some of it may lie in what the process had given back
    assert len(grown["used_mb"]) == 11
    assert set(backend.sizes[-100:]) == {1, 2, 3}
    assert len(backend.sizes) == 4 * 3 + 100


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch) -> SimulatedGpu:
    """A stand-in for pycuda, with torch's view of the same GPU."""
    gpu = SimulatedGpu()
    monkeypatch.setitem(sys.modules, "pycuda.driver", cast("Any", SimulatedPycuda(gpu)))
    monkeypatch.setattr(runtime_gpu_memory, "memory_in_use", lambda device: 1e6 * gpu.held())
    return gpu


def test_copies_are_compared_and_given_back(pycuda: SimulatedGpu) -> None:
    measured = copies("pycuda", batches=120, largest=1)
    assert measured["used_mb"] == [0, 0, 0]
    assert measured["median_gb_per_second"] > 0
    assert pycuda.held() == 0


def test_other_bytes_are_an_error(pycuda: SimulatedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pycuda, "upload", lambda address, array, stream: None)
    with pytest.raises(CheckFailedError, match="others came back"):
        copies("pycuda", batches=1, largest=1)


def test_a_package_that_is_not_there_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(MissingDependencyError, match="pip install cuda-python"):
        copies("cuda-python", 1, 1)


def test_every_piece_has_the_words_it_is_chosen_by() -> None:
    pieces = ["batch 1", "batch 8", "pipeline torch-fp16", "memory torch-fp16"]
    assert runtime_gpu.chosen(pieces, []) == pieces
    assert runtime_gpu.chosen(pieces, ["torch-fp16", "memory"]) == ["memory torch-fp16"]
