"""Engines built by the real TensorRT-RTX, which needs no GPU for that; the StripGate plugin proven inside."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engines import builder, strip_gate_library
from engines.builder import build_engine
from engines.configuration import configure
from engines.graph import load_model, read_manifest, save_model, set_functions, write_manifest
from engines.layers import Layer, Tensor, check_plugin_layers, check_precision, layers_path, read_layers
from engines.options import BuildOptions
from engines.plan_bytes import embedded_libraries, missing_plugin_traces
from engines.precision import to_fp16
from engines.strip_gate import is_strip_gate
from runtime.engine_manifest import BatchProfile
from runtime.errors import CheckFailedError, InputError, LgeuError, ManifestError, MissingDependencyError
from runtime.files import sha256
from runtime.manifest import Manifest, manifest_path, read_engine_manifest
from runtime.tensorrt_library import TensorRTLibrary, load_plugin, load_tensorrt, prepare_parser
from runtime.tensorrt_log import collecting_logger

PROFILE = BatchProfile(1, 8, 16)
MakeModel = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="session", autouse=True)
def tensorrt_rtx() -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")


def build(onnx_path: Path, out: Path | None, plugin: Path | None, *targets: str, **options: Any) -> Path:
    built = BuildOptions(options.pop("profiles", (PROFILE,)), targets=targets or ("SM86",), **options)
    return build_engine(onnx_path, out, flavour="tensorrt-rtx", plugin=plugin, options=built)


@pytest.mark.parametrize(("fixture", "precision"), [("tiny_onnx", "fp32"), ("tiny_fp16_onnx", "fp16")])
def test_the_engine_holds_the_plugin_and_its_manifest_fits(
    fixture: str, precision: str, plugin_library: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    onnx_path = request.getfixturevalue(fixture)

    engine = build(onnx_path, tmp_path / "model.engine", plugin_library)

    assert {path.name for path in tmp_path.iterdir()} == {
        "model.engine",
        "model.engine.json",
        "model.engine.layers.json",
    }
    manifest = read_engine_manifest(engine)
    assert manifest.precision == precision
    assert manifest.engine is not None
    assert manifest.engine.flavour == "tensorrt-rtx"
    assert manifest.engine.gpu_architectures == ("SM86",)
    assert manifest.engine.profiles == (PROFILE,)
    assert not manifest.engine.plugin_embedded
    assert manifest.engine.platform is None
    assert manifest.engine.engine_sha256 == sha256(engine)
    assert manifest.engine.onnx_sha256 == sha256(onnx_path)
    assert manifest.engine.plugin_sha256 == sha256(plugin_library)
    dump = json.loads(layers_path(engine).read_text())
    assert dump["engine_sha256"] == sha256(engine)
    gates = [layer for layer in dump["layers"] if layer["type"] == "PLUGIN_V3"]
    kind = {"fp32": "FLOAT", "fp16": "HALF"}[precision]
    assert gates == [
        {
            "name": "strip_gate",
            "type": "PLUGIN_V3",
            "outputs": [{"name": "descriptor", "type": kind, "shape": [-1, 16]}],
        }
    ]
    # What TensorRT-RTX itself wrote into the plan.
    assert b'custom_layer={ name="strip_gate"' in engine.read_bytes()


def test_channels_last_stripped_and_named_after_the_onnx_file(
    make_model: MakeModel, plugin_library: Path, tmp_path: Path
) -> None:
    path = tmp_path / "last.fp32.onnx"
    save_model(set_functions(make_model(channels_last=True), "strip"), path)

    engine = build(path, None, plugin_library, "SM120", profiles=(BatchProfile(2, 2, 2),), allow_min_batch=True)

    assert engine == tmp_path / "last.fp32.engine"
    assert b'custom_layer={ name="strip_gate"' in engine.read_bytes()
    manifest = read_engine_manifest(engine)
    assert manifest.engine is not None
    assert manifest.engine.gpu_architectures == ("SM120",)


def test_a_model_without_strip_gate_needs_no_plugin(make_model: MakeModel, tmp_path: Path) -> None:
    save_model(make_model(gate="none"), tmp_path / "plain.onnx")

    engine = build(tmp_path / "plain.onnx", tmp_path / "plain.engine", None)

    manifest = read_engine_manifest(engine)
    assert manifest.engine is not None
    assert manifest.engine.plugin_sha256 is None


def test_several_gpus_and_several_profiles(tiny_onnx: Path, plugin_library: Path, tmp_path: Path) -> None:
    profiles = (BatchProfile(1, 1, 1), BatchProfile(4, 8, 16))

    engine = build(tiny_onnx, tmp_path / "m.engine", plugin_library, "SM86", "SM120", "SM86", profiles=profiles)

    manifest = read_engine_manifest(engine)
    assert manifest.engine is not None
    assert manifest.engine.gpu_architectures == ("SM86", "SM120")
    assert manifest.engine.profiles == profiles
    # TensorRT-RTX compiles the network once for each profile.
    for layer in (b'name="strip_gate"', b'name="strip_gate [profile 1]"'):
        assert engine.read_bytes().count(b"custom_layer={ " + layer) == 1


def test_the_plugin_inside_the_plan(tiny_onnx: Path, plugin_library: Path, tmp_path: Path) -> None:
    beside = build(tiny_onnx, tmp_path / "beside.engine", plugin_library)
    inside = build(tiny_onnx, tmp_path / "inside.engine", plugin_library, embed_plugin=True)

    manifest = read_engine_manifest(inside)
    assert manifest.engine is not None
    assert manifest.engine.plugin_embedded
    assert manifest.engine.plugin_sha256 == sha256(plugin_library)
    assert embedded_libraries(beside) == ()
    assert embedded_libraries(inside) == (sha256(plugin_library),)
    assert plugin_library.read_bytes() in inside.read_bytes()
    assert missing_plugin_traces(beside) == missing_plugin_traces(inside) == []


def test_a_library_inside_is_no_trace_of_a_layer(make_model: MakeModel, plugin_library: Path, tmp_path: Path) -> None:
    save_model(make_model(gate="none"), tmp_path / "plain.onnx")
    plain = build(tmp_path / "plain.onnx", tmp_path / "plain.engine", None, embed_plugin=True)
    manifest = read_engine_manifest(plain)
    assert manifest.engine is not None
    assert not manifest.engine.plugin_embedded

    library = plugin_library.read_bytes()
    plain.write_bytes(plain.read_bytes() + library + library[:5000])

    assert embedded_libraries(plain) == (sha256(plugin_library),)
    plain.write_bytes(plain.read_bytes()[: -len(library[:5000])])
    assert b"num_strips" in plain.read_bytes()
    assert missing_plugin_traces(plain) == ["StripGate", "num_strips"]


def test_the_workspace_limit_reaches_the_builder(tiny_onnx: Path, plugin_library: Path, out: Path) -> None:
    with pytest.raises(InputError, match=r"no engine could be built from .*workspace"):
        build(tiny_onnx, out, plugin_library, workspace=1024)
    build(tiny_onnx, out, plugin_library, workspace=1 << 30, optimization_level=0)


def test_a_second_build_takes_the_first_ones_place(tiny_onnx: Path, plugin_library: Path, tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"old")
    manifest_path(engine).write_text("old")

    build(tiny_onnx, engine, plugin_library)

    manifest = read_engine_manifest(engine)
    assert manifest.engine is not None
    assert manifest.engine.engine_sha256 == sha256(engine)


@pytest.fixture
def manifest(make_model: MakeModel) -> Manifest:
    """Of the tiny network, which is fp32."""
    return read_manifest(make_model())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a refused build must leave nothing: an old engine stays as it is."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "model.engine").write_bytes(b"old")
    return folder / "model.engine"


def refuses(error: type[LgeuError], message: str, out: Path, onnx_path: Path, plugin: Path | None, target: str) -> None:
    with pytest.raises(error, match=message):
        build(onnx_path, out, plugin, target)
    assert out.read_bytes() == b"old"
    assert list(out.parent.iterdir()) == [out]


def test_no_plugin_library(tiny_onnx: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses(InputError, "does not exist", out, tiny_onnx, tmp_path / "none.so", "SM86")

    monkeypatch.setattr(strip_gate_library, "default_plugin", lambda: tmp_path / "never" / "built.so")
    refuses(InputError, r"no plugin for it .*built\.so does not exist.*make plugin", out, tiny_onnx, None, "SM86")


def test_a_library_of_another_operator_version(tiny_onnx: Path, out: Path, plugin_of_version_2: Path) -> None:
    message = r"built for version 2 of the operator .*have version 1: build the plugin again with `make plugin`"
    refuses(InputError, message, out, tiny_onnx, plugin_of_version_2, "SM86")


def test_a_second_library_in_one_process(tiny_onnx: Path, plugin_library: Path, out: Path, tmp_path: Path) -> None:
    build(tiny_onnx, tmp_path / "first.engine", plugin_library)
    copy = tmp_path / "copy.so"
    copy.write_bytes(plugin_library.read_bytes())

    for _ in range(2):  # nor is it taken because it was looked at before
        refuses(InputError, "another StripGate library", out, tiny_onnx, copy, "SM86")


def test_what_tensorrt_rtx_has_not(tiny_onnx: Path, plugin_library: Path, out: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"timing_cache": tmp_path / "timing.cache"}, "TensorRT-RTX has no timing cache"),
        ({"version_compatible": True}, "TensorRT-RTX has no lean runtime"),
        ({"hardware_compatibility": "ampere+"}, "TensorRT-RTX has no levels of hardware compatibility"),
    ):
        with pytest.raises(InputError, match=message):
            build(tiny_onnx, out, plugin_library, **options)
    assert out.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_fp16_engine_of_an_fp32_file(
    tiny_onnx: Path, tiny_fp16_onnx: Path, plugin_library: Path, out: Path, tmp_path: Path
) -> None:
    fp32 = tmp_path / "model.onnx"
    fp32.write_bytes(tiny_onnx.read_bytes())
    command = f"lgeu rewrite {fp32} --precision fp16 --out {tmp_path / 'model.fp16.onnx'}"
    with pytest.raises(InputError, match=f"is fp32, and fp16 was asked for.*`lgeu export`.*unchecked: {command}$"):
        build(fp32, out, plugin_library, precision="fp16")
    (tmp_path / "model.fp16.onnx").write_bytes(tiny_fp16_onnx.read_bytes())
    with pytest.raises(InputError, match=r"is fp32, and fp16 was asked for.*name .*model\.fp16\.onnx$"):
        build(fp32, out, plugin_library, precision="fp16")
    with pytest.raises(InputError, match="is fp16, and fp32 was asked for: what rounding took does not come back"):
        build(tiny_fp16_onnx, out, plugin_library, precision="fp32")
    assert out.read_bytes() == b"old"
    build(tiny_fp16_onnx, out, plugin_library, precision="fp16")


def test_a_file_that_would_be_written_over_what_is_read(tiny_onnx: Path, plugin_library: Path, out: Path) -> None:
    for cache in (tiny_onnx, plugin_library, out, manifest_path(out)):
        before = cache.read_bytes() if cache.exists() else None
        options = BuildOptions((PROFILE,), timing_cache=cache)
        with pytest.raises(InputError, match=f"{cache} would be written over another file of this very build"):
            build_engine(tiny_onnx, out, flavour="tensorrt", plugin=plugin_library, options=options)
        assert (cache.read_bytes() if cache.exists() else None) == before


@pytest.mark.parametrize("beside", ["model.engine.json", "model.engine.layers.json"])
def test_what_cannot_be_written_is_said_before_the_build(
    tiny_onnx: Path, plugin_library: Path, out: Path, beside: str
) -> None:
    (out.parent / beside).mkdir()
    with pytest.raises(InputError, match=f"cannot write .*{beside}: it is a folder"):
        build(tiny_onnx, out, plugin_library)
    assert out.read_bytes() == b"old"
    assert {path.name for path in out.parent.iterdir()} == {"model.engine", beside}


def test_an_earlier_complaint_is_not_the_reason(
    tiny_onnx: Path, plugin_library: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TensorRT's, of a timing cache of another version, which is built anew."""

    def complains(network_builder: Any, library: TensorRTLibrary, *rest: Any) -> Any:
        severity = library.trt.ILogger.Severity.ERROR
        collecting_logger(library.trt).log(severity, "the timing cache is of another version")
        return configure(network_builder, library, *rest)

    monkeypatch.setattr(builder, "configure", complains)
    with pytest.raises(InputError, match=r"no engine could be built from .*workspace"):
        build(tiny_onnx, out, plugin_library, workspace=1024)


def test_targets_that_cannot_be_built(tiny_onnx: Path, plugin_library: Path, out: Path) -> None:
    refuses(InputError, "does not build for SM87; it does for SM75, ", out, tiny_onnx, plugin_library, "SM87")


def test_files_that_are_not_ours(make_model: MakeModel, tiny_onnx: Path, out: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = make_model()
    model.metadata_props.clear()
    onnx.save(model, path)
    refuses(ManifestError, "has no manifest", out, path, None, "SM86")
    path.write_bytes(tiny_onnx.read_bytes()[:1000])
    refuses(InputError, "not a readable ONNX|no ONNX graph", out, path, None, "SM86")
    save_model(set_functions(make_model(), "inline"), path)
    refuses(InputError, "was inlined", out, path, None, "SM86")
    for folder in (tmp_path, Path()):
        with pytest.raises(InputError, match="is a folder; a file was expected"):
            build(folder, None, None)


def test_a_height_that_the_strips_do_not_divide(
    make_model: MakeModel, plugin_library: Path, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_model(make_model(strips=3), tmp_path / "three.onnx")

    message = "X has 8 rows; expected a positive multiple of num_strips = 3"
    refuses(InputError, message, out, tmp_path / "three.onnx", plugin_library, "SM86")
    assert "rows" not in capfd.readouterr().err  # it is the error's to say


def test_types_that_the_plugin_does_not_take(
    make_model: MakeModel, plugin_library: Path, out: Path, tmp_path: Path
) -> None:
    model = make_model()
    index = next(index for index, node in enumerate(model.graph.node) if is_strip_gate(node))
    source, model.graph.node[index].input[0] = model.graph.node[index].input[0], "rounded"
    cast = onnx.helper.make_node("Cast", [source], ["rounded"], name="round", to=onnx.TensorProto.BFLOAT16)
    model.graph.node.insert(index, cast)
    save_model(model, tmp_path / "bfloat16.onnx")

    message = "X, W1 and W2 have types bfloat16, float and float; expected float or half, W1 and W2 of one type"
    refuses(InputError, message, out, tmp_path / "bfloat16.onnx", plugin_library, "SM86")


def test_a_manifest_that_promises_another_network(
    make_model: MakeModel, plugin_library: Path, out: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    for changes, message in (
        ({"precision": "fp16"}, r"fp16 by its manifest, but 3 of its 3 .* the first 'conv1' \(CONVOLUTION\) in FLOAT"),
        ({"embedding_size": 17}, r"embeddings FLOAT \(-1, 16\); expected .*embeddings FLOAT \(-1, 17\)"),
    ):
        save_model(_with_manifest(make_model(), changes), path)
        refuses(InputError, message, out, path, plugin_library, "SM86")


def test_a_matrix_product_in_float_among_halves(
    make_model: MakeModel, plugin_library: Path, out: Path, tmp_path: Path
) -> None:
    """As a tool that keeps "sensitive" layers in float32 would leave a ConvNeXt's pointwise layers."""
    model = to_fp16(_with_product(make_model()))
    save_model(model, tmp_path / "half.onnx")
    engine = build(tmp_path / "half.onnx", tmp_path / "half.engine", plugin_library)
    dump = json.loads(layers_path(engine).read_text())["layers"]
    assert [layer["outputs"][0]["type"] for layer in dump if layer["type"] == "MATRIX_MULTIPLY"] == ["HALF"]

    save_model(_product_in_float(model), tmp_path / "float.onnx")
    message = r"1 of its 4 convolutions and matrix products .* the first 'product' \(MATRIX_MULTIPLY\) in FLOAT"
    refuses(InputError, message, out, tmp_path / "float.onnx", plugin_library, "SM86")


def test_an_operator_that_tensorrt_lacks(
    make_model: MakeModel, plugin_library: Path, out: Path, tmp_path: Path
) -> None:
    model = make_model()
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Bernoulli"
    onnx.save(model, tmp_path / "model.onnx")

    refuses(InputError, "cannot read .*relu1", out, tmp_path / "model.onnx", plugin_library, "SM86")


def test_the_other_library_is_not_installed(tiny_onnx: Path, plugin_library: Path, tmp_path: Path) -> None:
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match="pip install tensorrt"):
            build_engine(
                tiny_onnx,
                tmp_path / "e.engine",
                flavour="tensorrt",
                plugin=plugin_library,
                options=BuildOptions((PROFILE,)),
            )
    else:
        pytest.skip("tensorrt is installed")


def test_a_parser_that_expands_the_function_body_is_found_out(tiny_onnx: Path) -> None:
    """What trtexec does without the plugin: the parser says nothing, and the layers do."""
    assert "StripGate is not a plugin layer" in _parse_in_new_process(tiny_onnx)


def test_a_kept_function_body_gives_way_to_the_plugin(tiny_onnx: Path, plugin_library: Path) -> None:
    assert _parse_in_new_process(tiny_onnx, plugin_library) == "accepted"


def test_matrix_products_count_for_the_precision(manifest: Manifest) -> None:
    convolution = Layer("stem", "CONVOLUTION", (Tensor("a", "HALF", (-1, 8, 4, 4)),))
    product = Layer("mlp", "MATRIX_MULTIPLY", (Tensor("b", "FLOAT", (-1, 8, 4, 4)),))
    norm = Layer("norm", "NORMALIZATION", (Tensor("c", "FLOAT", (-1, 8, 4, 4)),))
    half = dataclasses.replace(manifest, precision="fp16")
    check_precision([convolution, norm], half, "m.onnx")
    with pytest.raises(InputError, match=r"1 of its 2 .* the first 'mlp' \(MATRIX_MULTIPLY\) in FLOAT"):
        check_precision([convolution, product, norm], half, "m.onnx")
    with pytest.raises(InputError, match=r"1 of its 2 .* the first 'stem' \(CONVOLUTION\) in HALF"):
        check_precision([convolution, product, norm], manifest, "m.onnx")


def test_layer_checks_name_the_layer() -> None:
    gate = Layer("gate", "PLUGIN_V3", (Tensor("descriptor", "HALF", (-1, 16)),))
    other = Layer("other", "PLUGIN_V3", (Tensor("x", "HALF", (-1, 16)),))
    check_plugin_layers([gate, other], ["descriptor"], "m.onnx")
    with pytest.raises(CheckFailedError, match="plugins compute x; expected descriptor"):
        check_plugin_layers([other], ["descriptor"], "m.onnx")
    with pytest.raises(CheckFailedError, match="expected a StripGate node"):
        check_plugin_layers([other], [], "m.onnx")


_CHILD = """
import sys
from pathlib import Path
from runtime.errors import LgeuError
from tests_builder import parse
try:
    print(parse(*map(Path, sys.argv[1:])))
except LgeuError as error:
    print(error)
"""


def parse(onnx_path: Path, plugin: Path | None = None) -> str:
    library = load_tensorrt("tensorrt-rtx")
    prepare_parser(library)
    trt = library.trt
    log = trt.Logger(trt.Logger.ERROR)
    network_builder = trt.Builder(log)
    if plugin is not None:
        load_plugin(library, plugin)
    network = network_builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, log).parse(onnx_path.read_bytes())
    gates = [node.output[0] for node in load_model(onnx_path).graph.node if is_strip_gate(node)]
    check_plugin_layers(read_layers(network), gates, str(onnx_path))
    return "accepted"


def _parse_in_new_process(*paths: Path) -> str:
    """The registry of plugins is the process's own, so a plugin's absence needs a new one. Returns the last line."""
    loader = (
        f"import importlib.util, sys; spec = importlib.util.spec_from_file_location('tests_builder', {__file__!r});"
    )
    loader += "module = importlib.util.module_from_spec(spec); sys.modules['tests_builder'] = module;"
    loader += "spec.loader.exec_module(module)\n"
    command = [sys.executable, "-c", loader + _CHILD, *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip().splitlines()[-1]


def _with_product(model: onnx.ModelProto) -> onnx.ModelProto:
    """The tiny network with a pointwise layer, written as a matrix product, before the gate."""
    graph = model.graph
    gate = next(index for index, node in enumerate(graph.node) if is_strip_gate(node))
    graph.node[gate].input[0] = "mixed"
    layers = [
        onnx.helper.make_node("Transpose", ["x"], ["rows"], name="to_rows", perm=[0, 2, 3, 1]),
        onnx.helper.make_node("MatMul", ["rows", "product.weight"], ["mixed_rows"], name="product"),
        onnx.helper.make_node("Transpose", ["mixed_rows"], ["mixed"], name="from_rows", perm=[0, 3, 1, 2]),
    ]
    for offset, node in enumerate(layers):
        graph.node.insert(gate + offset, node)
    weight = np.eye(16, dtype=np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(weight, "product.weight"))
    return model


def _product_in_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same cast model, but for the product, which stands between casts."""
    graph = model.graph
    place = next(index for index, node in enumerate(graph.node) if node.op_type == "MatMul")
    product = graph.node[place]
    names = [*product.input, *product.output]
    before = [
        onnx.helper.make_node("Cast", [name], [f"{name}.float"], name=f"cast {name}", to=onnx.TensorProto.FLOAT)
        for name in names[:2]
    ]
    after = onnx.helper.make_node(
        "Cast", [f"{names[2]}.float"], [names[2]], name="cast back", to=onnx.TensorProto.FLOAT16
    )
    product.input[:] = [f"{name}.float" for name in names[:2]]
    product.output[:] = [f"{names[2]}.float"]
    graph.node.insert(place + 1, after)
    for node in before:
        graph.node.insert(place, node)
    return model


def _with_manifest(model: onnx.ModelProto, changes: dict[str, object]) -> onnx.ModelProto:
    write_manifest(model, dataclasses.replace(read_manifest(model), **changes))  # type: ignore[arg-type]
    return model
