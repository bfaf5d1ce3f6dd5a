"""From a checkpoint to files that agree with torch, and everything that is in them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, checker

from engines.graph import load_model, read_manifest, set_functions
from engines.rewrite import rewrite
from export.convert import convert
from export.onnx_export import export_checkpoint
from runtime.embedder import Embedder
from runtime.errors import CheckFailedError, InputError
from runtime.files import sha256
from runtime.manifest import Manifest
from runtime.preprocess import preprocess_batch
from train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

from .conftest import Exported

Crops = list[NDArray[np.uint8]]
MakeCheckpoint = Callable[..., Path]


def test_without_fp16_no_other_models_file_is_left(
    make_checkpoint: MakeCheckpoint, crops: Crops, tmp_path: Path
) -> None:
    names = ["model.fp16.onnx", "model.onnx"]
    for name in names:
        (tmp_path / name).write_text("old")
    with pytest.raises(InputError, match="no crops"):
        export_checkpoint(make_checkpoint(), tmp_path, [], fp16=False)
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["old", "old"]
    report = export_checkpoint(make_checkpoint(), tmp_path, crops, fp16=False)
    assert report.fp16 is None
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def run(path: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(["embeddings"], {"images": images})[0]
    return result


def torch_embeddings(source: Checkpoint, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.no_grad():
        descriptors = source.model(torch.from_numpy(images))
        return np.asarray(torch.nn.functional.normalize(descriptors))


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_both_files_agree_with_torch(exported: Exported, batch: int) -> None:
    images = np.random.default_rng(batch).integers(0, 256, (batch, 64, 32, 3), np.uint8)
    expected = torch_embeddings(load_checkpoint(exported.checkpoint), images)
    np.testing.assert_allclose(run(exported.out / "model.onnx", images), expected, atol=1e-6, rtol=0)
    half = run(exported.out / "model.fp16.onnx", images)
    assert (half * expected).sum(1).min() > 0.9999


def test_the_embedder_of_the_runtime_takes_them(exported: Exported, crops: Crops) -> None:
    expected = torch_embeddings(load_checkpoint(exported.checkpoint), preprocess_batch(crops, 64, 32, "BGR"))
    with Embedder.open(exported.report.fp32, device="cpu") as embedder:
        np.testing.assert_allclose(embedder.embed(crops, colour_order="BGR"), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx"])
def test_tensors(exported: Exported, name: str) -> None:
    model = load_model(exported.out / name)
    checker.check_model(model, full_check=True)
    (images,), (embeddings,) = model.graph.input, model.graph.output
    manifest = read_manifest(model)
    assert (images.name, images.type.tensor_type.elem_type) == ("images", TensorProto.UINT8)
    assert [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim] == ["N", 64, 32, 3]
    assert (embeddings.name, embeddings.type.tensor_type.elem_type) == ("embeddings", TensorProto.FLOAT)
    assert [dim.dim_param or dim.dim_value for dim in embeddings.type.tensor_type.shape.dim] == [
        "N",
        manifest.embedding_size,
    ]
    # TensorRT's parser takes nothing but a Cast on uint8.
    assert [node.op_type for node in model.graph.node if "images" in node.input] == ["Cast"]


@pytest.mark.parametrize(("name", "precision"), [("model.onnx", "fp32"), ("model.fp16.onnx", "fp16")])
def test_manifest(exported: Exported, name: str, precision: str) -> None:
    source = load_checkpoint(exported.checkpoint).manifest
    manifest = read_manifest(load_model(exported.out / name))
    architecture = ("backbone", "embedding_size", "gate", "strips", "reduction", "last_stride", "neck")
    for field in (*architecture, "height", "width", "mean", "std"):
        assert getattr(manifest, field) == getattr(source, field)
    assert manifest.trained_on == source.trained_on
    assert manifest.precision == precision
    assert manifest.checkpoint_sha256 == sha256(exported.checkpoint)
    assert manifest.functions == ("keep" if source.has_strip_gate else None)
    assert manifest.opset == ({"": 18, "lgeu": 1} if source.has_strip_gate else {"": 18})
    assert {"torch", "timm", "onnx"} <= manifest.tools.keys()


@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx"])
def test_nothing_in_the_file_but_what_runs(exported: Exported, name: str) -> None:
    model = load_model(exported.out / name)
    operators = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in operators
    assert operators.count("StripGate") == len(model.functions) == int(read_manifest(model).has_strip_gate)
    assert "Identity" not in operators
    # The exporter's stack traces would name folders of this machine.
    content = (exported.out / name).read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content
    assert [entry.key for entry in model.metadata_props] == ["lgeu.manifest"]


def test_convolutions_are_half_in_the_fp16_file(exported: Exported) -> None:
    model = load_model(exported.out / "model.fp16.onnx")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Conv", "StripGate", "MatMul", "Gemm"):
            assert {kinds[name] for name in node.input if name in kinds} == {TensorProto.FLOAT16}, node.name
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    around_norms = {name for node in norms for name in (node.input[0], node.output[0])}
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    others = [node.name for node in casts if not around_norms & {node.input[0], node.output[0]}]
    assert len(others) == 3, others
    assert len(casts) == 3 + 2 * len(norms)


@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx"])
def test_the_neck_is_float32_between_pooling_and_l2_norm(exported: Exported, name: str) -> None:
    model = load_model(exported.out / name)
    neck = [node for node in model.graph.node if node.name.startswith("neck/")]
    operators = {"none": [], "bn": ["Mul", "Add"], "centre": ["Sub"]}[read_manifest(model).neck]
    assert [node.op_type for node in neck] == operators
    if not neck:
        return
    (norm,) = (node for node in model.graph.node if node.op_type == "ReduceL2")
    assert norm.input[0] == neck[-1].output[0]
    producers = {output: node.op_type for node in model.graph.node for output in node.output}
    halved = name == "model.fp16.onnx" and read_manifest(model).has_strip_gate
    assert producers[neck[0].input[0]] == ("Cast" if halved else "StripGate" if model.functions else "ReduceMean")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    assert {constants[node.input[1]].data_type for node in neck} == {TensorProto.FLOAT}


@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx"])
def test_rewritten_files(exported: Exported, crops: Crops, name: str, tmp_path: Path) -> None:
    images = preprocess_batch(crops, 64, 32, "BGR")
    path = exported.out / name
    rewrite(path, tmp_path / "inlined.onnx", functions="inline")
    rewrite(path, tmp_path / "stripped.onnx", functions="strip")
    checker.check_model(load_model(tmp_path / "stripped.onnx"), full_check=True)
    np.testing.assert_array_equal(run(tmp_path / "inlined.onnx", images), run(path, images))
    assert set_functions(load_model(tmp_path / "stripped.onnx"), "keep") == load_model(path)


def test_casting_the_fp32_file_gives_the_fp16_file(exported: Exported, tmp_path: Path) -> None:
    rewrite(exported.report.fp32, tmp_path / "half.onnx", functions="keep", precision="fp16")
    assert (tmp_path / "half.onnx").read_bytes() == (exported.out / "model.fp16.onnx").read_bytes()


def test_the_report_says_what_was_seen(exported: Exported, crops: Crops) -> None:
    report, source = exported.report, load_checkpoint(exported.checkpoint)
    assert [check.batch for check in report.fp32_checks] == [check.batch for check in report.fp16_checks] == [1, 7, 32]
    assert all(check.max_difference < 1e-6 for check in report.fp32_checks)
    assert all(0.9999 < check.min_cosine < 1 + 1e-9 for check in report.fp16_checks)
    assert "10 given crops" in str(report)
    assert "65,504" in str(report)

    # The node may be the module's last, or stand before a module inside it (a batch norm with its activation).
    module = source.model.get_submodule(report.activation.node.split("/")[0])
    seen: list[float] = []
    module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.abs().max().item()))
    for child in module.children():
        child.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].abs().max().item()))
    torch_embeddings(source, preprocess_batch(crops, 64, 32, "BGR"))
    assert any(report.activation.value == pytest.approx(value, rel=1e-5) for value in seen), seen


def test_a_zero_descriptor_becomes_zeros_as_in_torch(make_checkpoint: MakeCheckpoint) -> None:
    source = load_checkpoint(make_checkpoint(gate="none"))
    with torch.no_grad():
        for norm in (source.model.backbone.layer4[0].bn2, source.model.backbone.layer4[0].downsample[2]):
            norm.weight.zero_()
            norm.bias.zero_()
    images = np.zeros((2, 64, 32, 3), np.uint8)
    session = onnxruntime.InferenceSession(convert(source, "0" * 64).SerializeToString())
    np.testing.assert_array_equal(session.run(None, {"images": images})[0], torch_embeddings(source, images))
    np.testing.assert_array_equal(torch_embeddings(source, images), 0)


@pytest.fixture(scope="module")
def loud_checkpoint(make_checkpoint: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose activations are beyond fp16 and whose weights are not."""
    source = load_checkpoint(make_checkpoint(gate="none"))
    with torch.no_grad():
        for norm in (source.model.backbone.bn1, source.model.backbone.conv1[1]):
            norm.weight.mul_(2000)
    return save_checkpoint(tmp_path_factory.mktemp("loud") / "checkpoint.pt", source.model)


def test_activations_beyond_fp16_fail_and_leave_nothing(loud_checkpoint: Path, crops: Crops, tmp_path: Path) -> None:
    with pytest.raises(
        CheckFailedError, match=r"backbone\..* puts out .* and fp16 ends at 65,504; nothing was written"
    ):
        export_checkpoint(loud_checkpoint, tmp_path / "out", crops)
    assert not (tmp_path / "out").exists()


def test_without_fp16(loud_checkpoint: Path, tmp_path: Path) -> None:
    report = export_checkpoint(loud_checkpoint, tmp_path, fp16=False)
    assert report.fp16 is None
    assert report.fp16_checks == ()
    assert report.activation.value > 65_504
    assert "32 images of random noise" in str(report)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_weight_beyond_fp16_is_named(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    source = load_checkpoint(make_checkpoint())
    with torch.no_grad():
        source.model.pool.w2[0, 0, 0] = 7e4
    path = save_checkpoint(tmp_path / "checkpoint.pt", source.model)
    with pytest.raises(InputError, match=r"'pool\.w2' holds 70000; .* \(--no-fp16\)"):
        export_checkpoint(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def with_strips(checkpoint: Path, strips: int, folder: Path) -> Path:
    """A checkpoint whose manifest says another number of strips."""
    content = torch.load(checkpoint, weights_only=True)
    manifest = Manifest.from_json(content["manifest"], str(checkpoint))
    torch.save(content | {"manifest": dataclasses.replace(manifest, strips=strips).to_json()}, folder / "strips.pt")
    return folder / "strips.pt"


def test_refusals_come_before_the_work(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        export_checkpoint(make_checkpoint(), tmp_path / "file")
    with pytest.raises(InputError, match="no crops were given"):
        export_checkpoint(make_checkpoint(), tmp_path / "out", [])
    with pytest.raises(InputError, match="expected non-empty h x w x 3 uint8"):
        export_checkpoint(make_checkpoint(), tmp_path / "out", [np.zeros((4, 4), np.uint8)])
    with pytest.raises(InputError, match="does not exist"):
        export_checkpoint(tmp_path / "none.pt", tmp_path / "out")
    with pytest.raises(InputError, match=r"this model has none \(gate 'none'\)"):
        export_checkpoint(make_checkpoint(gate="none"), tmp_path / "out", layout="nhwc")
    with pytest.raises(InputError, match="'float-nhwc'; expected one of uint8-nhwc, float-nchw"):
        export_checkpoint(make_checkpoint(), tmp_path / "out", input_format="float-nhwc")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"input height 64\) and does not divide into 3 equal strips; set height to"):
        export_checkpoint(with_strips(make_checkpoint(), 3, tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
