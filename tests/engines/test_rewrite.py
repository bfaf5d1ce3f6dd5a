"""Rewriting files: what `lgeu rewrite` does."""

from pathlib import Path

import pytest

from engines.gate_layout import set_gate_layout
from engines.graph import load_model, read_manifest, save_model, set_functions
from engines.input_format import set_input_format
from engines.precision import to_fp16
from engines.rewrite import rewrite
from runtime.errors import InputError, ManifestError
from runtime.manifest import Functions


@pytest.mark.parametrize("mode", ["keep", "strip", "inline"])
@pytest.mark.parametrize("precision", [None, "fp32", "fp16"])
def test_rewrite_is_cast_then_functions(tiny_onnx: Path, tmp_path: Path, mode: str, precision: str | None) -> None:
    out = tmp_path / "new folder" / "model.onnx"
    assert rewrite(tiny_onnx, out, functions=mode, precision=precision) == out
    model = load_model(tiny_onnx)
    assert load_model(out) == set_functions(to_fp16(model) if precision == "fp16" else model, mode)
    assert [path.name for path in out.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("functions", ["keep", "strip", "inline"])
def test_layout_and_input_with_all_the_rest(tiny_onnx: Path, tmp_path: Path, functions: Functions) -> None:
    settings = {"layout": "nhwc", "input_format": "float-nchw"}
    rewrite(tiny_onnx, tmp_path / "model.onnx", functions=functions, precision="fp16", **settings)
    last = set_gate_layout(to_fp16(load_model(tiny_onnx)), "nhwc")
    assert load_model(tmp_path / "model.onnx") == set_input_format(set_functions(last, functions), "float-nchw")
    manifest = read_manifest(load_model(tmp_path / "model.onnx"))
    assert (manifest.gate_layout, manifest.input_format) == ("nhwc", "float-nchw")


@pytest.mark.parametrize("functions", ["keep", "strip", "inline"])
def test_functions_that_nobody_named_stay_as_they_are(tiny_onnx: Path, tmp_path: Path, functions: Functions) -> None:
    """A body that came back would be taken by TensorRT up to 10.6 in place of the plugin."""
    rewrite(tiny_onnx, tmp_path / "model.onnx", functions=functions)
    rewrite(tmp_path / "model.onnx", tmp_path / "planar.onnx", input_format="float-nchw")
    expected = set_input_format(set_functions(load_model(tiny_onnx), functions), "float-nchw")
    assert load_model(tmp_path / "planar.onnx") == expected


def test_there_and_back_is_the_same_file(tiny_fp16_onnx: Path, tmp_path: Path) -> None:
    rewrite(tiny_fp16_onnx, tmp_path / "model.onnx", functions="strip")
    rewrite(tmp_path / "model.onnx", tmp_path / "model.onnx", functions="keep")
    assert (tmp_path / "model.onnx").read_bytes() == tiny_fp16_onnx.read_bytes()


def test_casting_a_stripped_file(tiny_onnx: Path, tiny_fp16_onnx: Path, tmp_path: Path) -> None:
    rewrite(tiny_onnx, tmp_path / "stripped.onnx", functions="strip")
    rewrite(tmp_path / "stripped.onnx", tmp_path / "half.onnx", functions="keep", precision="fp16")
    assert (tmp_path / "half.onnx").read_bytes() == tiny_fp16_onnx.read_bytes()


def test_a_cast_says_what_it_has_not_checked(
    tiny_onnx: Path, tiny_fp16_onnx: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(tiny_fp16_onnx, tmp_path / "again.onnx", functions="strip", precision="fp16")
    rewrite(tiny_onnx, tmp_path / "single.onnx", functions="strip")
    assert caplog.text == ""
    rewrite(tiny_onnx, tmp_path / "half.onnx", precision="fp16")
    assert f"not checked: that no activation of {tmp_path / 'half.onnx'} passes 65,504" in caplog.text


def test_fp16_does_not_go_back(tiny_fp16_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is fp16, .* start from the fp32 file"):
        rewrite(tiny_fp16_onnx, tmp_path / "out.onnx", functions="keep", precision="fp32")
    assert not (tmp_path / "out.onnx").exists()


def test_unknown_precision(tiny_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'int8'; expected one of fp32, fp16"):
        rewrite(tiny_onnx, tmp_path / "out.onnx", functions="keep", precision="int8")  # type: ignore[arg-type]


def test_an_error_names_the_file_and_leaves_the_old_one(tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "inlined.onnx"
    rewrite(tiny_onnx, path, functions="inline")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"inlined\.onnx: .* inlined in this file"):
        rewrite(path, path, functions="strip")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["inlined.onnx"]


def test_no_manifest(tiny_onnx: Path, tmp_path: Path) -> None:
    model = load_model(tiny_onnx)
    del model.metadata_props[:]
    save_model(model, tmp_path / "foreign.onnx")
    with pytest.raises(ManifestError, match=r"foreign\.onnx has no manifest"):
        rewrite(tmp_path / "foreign.onnx", tmp_path / "out.onnx", functions="keep")
    assert not (tmp_path / "out.onnx").exists()


def test_a_file_cut_behind_its_manifest(tiny_onnx: Path, tmp_path: Path) -> None:
    # The functions are the last field: without them the rest is a valid ONNX file.
    model = load_model(tiny_onnx)
    del model.functions[:]
    save_model(model, tmp_path / "cut.onnx")
    assert tiny_onnx.read_bytes().startswith((tmp_path / "cut.onnx").read_bytes())
    assert read_manifest(load_model(tmp_path / "cut.onnx")).functions == "keep"
    with pytest.raises(ManifestError, match=r"cut\.onnx: .* damaged"):
        rewrite(tmp_path / "cut.onnx", tmp_path / "out.onnx", functions="keep")
