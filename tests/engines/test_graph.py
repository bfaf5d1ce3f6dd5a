"""What becomes of StripGate's body, and of the manifest with it."""

import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper

from engines.graph import copy_model, load_model, read_manifest, save_model, set_functions, write_manifest
from engines.precision import to_fp16
from runtime.errors import InputError, ManifestError
from runtime.manifest import METADATA_KEY

Images = NDArray[np.uint8]
MakeModel = Callable[..., onnx.ModelProto]
Run = Callable[[onnx.ModelProto, Images], NDArray[np.float32]]


def operators(model: onnx.ModelProto) -> set[str]:
    return {f"{node.domain}::{node.op_type}" for node in model.graph.node}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("strips", [1, 2, 4, 8])
def test_kept_inlined_and_restored_files_give_equal_embeddings(
    make_model: MakeModel, run_onnx: Run, images: Images, strips: int, channels_last: bool, precision: str
) -> None:
    kept = make_model(strips=strips, channels_last=channels_last)
    kept = to_fp16(kept) if precision == "fp16" else kept
    stripped, inlined = set_functions(kept, "strip"), set_functions(kept, "inline")
    for model in (kept, stripped, inlined):
        checker.check_model(model, full_check=True)

    assert len(kept.functions) == 1
    assert len(stripped.functions) == len(inlined.functions) == 0
    assert "lgeu::StripGate" in operators(stripped)
    assert not any(name.startswith("lgeu") for name in operators(inlined))
    assert set_functions(stripped, "keep") == kept
    assert set_functions(stripped, "inline") == inlined
    np.testing.assert_array_equal(run_onnx(kept, images), run_onnx(inlined, images))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_openvino_reads_the_inlined_file_and_agrees(
    make_model: MakeModel, run_onnx: Run, images: Images, precision: str, tmp_path: Path
) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    model = make_model()
    model = set_functions(to_fp16(model) if precision == "fp16" else model, "inline")
    save_model(model, tmp_path / "inlined.onnx")
    # Without the hint it takes bfloat16 where the CPU has it.
    compiled = openvino.Core().compile_model(tmp_path / "inlined.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(images)[0], run_onnx(model, images), atol=1e-6 if precision == "fp32" else 2e-3)


@pytest.mark.parametrize("mode", ["keep", "strip", "inline"])
def test_the_manifest_says_what_was_done(make_model: MakeModel, mode: str) -> None:
    model = make_model()
    manifest = read_manifest(set_functions(model, mode))
    opset = {"": 18} if mode == "inline" else {"": 18, "lgeu": 1}
    assert manifest == dataclasses.replace(read_manifest(model), functions=mode, opset=opset)
    assert {entry.domain: entry.version for entry in set_functions(model, mode).opset_import} == opset


@pytest.mark.parametrize("mode", ["keep", "strip", "inline"])
def test_a_model_without_strip_gate_stays_as_it_is(make_model: MakeModel, mode: str) -> None:
    model = make_model(gate="none")
    assert read_manifest(model).functions is None
    assert set_functions(model, mode) == model


def test_the_model_given_is_not_changed(make_model: MakeModel) -> None:
    model, same = make_model(), make_model()
    set_functions(model, "inline")
    set_functions(model, "strip")
    to_fp16(model)
    assert model == same


def test_an_inlined_node_does_not_come_back(make_model: MakeModel) -> None:
    inlined = set_functions(make_model(), "inline")
    assert set_functions(inlined, "inline") == inlined
    with pytest.raises(InputError, match="inlined in this file; start from"):
        set_functions(inlined, "keep")


def test_unknown_mode(make_model: MakeModel) -> None:
    with pytest.raises(InputError, match="'drop'; expected one of keep, strip, inline"):
        set_functions(make_model(), "drop")  # type: ignore[arg-type]


def test_a_manifest_that_the_graph_contradicts(make_model: MakeModel) -> None:
    model = make_model()
    del model.functions[:]
    with pytest.raises(ManifestError, match=r"has a bare StripGate node, and its manifest says .* functions 'keep'"):
        set_functions(model, "strip")


def test_other_metadata_is_kept_and_the_manifest_replaced(make_model: MakeModel) -> None:
    model = make_model()
    model.metadata_props.add(key="author", value="me")
    manifest = dataclasses.replace(read_manifest(model), trained_on="people")
    write_manifest(model, manifest)
    write_manifest(model, manifest)
    assert sorted(entry.key for entry in model.metadata_props) == ["author", METADATA_KEY]
    assert read_manifest(model) == manifest


def test_no_manifest(make_model: MakeModel) -> None:
    model = make_model()
    del model.metadata_props[:]
    with pytest.raises(ManifestError, match=r"here\.onnx has no manifest .*; use a file that `lgeu export` wrote"):
        read_manifest(model, "here.onnx")


def test_save_and_load(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    save_model(model, tmp_path / "model.onnx")
    assert load_model(tmp_path / "model.onnx") == model


def test_weights_beside_the_file_are_refused_and_the_advice_puts_them_in(
    make_model: MakeModel, run_onnx: Run, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apart").mkdir()
    path, model = tmp_path / "apart" / "model.onnx", make_model()
    onnx.save(copy_model(model), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    # What a parser that has not the file's path would take in their place.
    (tmp_path / "w.bin").write_bytes(bytes((tmp_path / "apart" / "w.bin").stat().st_size))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match=r"keeps weights in w\.bin; expected one file") as refused:
        load_model(path)

    advice = shlex.split(str(refused.value).partition("put them in: ")[2])
    subprocess.run([sys.executable, *advice[1:]], check=True)
    np.testing.assert_array_equal(run_onnx(load_model(Path("whole.onnx")), images), run_onnx(model, images))


def test_weights_apart_are_found_wherever_a_graph_may_hold_them(make_model: MakeModel, tmp_path: Path) -> None:
    outside = TensorProto(data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="far.bin")
    branch = helper.make_graph([helper.make_node("Constant", [], ["b"], value=outside)], "branch", [], [])
    model = make_model()
    model.functions[0].node.append(helper.make_node("If", ["flag"], ["b"], then_branch=branch, else_branch=branch))
    save_model(model, tmp_path / "model.onnx")

    with pytest.raises(InputError, match=r"far\.bin"):
        load_model(tmp_path / "model.onnx")
    assert load_model(tmp_path / "model.onnx", external=True) == model


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_file(tiny_onnx: Path, tmp_path: Path, share: float) -> None:
    content = tiny_onnx.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="truncated or something else"):
        load_model(path)


@pytest.mark.parametrize("content", [b"hello, this is text", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\x08\x08"])
def test_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match="truncated or something else"):
        load_model(path)


def test_missing_and_empty_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(InputError, match="is empty"):
        load_model(tmp_path / "model.onnx")
