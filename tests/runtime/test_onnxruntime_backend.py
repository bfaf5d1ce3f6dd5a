"""Which ONNX files run, on which device, and what is said of the others."""

import copy
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from runtime import onnxruntime_session
from runtime.errors import DeviceError, InputError, ManifestError
from runtime.manifest import METADATA_KEY, Manifest
from runtime.onnxruntime_backend import OnnxRuntimeBackend
from runtime.onnxruntime_binding import BoundTensors
from runtime.onnxruntime_session import open_session

needs_no_gpu_provider = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime offers a GPU"
)


@pytest.fixture
def changed(tiny_graph: onnx.ModelProto, tmp_path: Path) -> Callable[[Callable[[onnx.ModelProto], Any]], Path]:
    """Writes the tiny model after a change."""

    def write(change: Callable[[onnx.ModelProto], Any]) -> Path:
        model = copy.deepcopy(tiny_graph)
        change(model)
        onnx.save(model, str(tmp_path / "changed.onnx"))
        return tmp_path / "changed.onnx"

    return write


def test_what_it_says_of_itself(tiny_model: Path, manifest: Manifest) -> None:
    backend = OnnxRuntimeBackend(tiny_model, "cpu")
    assert (backend.name, backend.max_batch, backend.manifest) == ("onnxruntime (CPU)", None, manifest)
    backend.close()
    backend.close()
    with pytest.raises(InputError, match="closed"):
        backend.run(np.zeros((1, 16, 8, 3), np.uint8))


def test_a_batch_of_another_shape_fails_as_ours(tiny_model: Path) -> None:
    with pytest.raises(DeviceError, match=r"failed on a batch of shape \(1, 8, 8, 3\)"):
        OnnxRuntimeBackend(tiny_model).run(np.zeros((1, 8, 8, 3), np.uint8))


def take_planes(model: onnx.ModelProto) -> None:
    model.graph.node[0].CopyFrom(helper.make_node("Transpose", ["images"], ["pixels"], perm=[0, 2, 3, 1]))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 16, 8]))


def promise_planes(model: onnx.ModelProto) -> None:
    manifest = Manifest.from_json(model.metadata_props[0].value, "the tiny model")
    helper.set_model_props(model, {METADATA_KEY: dataclasses.replace(manifest, input_format="float-nchw").to_json()})


def test_a_file_that_takes_planes_of_floats(
    changed: Callable[[Callable[[onnx.ModelProto], Any]], Path],
    oracle: Callable[[NDArray[np.uint8]], NDArray[np.float64]],
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 8, 3), np.uint8)
    with pytest.raises(ManifestError, match=r"images float32 .* promises images uint8 \[N, 16, 8, 3\]"):
        OnnxRuntimeBackend(changed(take_planes))
    with pytest.raises(ManifestError, match=r"images uint8 .* promises images float32 \[N, 3, 16, 8\]"):
        OnnxRuntimeBackend(changed(promise_planes))
    backend = OnnxRuntimeBackend(changed(lambda model: (take_planes(model), promise_planes(model))))
    np.testing.assert_allclose(backend.run(images), oracle(images), atol=1e-6)


def drop_manifest(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def break_manifest(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {METADATA_KEY: "{}"})


def fix_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = model.graph.output[0].name = "features"


def take_floats(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def other_size(model: onnx.ModelProto) -> None:
    text = model.metadata_props[0].value.replace('"height": 16', '"height": 32')
    helper.set_model_props(model, {METADATA_KEY: text})


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("lengths", TensorProto.FLOAT, ["N", 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_manifest, r"has no manifest \(metadata property 'lgeu.manifest'\); expected a file written by"),
        (break_manifest, "has schema None"),
        (fix_batch, r"has the input images uint8 \[4, 16, 8, 3\]; its manifest promises .* N dynamic"),
        (rename_output, r"has the output features float32"),
        (take_floats, r"has the input images float32"),
        (other_size, r"promises images uint8 \[N, 32, 8, 3\]"),
        (second_output, "has the output embeddings .* and lengths"),
    ],
)
def test_refused_models(
    changed: Callable[[Callable[[onnx.ModelProto], Any]], Path],
    change: Callable[[onnx.ModelProto], None],
    message: str,
) -> None:
    with pytest.raises(ManifestError, match=message):
        OnnxRuntimeBackend(changed(change))


@pytest.mark.parametrize("imported", [True, False])
def test_a_strip_gate_without_its_function_body(
    changed: Callable[[Callable[[onnx.ModelProto], Any]], Path], imported: bool
) -> None:
    def strip(model: onnx.ModelProto) -> None:
        gate = helper.make_node("StripGate", ["descriptors"], ["gated"], domain="lgeu", num_strips=4)
        model.graph.node.insert(6, gate)
        model.graph.node[-1].input[0] = "gated"
        if imported:
            model.opset_import.append(helper.make_opsetid("lgeu", 1))

    with pytest.raises(InputError, match=r"has no function body for StripGate.*`lgeu rewrite --functions keep`"):
        OnnxRuntimeBackend(changed(strip))


@pytest.mark.parametrize("kept", [20, 500, 3000])
def test_truncated_files(tiny_model: Path, tmp_path: Path, kept: int) -> None:
    (tmp_path / "cut.onnx").write_bytes(tiny_model.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"cut\.onnx is not a model that onnxruntime .* can open"):
        OnnxRuntimeBackend(tmp_path / "cut.onnx")


def test_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a protobuf, not at all")
    with pytest.raises(InputError, match="export or copy it again"):
        OnnxRuntimeBackend(tmp_path / "text.onnx")
    with pytest.raises(InputError, match="does not exist"):
        OnnxRuntimeBackend(tmp_path / "none.onnx")


def test_a_foreign_reid_model_has_no_manifest(shared_data: Path) -> None:
    with pytest.raises(ManifestError, match="has no manifest"):
        OnnxRuntimeBackend(shared_data / "models" / "person-reidentification-retail-0287.onnx")


@needs_no_gpu_provider
def test_a_gpu_that_is_not_offered(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DeviceError, match=r"cannot use the GPU \(the installed package offers .* use device 'cpu'"):
        OnnxRuntimeBackend(tiny_model, "cuda")
    with caplog.at_level(logging.WARNING):
        assert OnnxRuntimeBackend(tiny_model, "auto").name == "onnxruntime (CPU)"
    assert caplog.records == []


@pytest.fixture
def offered_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime seems to offer a GPU, and does not give it: as its GPU package does where CUDA is missing."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )


@needs_no_gpu_provider
@pytest.mark.usefixtures("offered_gpu")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_that_is_offered_and_cannot_be_used(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DeviceError, match=r"cannot use the GPU \(CUDAExecutionProvider could not be loaded"):
        OnnxRuntimeBackend(tiny_model, "cuda")
    assert OnnxRuntimeBackend(tiny_model, "cpu").name == "onnxruntime (CPU)"
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        assert OnnxRuntimeBackend(tiny_model, "auto").name == "onnxruntime (CPU)"
    assert "runs on the CPU: onnxruntime" in caplog.text
    (tmp_path / "text.onnx").write_text("not a protobuf, not at all")
    with pytest.raises(InputError, match="is not a model"):
        OnnxRuntimeBackend(tmp_path / "text.onnx", "cuda")


@pytest.mark.usefixtures("offered_gpu")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_is_asked_not_to_use_tf32(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, dict[str, str]]] = []
    session = onnxruntime.InferenceSession

    def spy(*arguments: Any, providers: list[str], provider_options: list[dict[str, str]], **rest: Any) -> Any:
        asked.append(dict(zip(providers, provider_options, strict=True)))
        return session(*arguments, providers=providers, provider_options=provider_options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    OnnxRuntimeBackend(tiny_model, "auto")
    assert asked[0]["CUDAExecutionProvider"]["use_tf32"] == "0"
    assert asked[0]["CPUExecutionProvider"] == {}


def test_an_unknown_device(tiny_model: Path) -> None:
    device: Any = "tpu"
    with pytest.raises(InputError, match="device is 'tpu'; expected 'auto', 'cpu' or 'cuda'"):
        OnnxRuntimeBackend(tiny_model, device)


def test_threads_within_what_the_process_may_use(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_session, "usable_cores", lambda: 3)
    assert open_session(tiny_model, "cpu").get_session_options().intra_op_num_threads == 3


@pytest.mark.usefixtures("offered_gpu")
@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.skipif(
    not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"), reason="ONNX Runtime before 1.24"
)
def test_a_gpu_that_leaves_the_work_to_the_cpu(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Claiming(onnxruntime.InferenceSession):  # type: ignore[misc]
        """Has the provider that it was asked for, and gives no operator to it."""

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *args, providers, **rest: (Claiming if len(providers) > 1 else real)(*args, providers=providers, **rest),
    )
    reason = r"1 of the network's convolutions and matrix products would run on the CPU"
    with pytest.raises(DeviceError, match=reason):
        OnnxRuntimeBackend(tiny_model, "cuda")
    with caplog.at_level(logging.WARNING):
        assert OnnxRuntimeBackend(tiny_model, "auto").name == "onnxruntime (CPU)"
    assert "1 of the network's convolutions" in caplog.text


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_what_the_tensorrt_provider_is_asked_for(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    if set(gpu) & set(onnxruntime.get_available_providers()):
        pytest.skip("this onnxruntime offers a GPU")
    asked: dict[str, dict[str, str]] = {}
    session = onnxruntime.InferenceSession

    def spy(*arguments: Any, providers: list[str], provider_options: list[dict[str, str]], **rest: Any) -> Any:
        asked.update(zip(providers, provider_options, strict=True))
        return session(*arguments, providers=providers, provider_options=provider_options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*gpu, "CPUExecutionProvider"])
    with pytest.raises(DeviceError, match="TensorrtExecutionProvider could not be loaded"):
        OnnxRuntimeBackend(tiny_model, "cuda", tensorrt_batch=48)
    assert list(asked) == ["CPUExecutionProvider", *gpu]
    assert asked["TensorrtExecutionProvider"] == {
        "trt_profile_min_shapes": "images:1x16x8x3",
        "trt_profile_opt_shapes": "images:48x16x8x3",
        "trt_profile_max_shapes": "images:48x16x8x3",
        "trt_fp16_enable": "0",
    }


def test_tensors_that_stay_on_the_device(tiny_model: Path, oracle: Callable[..., Any]) -> None:
    """On the CPU: the same calls as on a GPU."""
    bound = BoundTensors(onnxruntime, open_session(tiny_model, "cpu"), 6, device="cpu")
    generator = np.random.default_rng(6)
    results = []
    for count in (5, 5, 2, 7, 7, 5):
        images = generator.integers(0, 256, (count, 16, 8, 3), np.uint8)
        embeddings, times = bound.run(images[::-1])
        assert embeddings.flags.owndata
        assert min(times.upload, times.compute, times.download) >= 0
        results.append((embeddings, oracle(images[::-1])))
    for embeddings, expected in results:
        np.testing.assert_allclose(embeddings, expected, atol=1e-5)


def test_after_an_allocation_that_failed_the_next_batch_is_its_own(
    tiny_model: Path, oracle: Callable[..., Any]
) -> None:
    allocations = 0

    def allocate(*arguments: Any) -> Any:
        nonlocal allocations
        allocations += 1
        if allocations == 4:  # the second batch's output
            raise RuntimeError("out of memory")
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(*arguments)

    ort = SimpleNamespace(OrtValue=SimpleNamespace(ortvalue_from_shape_and_type=allocate))
    bound = BoundTensors(ort, open_session(tiny_model, "cpu"), 6, device="cpu")
    first, second = (np.random.default_rng(count).integers(0, 256, (count, 16, 8, 3), np.uint8) for count in (3, 5))
    bound.run(first)
    with pytest.raises(RuntimeError, match="out of memory"):
        bound.run(second)
    for images in (second, first):
        np.testing.assert_allclose(bound.run(images)[0], oracle(images), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="needs onnxruntime-gpu and a GPU"
)
def test_on_a_gpu(tiny_model: Path, oracle: Callable[..., Any], has_gpu: bool) -> None:
    if not has_gpu:
        pytest.skip("needs an NVIDIA GPU")
    backend = OnnxRuntimeBackend(tiny_model, "cuda")
    assert (backend.name, backend.device) == ("onnxruntime (CUDA)", "cuda")
    for count in (5, 2, 5):
        images = np.random.default_rng(count).integers(0, 256, (count, 16, 8, 3), np.uint8)
        embeddings, stages = backend.run_timed(images)
        np.testing.assert_allclose(embeddings, oracle(images), atol=1e-5)
        assert stages is not None
        assert min(stages.upload, stages.compute, stages.download) > 0
