"""What is said of files: made by the real writers, damaged, foreign, and engines that cannot be opened here."""

import json
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.builder import build_engine
from engines.graph import load_model, save_model, set_functions
from engines.inspect_engine import EngineReport, inspect_engine
from engines.inspect_onnx import OnnxReport, OnnxTensor, inspect_onnx
from engines.layers import layers_path, load_layers
from engines.options import BuildOptions
from engines.plan import EngineLayer, Plan, parse_inspector
from runtime.engine_manifest import BatchProfile, Flavour
from runtime.errors import InputError
from runtime.files import sha256
from runtime.manifest import METADATA_KEY, manifest_path, read_engine_manifest
from runtime.tensorrt_library import load_tensorrt

PROFILE = BatchProfile(1, 8, 16)
PLAN = "inputs, outputs, profiles and layers of the engine"
NETWORK = "layers of the network"
MakeModel = Callable[..., onnx.ModelProto]


def types_of(report: OnnxReport) -> dict[str, dict[str, int]]:
    return {operator.name: dict(operator.types) for operator in report.operators}


def as_json(report: OnnxReport | EngineReport) -> Any:
    """Through JSON's text and back, which must not hold NaN."""
    return json.loads(json.dumps(report.to_json(), allow_nan=False))


@pytest.mark.parametrize(("fixture", "kind"), [("tiny_onnx", "FLOAT"), ("tiny_fp16_onnx", "FLOAT16")])
def test_an_exported_file(fixture: str, kind: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(fixture)
    report = inspect_onnx(path)
    model = onnx.load(path)

    assert report.manifest is not None
    assert (report.file.sha256, report.file.size) == (sha256(path), path.stat().st_size)
    assert report.inputs == (OnnxTensor("images", "UINT8", ("N", 64, 32, 3)),)
    assert report.outputs == (OnnxTensor("embeddings", "FLOAT", ("N", 16)),)
    assert report.opset == {"": 18, "lgeu": 1}
    assert report.functions == "keep"
    assert [(body.domain, body.name) for body in report.bodies] == [("lgeu", "StripGate")]
    (gate,) = report.strip_gates
    assert model.graph.node[gate.position].op_type == "StripGate"
    assert (gate.name, gate.output, gate.type) == ("strip_gate", "descriptor", kind)
    assert gate.attributes == {
        "num_strips": 4,
        "channels_last": 0,
        "plugin_namespace": "lgeu",
        "plugin_version": "1",
    }
    assert types_of(report)["Conv"] == {kind: 3}
    assert sum(operator.count for operator in report.operators) == len(model.graph.node)
    sizes = [numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer]
    assert sum(weights.size for weights in report.weights) == sum(sizes)
    assert sum(weights.tensors for weights in report.weights) == len(sizes)
    assert report.weights[0].type == kind
    assert report.problems == ()
    content = as_json(report)
    assert content["kind"] == "onnx"
    assert content["manifest"]["gate"] == "strip"


def test_types_are_known_behind_a_bare_node_and_where_it_was_inlined(make_model: MakeModel, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save_model(set_functions(make_model(), "strip"), path)
    stripped = inspect_onnx(path)
    save_model(set_functions(make_model(), "inline"), path)
    inlined = inspect_onnx(path)
    save_model(make_model(gate="none"), path)
    plain = inspect_onnx(path)

    assert [report.functions for report in (stripped, inlined, plain)] == ["strip", "inline", None]
    assert [len(report.strip_gates) for report in (stripped, inlined, plain)] == [1, 0, 0]
    for report in (stripped, inlined, plain):
        assert report.bodies == ()
        assert not any("UNKNOWN" in types for types in types_of(report).values())
        assert report.problems == ()


def test_an_fp16_manifest_on_fp32_convolutions_is_a_problem(tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = load_model(tiny_onnx)
    report = inspect_onnx(tiny_onnx)
    assert report.manifest is not None
    content = json.loads(report.manifest.to_json())
    for changes, message in (
        ({"precision": "fp16"}, "says fp16, and of 3 Conv nodes would run 3 in FLOAT"),
        ({"functions": "strip"}, "the graph has StripGate's body"),
        ({"embedding_size": 17}, r"expected .*embeddings FLOAT \(-1, 17\)"),
        ({"opset": {"": 17, "lgeu": 1}}, "says operator sets"),
    ):
        next(entry for entry in model.metadata_props if entry.key == METADATA_KEY).value = json.dumps(content | changes)
        save_model(model, path)
        (problem,) = inspect_onnx(path).problems
        assert re.search(message, problem)


def test_a_manifest_that_cannot_be_read_is_told_from_none(make_model: MakeModel, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = make_model()
    model.metadata_props[0].value = "{"
    save_model(model, path)
    report = inspect_onnx(path)
    assert report.manifest is None
    assert "is not JSON" in (report.manifest_error or "")

    del model.metadata_props[:]
    save_model(model, path)
    report = inspect_onnx(path)
    assert (report.manifest, report.manifest_error, report.problems) == (None, None, ())
    assert report.functions == "keep"


def foreign() -> onnx.ModelProto:
    """Weights among the inputs, in a Constant node and outside the file; a branch; an operator nobody knows."""
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float16([1, 2]), "c"))],
        "branch",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT16, [2])],
    )
    weight = numpy_helper.from_array(np.zeros((2, 3), np.float32), "w")
    outside = TensorProto(name="far", data_type=TensorProto.INT8, dims=[5, 7], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="far.bin")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
            helper.make_node("If", ["flag"], ["z"], then_branch=branch, else_branch=branch),
            helper.make_node("Mystery", ["y", "far"], ["m"], domain="example", factor=float("nan")),
        ],
        "foreign",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3]),
            helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("any", TensorProto.FLOAT, None),
        ],
        [helper.make_tensor_value_info("m", TensorProto.UNDEFINED, ["rows", 3])],
        [weight, outside],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("example", 1)])


def test_a_foreign_file(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(foreign().SerializeToString())
    report = inspect_onnx(path)

    assert report.inputs == (
        OnnxTensor("x", "FLOAT", ("?", 2)),
        OnnxTensor("flag", "BOOL", ()),
        OnnxTensor("s", "sequence", None),
        OnnxTensor("any", "FLOAT", None),
    )
    assert report.outputs[0].shape == ("rows", 3)
    counts = {(each.domain, each.name): each.count for each in report.operators}
    assert counts == {("", "MatMul"): 1, ("", "If"): 1, ("", "Constant"): 2, ("example", "Mystery"): 1}
    assert types_of(report)["MatMul"] == {"FLOAT": 1}
    assert types_of(report)["Mystery"] == {"UNKNOWN": 1}
    assert {each.type: (each.tensors, each.values, each.size) for each in report.weights} == {
        "INT8": (1, 35, 35),
        "FLOAT": (1, 6, 24),
        "FLOAT16": (2, 4, 8),
    }
    assert report.external_files == ("far.bin",)
    assert (report.manifest, report.functions, report.strip_gates) == (None, None, ())
    as_json(report)


def test_real_models_of_others(shared_data: Path) -> None:
    for path in sorted((shared_data / "models").glob("*.onnx")):
        report = inspect_onnx(path)
        assert report.manifest is None
        initialisers = onnx.load(path).graph.initializer
        stored = sum(numpy_helper.to_array(tensor).nbytes for tensor in initialisers)
        assert sum(weights.size for weights in report.weights) >= stored
        assert set(types_of(report)["Conv"]) == {"FLOAT"}


def test_damaged_files_are_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    whole = tiny_onnx.read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "truncated"),
        (b"", "is empty"),
        (b"a text, and no model", "truncated or something else"),
        (whole.replace(b"Relu", b"Rel\xff"), "not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            inspect_onnx(path)
    with pytest.raises(InputError, match="does not exist"):
        inspect_onnx(tmp_path / "none.onnx")


@pytest.fixture
def engine(tiny_fp16_onnx: Path, plugin_library: Path, tmp_path: Path) -> Path:
    """An engine for a GPU that is most likely not here."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    path = tmp_path / "model.engine"
    options = BuildOptions((PROFILE,), targets=("SM75",))
    return build_engine(tiny_fp16_onnx, path, flavour="tensorrt-rtx", plugin=plugin_library, options=options)


def test_an_engine_that_cannot_be_opened_here(engine: Path, plugin_library: Path) -> None:
    report = inspect_engine(engine, plugin_library)

    assert report.manifest == read_engine_manifest(engine)
    assert report.matches_manifest is True
    assert report.names_plugin
    assert report.file.sha256 == sha256(engine)
    assert report.network is not None
    (gate,) = (layer for layer in report.network if layer.type == "PLUGIN_V3")
    assert (gate.name, gate.outputs[0].type) == ("strip_gate", "HALF")
    assert (report.inputs, report.outputs, report.profiles, report.layers) == (None,) * 4
    assert list(report.unknown) == [PLAN]
    assert re.search("no usable NVIDIA GPU|was built for a GPU of architecture SM75", report.unknown[PLAN])
    assert report.problems == ()
    assert as_json(report)["manifest"]["engine"]["gpu_architectures"] == ["SM75"]


def test_a_plugin_inside_is_told_and_needs_no_file(tiny_fp16_onnx: Path, plugin_library: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    options = BuildOptions((PROFILE,), targets=("SM75",), embed_plugin=True)
    path = tmp_path / "inside.engine"
    build_engine(tiny_fp16_onnx, path, flavour="tensorrt-rtx", plugin=plugin_library, options=options)

    report = inspect_engine(path)
    assert report.embedded_libraries == (sha256(plugin_library),)
    assert report.names_plugin
    assert report.problems == ()
    assert list(report.unknown) == [PLAN]

    plan = path.read_bytes()
    path.write_bytes(plan.replace(plugin_library.read_bytes(), b""))
    content = json.loads(manifest_path(path).read_text())
    content["engine"]["engine_sha256"] = sha256(path)
    manifest_path(path).write_text(json.dumps(content))
    report = inspect_engine(path)
    assert report.embedded_libraries == ()
    assert "its bytes are not found" in report.unknown["the StripGate library inside the plan"]


def test_reasons_why_an_engine_is_not_opened(engine: Path) -> None:
    path = manifest_path(engine)
    content = json.loads(path.read_text())
    for changes, message in (
        ({"version": "1.0.0.1"}, "was built by tensorrt-rtx 1.0.0.1, and tensorrt-rtx .* is installed here"),
        ({"flavour": "tensorrt"}, "needs the Python package 'tensorrt'|was built by tensorrt 1.7"),
    ):
        path.write_text(json.dumps(content | {"engine": content["engine"] | changes}))
        report = inspect_engine(engine)
        assert re.search(message, report.unknown[PLAN])
        assert report.problems == ()


def test_a_plugin_that_is_not_there_is_the_users_mistake(engine: Path, tmp_path: Path) -> None:
    for plugin, message in ((tmp_path / "typo.so", "typo.so does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=f"plugin library .*{message}"):
            inspect_engine(engine, plugin)


def test_the_engine_is_gone_when_its_gpu_is_closed(
    engine: Path, plugin_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs a GPU is stood in for: with one, the other order is a crash at the process's end or none at all."""

    class Engine:
        pass

    ended: list[str] = []

    def deserialize(content: bytes) -> Engine:
        opened = Engine()
        weakref.finalize(opened, ended.append, "engine")
        return opened

    device = SimpleNamespace(architecture="SM75", close=lambda: ended.append("device"))
    runtime = SimpleNamespace(deserialize_cuda_engine=deserialize)
    monkeypatch.setattr("engines.inspect_engine.open_device", lambda: device)
    monkeypatch.setattr(load_tensorrt("tensorrt-rtx").trt, "Runtime", lambda logger: runtime)
    monkeypatch.setattr("engines.inspect_engine.read_plan", lambda engine, trt: Plan((), (), (), '{"Layers": []}'))
    assert inspect_engine(engine, plugin_library).layers == ()
    assert ended == ["engine", "device"]


def test_files_that_do_not_belong_together(engine: Path, plugin_library: Path) -> None:
    engine.write_bytes(engine.read_bytes()[:-1000])
    report = inspect_engine(engine, plugin_library)
    assert report.matches_manifest is False
    assert report.unknown[PLAN].startswith("the file is not the one")
    assert "another engine's" in report.unknown[NETWORK]
    assert len(report.problems) == 2

    manifest_path(engine).write_text("{")
    layers_path(engine).write_text('{"engine_sha256": "0", "layers": [{"name": "a"}]}')
    report = inspect_engine(engine)
    assert (report.manifest, report.matches_manifest) == (None, None)
    assert "is not JSON" in (report.manifest_error or "")
    assert "not a list of layers that `lgeu build` wrote" in report.unknown[NETWORK]

    manifest_path(engine).unlink()
    layers_path(engine).unlink()
    report = inspect_engine(engine)
    assert (report.manifest, report.manifest_error, report.network) == (None, None, None)
    assert report.names_plugin
    assert "--adopt" in report.unknown[PLAN]
    assert "trtexec does not" in report.unknown[NETWORK]


def test_an_engine_without_the_plugin_that_its_manifest_names(engine: Path) -> None:
    content = json.loads(manifest_path(engine).read_text())
    engine.write_bytes(engine.read_bytes().replace(b"num_strips", b"num_stripes"))
    content["engine"]["engine_sha256"] = sha256(engine)
    manifest_path(engine).write_text(json.dumps(content))
    assert "the plan holds no trace of one" in inspect_engine(engine).problems[0]


def test_what_is_no_engine_is_refused(tmp_path: Path, tiny_onnx: Path) -> None:
    path = tmp_path / "model.engine"
    for content in (b"a text", tiny_onnx.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"does not begin as a TensorRT engine, and no manifest model\.engine\.json"
        ):
            inspect_engine(path)


def test_a_damaged_list_of_layers(tmp_path: Path) -> None:
    path = tmp_path / "model.engine.layers.json"
    layer = '{"name": "a", "type": "CAST", "outputs": [{"name": "y", "type": "HALF", "shape": [NaN]}]}'
    for content in ("[", "[]", "\udcff", "{}", f'{{"engine_sha256": "", "layers": [{layer}]}}'):
        path.write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(InputError, match="not a list of layers"):
            load_layers(path)


def test_the_inspectors_text_with_names_only_and_with_details() -> None:
    text = json.dumps({"Layers": ["conv1", "{ForeignNode[a...gate]}"], "Bindings": ["images", "embeddings"]})
    assert parse_inspector(text, ["gate"]) == (
        EngineLayer("conv1", None, (), False),
        EngineLayer("{ForeignNode[a...gate]}", None, (), True),
    )
    outputs = [{"Name": "y", "Dimensions": [1, 16], "Format/Datatype": "Row major linear FP16 format"}]
    layers = [
        {"Name": "fused", "LayerType": "kgen", "Outputs": outputs, "Metadata": "[ONNX Layer: gate]"},
        {"Name": "other", "LayerType": "PluginV3", "Outputs": []},
        {"Name": "conv1", "LayerType": "CaskConvolution", "Outputs": outputs},
    ]
    found = parse_inspector(json.dumps({"Layers": layers}), ["gate"])
    assert [layer.holds_plugin for layer in found] == [True, True, False]
    assert found[0].outputs == ("y Row major linear FP16 format",)
    for wrong in ("", "[]", '{"Layers": [1]}', '{"Layers": [{"LayerType": "x"}]}'):
        with pytest.raises(InputError, match="no list of layers"):
            parse_inspector(wrong, [])


@pytest.mark.gpu
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_on_its_gpu(
    build_for_this_gpu: Callable[..., Path],
    make_model: MakeModel,
    plugin_library: Path,
    flavour: Flavour,
    tmp_path: Path,
) -> None:
    save_model(make_model(), tmp_path / "model.onnx")
    report = inspect_engine(
        build_for_this_gpu(tmp_path / "model.onnx", flavour, PROFILE, plugin=plugin_library), plugin_library
    )

    assert report.inputs is not None
    assert report.outputs is not None
    assert [(each.name, each.type, each.shape) for each in (*report.inputs, *report.outputs)] == [
        ("images", "UINT8", (-1, 64, 32, 3)),
        ("embeddings", "FLOAT", (-1, 16)),
    ]
    assert report.profiles is not None
    assert [(each.min[0], each.opt[0], each.max[0]) for each in report.profiles] == [(1, 8, 16)]
    assert report.layers
    named = any(layer.holds_plugin for layer in report.layers)
    assert named or "the plugin's place among the engine's layers" in report.unknown
    assert PLAN not in report.unknown
    as_json(report)
