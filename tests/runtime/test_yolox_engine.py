"""A detector's engine, with a TensorRT that computes on a simulated GPU, against ONNX Runtime on the same file."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from simulated_gpu import SimulatedGpu
from simulated_tensorrt import SimulatedTensorRT

from runtime.detector import YoloxDetector
from runtime.embeddings import Embeddings
from runtime.engine_manifest import Flavour
from runtime.errors import DeviceError, InputError, LgeuError, ManifestError, MissingDependencyError
from runtime.infer import infer
from runtime.infer_options import Options
from runtime.people import frames_at_once
from runtime.tensorrt_library import TensorRTLibrary, load_tensorrt, prepare_parser
from runtime.tensorrt_log import collecting_logger

SIDE, CELLS = 64, 84


@pytest.fixture(params=[set(), {0}, {1}], ids=["late", "uploads early", "computing early"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedGpu]:
    gpu = SimulatedGpu()
    gpu.eager = request.param
    gpu.room = 1 << 22
    monkeypatch.setattr("runtime.yolox_engine.open_device", gpu.open)
    yield gpu
    assert not gpu.depth, "the context was left current"


@pytest.fixture
def onnx_file(tmp_path: Path, light_detector: Callable[..., Path]) -> Path:
    return light_detector(tmp_path / "yolox.onnx", "N")


@pytest.fixture
def trt(gpu: SimulatedGpu, onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedTensorRT:
    """TensorRT, which alone is installed, with an engine of the file for batches of 1 to 5."""
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])

    def oracle(images: NDArray[Any]) -> NDArray[np.float64]:
        planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return np.asarray(session.run(None, {"images": planes})[0], np.float64)

    trt = SimulatedTensorRT(gpu, oracle, (3, SIDE, SIDE), 0)
    trt.tensors = {"images": ("in", "FLOAT", (-1, 3, SIDE, SIDE)), "output": ("out", "FLOAT", (-1, CELLS, 7))}
    trt.batches = [(1, 4, 5)]
    install(monkeypatch, tensorrt=trt)
    return trt


def install(monkeypatch: pytest.MonkeyPatch, **modules: Any) -> None:
    """Make these the libraries that are installed."""

    def load(flavour: Any) -> TensorRTLibrary:
        if flavour.replace("-", "_") not in modules:
            raise MissingDependencyError(f"{flavour} is not installed")
        return TensorRTLibrary(flavour, "10.3.0", modules[flavour.replace("-", "_")])

    monkeypatch.setattr("runtime.yolox_engine.load_tensorrt", load)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "yolox.engine"
    path.write_bytes(b"plan")
    return path


def frames_of(*lights: int) -> list[NDArray[np.uint8]]:
    return [np.full((48, SIDE, 3), light, np.uint8) for light in lights]


LIGHTS = (255, 0, 200, 150, 10, 190, 30)


@pytest.mark.parametrize(
    ("batches", "computed"),
    [
        pytest.param([(1, 4, 5)], [1, 5, 2], id="up to five"),
        pytest.param([(3, 4, 5)], [3, 5, 3], id="three to five"),
        pytest.param([(1, 1, 1), (2, 2, 2)], [1, 2, 2, 2, 1], id="two profiles"),
        pytest.param([(1, 1, 1)], [1] * 8, id="one"),
        pytest.param([(4, 4, 4)], [4, 4, 4], id="four"),
    ],
)
def test_the_same_people_as_on_onnx_runtime(
    engine: Path,
    onnx_file: Path,
    trt: SimulatedTensorRT,
    gpu: SimulatedGpu,
    batches: list[tuple[int, int, int]],
    computed: list[int],
) -> None:
    trt.batches = batches
    if len(set(batches[0])) == 1 and len(batches) == 1:
        for name, (mode, kind, shape) in trt.tensors.items():
            trt.tensors[name] = (mode, kind, (batches[0][0], *shape[1:]))
    frames = frames_of(*LIGHTS)
    expected = YoloxDetector(onnx_file).detect_batch(frames)
    with YoloxDetector(engine) as detector:
        assert detector.min_batch == min(smallest for smallest, *_ in batches)
        assert detector.best_batch == batches[-1][1]
        assert frames_at_once(detector, live=True) == 1
        found = detector.detect_batch(frames)
        # The first run looks whether boxes are decoded.
        assert [shape[0] for shape in trt.computed] == computed
        for _ in range(4):
            again = detector.detect_batch(frames)
        launched = gpu.launches
    assert [len(people) for people in found] == [len(people) for people in expected]
    assert sum(map(len, found)) >= 4
    for one, other, later in zip(found, expected, again, strict=True):
        for people in (one, later):
            np.testing.assert_allclose(people.boxes, other.boxes, rtol=1e-5)
            np.testing.assert_allclose(people.scores, other.scores, rtol=1e-5)
    assert launched
    assert gpu.closed


@pytest.mark.parametrize("gpu", [set()], indirect=True)
def test_whichever_call_fails_everything_is_given_back(engine: Path, trt: SimulatedTensorRT, gpu: SimulatedGpu) -> None:
    def run() -> int:
        with YoloxDetector(engine) as detector:
            for _ in range(4):
                detector.detect_batch(frames_of(*LIGHTS))
            return gpu.calls

    for call in range(1, run(), 2):
        gpu.calls, gpu.fail_at = 0, call
        # One that fails in a capture is no error.
        with suppress(DeviceError, ManifestError):
            run()
        assert gpu.closed


@pytest.mark.parametrize("gpu", [set()], indirect=True)
@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"images": ("in", "UINT8", (-1, 16, 8, 3)), "embeddings": ("out", "FLOAT", (-1, 6))},
            r"is not a YOLOX detector: its inputs are images UINT8 \[N, 16, 8, 3\]",
        ),
        (
            {"images": ("in", "FLOAT", (-1, 3, SIDE, SIDE)), "output": ("out", "HALF", (-1, CELLS, 7))},
            r"has the output output HALF \[N, 84, 7\]; expected float32",
        ),
        (
            {"images": ("in", "FLOAT", (-1, 3, SIDE, SIDE)), "output": ("out", "FLOAT", (-1, -1, 7))},
            "sizes but the first are known",
        ),
        (
            {"images": ("in", "FLOAT", ()), "output": ("out", "FLOAT", (-1, CELLS, 7))},
            r"its inputs are images float32 \[\]; expected one",
        ),
        (
            {"images": ("in", "FLOAT", (-1, 3, SIDE, SIDE)), "output": ("out", "FLOAT", (-1, CELLS, 5))},
            r"expected one, \[1 or N, 84, 5 \+ classes\]",
        ),
    ],
)
def test_engines_that_are_no_detectors(
    engine: Path, trt: SimulatedTensorRT, gpu: SimulatedGpu, tensors: Any, message: str
) -> None:
    trt.tensors = tensors
    with pytest.raises(InputError, match=message):
        YoloxDetector(engine)
    assert gpu.closed


@pytest.mark.parametrize("gpu", [set()], indirect=True)
def test_the_first_installed_tensorrt_that_can_read_it(
    engine: Path, trt: SimulatedTensorRT, gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SimulatedTensorRT(gpu, trt.oracle, (3, SIDE, SIDE), 0)
    other.readable = False
    install(monkeypatch, tensorrt=other, tensorrt_rtx=trt)
    with YoloxDetector(engine) as detector:
        assert len(detector.detect(frames_of(255)[0])) == 1
    assert trt.configured, "TensorRT-RTX was not used as such"
    trt.readable = False
    with pytest.raises(ManifestError, match=r"tensorrt 10\.3\.0: .*build it again.*; tensorrt-rtx 10\.3\.0: "):
        YoloxDetector(engine)
    install(monkeypatch)
    with pytest.raises(MissingDependencyError, match="tensorrt is not installed or tensorrt-rtx is not installed"):
        YoloxDetector(engine)
    assert gpu.closed


@pytest.mark.parametrize("gpu", [set()], indirect=True)
def test_what_fails_before_the_first_frame_frees_the_detector(
    engine: Path,
    trt: SimulatedTensorRT,
    gpu: SimulatedGpu,
    tiny_model: Path,
    make_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingDependencyError, match=r"tracking needs .*scipy"):
        infer(Options(source=make_video(), model=tiny_model, out=tmp_path / "out", detector=engine, tracks=True))
    assert trt.computed
    assert gpu.closed


@pytest.mark.parametrize("gpu", [set()], indirect=True)
def test_an_engine_of_one_large_batch_in_a_live_stream(
    engine: Path,
    trt: SimulatedTensorRT,
    gpu: SimulatedGpu,
    tiny_model: Path,
    mjpeg_camera: Callable[..., AbstractContextManager[str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trt.batches = [(4, 4, 4)]
    _, picture = cv2.imencode(".jpg", frames_of(255)[0])
    with mjpeg_camera([picture.tobytes()] * 3) as url:
        infer(Options(source=url, model=tiny_model, out=tmp_path / "out", detector=engine, seconds=1e-9))
    assert "computes 4 frames for each one of a live stream" in caplog.text


def refused(engine: Path, error: type[LgeuError], message: str, **options: Any) -> None:
    with ExitStack() as opened, pytest.raises(error, match=message):
        opened.enter_context(YoloxDetector(engine, **options))


def test_without_a_gpu(engine: Path, tmp_path: Path, has_gpu: bool) -> None:
    refused(engine, InputError, "runs on a GPU only; use the .onnx file", device="cpu")
    refused(tmp_path / "yolox.plan", InputError, "expected YOLOX as .onnx, or an engine of it, called .engine")
    refused(tmp_path / "none.engine", InputError, "does not exist")
    if not has_gpu:
        refused(engine, DeviceError, "no usable NVIDIA GPU")


def test_a_video_with_a_detector_engine(
    engine: Path,
    onnx_file: Path,
    trt: SimulatedTensorRT,
    gpu: SimulatedGpu,
    tiny_model: Path,
    make_video: Callable[..., Path],
    tmp_path: Path,
) -> None:
    video = make_video(9)
    found = []
    for name, detector in (("engine", engine), ("onnx", onnx_file)):
        infer(Options(source=video, model=tiny_model, out=tmp_path / name, detector=detector))
        found.append(Embeddings.load(tmp_path / name / "embeddings.npz"))
    by_engine, by_onnx = found
    assert len(by_onnx.features) == 9
    np.testing.assert_array_equal(by_engine.frames, by_onnx.frames)
    np.testing.assert_allclose(by_engine.features, by_onnx.features, atol=1e-6)
    assert gpu.closed


def built_for_this_gpu(onnx_file: Path, engine: Path) -> None:
    """What trtexec would make of a detector's file, for batches of 1 to 5."""
    for flavour in get_args(Flavour):
        with suppress(MissingDependencyError):
            library = load_tensorrt(flavour)
            break
    else:
        pytest.skip("neither TensorRT nor TensorRT-RTX is installed")
    prepare_parser(library)
    builder = library.trt.Builder(collecting_logger(library.trt))
    network = builder.create_network(1 << int(library.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert library.trt.OnnxParser(network, collecting_logger(library.trt)).parse(onnx_file.read_bytes())
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("images", *((batch, 3, SIDE, SIDE) for batch in (1, 4, 5)))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    engine.write_bytes(plan)


@pytest.mark.gpu
def test_the_same_people_on_a_gpu(tmp_path: Path, onnx_file: Path, has_gpu: bool) -> None:
    if not has_gpu:
        pytest.skip("needs an NVIDIA GPU")
    built_for_this_gpu(onnx_file, tmp_path / "yolox.engine")
    frames = frames_of(*LIGHTS)
    expected = YoloxDetector(onnx_file, device="cpu").detect_batch(frames)
    with YoloxDetector(tmp_path / "yolox.engine") as detector:
        assert detector.best_batch == 4
        for _ in range(4):
            for one, other in zip(detector.detect_batch(frames), expected, strict=True):
                np.testing.assert_allclose(one.boxes, other.boxes, rtol=1e-3)
                np.testing.assert_allclose(one.scores, other.scores, rtol=1e-3)
