import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from runtime.errors import InputError, LgeuError
from train.checkpoint import save_checkpoint
from train.gate import MeanPool, StripGate
from train.model import LgeuNet

SMALL = {"height": 128, "width": 64}


def test_normalisation_is_inside_and_pooling_is_plain_for_gate_none() -> None:
    torch.manual_seed(0)
    model = LgeuNet("resnet10t", gate="none", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), **SMALL).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 128, 64, 3), np.uint8)
    normalised = (images / 255.0 - np.array([0.1, 0.2, 0.3])) / np.array([0.4, 0.5, 0.6])
    with torch.no_grad():
        features = model.backbone(torch.from_numpy(normalised.transpose(0, 3, 1, 2)).float())
        result = model(torch.from_numpy(images))
    assert isinstance(model.pool, MeanPool)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, features.mean((2, 3)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("gate", "strips", "reduction"), [("strip", 4, 8), ("se", 1, 8), ("none", 1, 0)])
def test_the_manifest_says_what_was_made(gate: str, strips: int, reduction: int) -> None:
    model = LgeuNet("resnet10t", gate=gate, strips=4, reduction=8, **SMALL)
    manifest = model.manifest
    assert (manifest.gate, manifest.strips, manifest.reduction) == (gate, strips, reduction)
    assert (manifest.embedding_size, manifest.height, manifest.width) == (512, 128, 64)
    assert manifest.mean == (0.485, 0.456, 0.406)
    assert isinstance(model.pool, StripGate) == manifest.has_strip_gate
    again = LgeuNet.from_manifest(manifest)
    assert again.manifest == manifest
    again.load_state_dict(model.state_dict())


def test_the_neck_normalises_the_pooled_descriptor_by_its_running_statistics() -> None:
    torch.manual_seed(0)
    model = LgeuNet("resnet10t", neck="bn", strips=2, **SMALL)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 128, 64, 3), np.uint8))
    assert isinstance(model.neck, torch.nn.BatchNorm1d)
    with torch.no_grad():
        for values in (model.neck.weight, model.neck.running_mean, model.neck.running_var):
            values.uniform_(0.5, 2)
        embedded, pooled = model.eval()(images), model.pooled(images)
    expected = (pooled - model.neck.running_mean) / (model.neck.running_var + 1e-5).sqrt() * model.neck.weight
    torch.testing.assert_close(embedded, expected)
    # Without the neck, the network is what it was.
    plain = LgeuNet("resnet10t", strips=2, **SMALL).eval()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith("neck.")})
    with torch.no_grad():
        assert torch.equal(plain(images), pooled)


def test_the_neck_centre_is_deployed_as_the_mean_alone() -> None:
    torch.manual_seed(0)
    model = LgeuNet("resnet10t", neck="centre", strips=2, **SMALL)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 128, 64, 3), np.uint8))
    with torch.no_grad():
        for values in (model.neck.weight, model.neck.running_mean, model.neck.running_var):
            values.uniform_(0.5, 2)
        embedded, pooled = model.eval()(images), model.pooled(images)
        assert torch.equal(embedded, pooled - model.neck.running_mean)
        trained = model.neck.train()(pooled)
    standardised = (pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(trained, standardised * model.neck.weight)


def test_the_neck_learns_a_scale_and_no_shift() -> None:
    model = LgeuNet("resnet10t", neck="bn", strips=2, **SMALL)
    model(torch.randint(0, 256, (4, 128, 64, 3), dtype=torch.uint8)).square().sum().backward()
    assert model.neck.weight.grad is not None
    assert model.neck.bias.grad is None
    assert not model.neck.bias.any()


@pytest.mark.parametrize(("name", "value"), [("neck", "BN"), ("last_stride", 3), ("gate", "strips")])
def test_what_is_no_choice_is_refused(name: str, value: object) -> None:
    with pytest.raises(LgeuError, match=f"{name} is {value!r}; expected"):
        LgeuNet("resnet10t", **SMALL, **{name: value})


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "convnext_atto", "regnetx_002"])
def test_families_of_backbones_work(backbone: str) -> None:
    model = LgeuNet(backbone, **SMALL).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 128, 64, 3, dtype=torch.uint8)).shape == (1, model.manifest.embedding_size)


def test_a_misspelt_backbone_names_the_nearest() -> None:
    with pytest.raises(InputError, match="no backbone 'resnet5O'; the nearest name is 'resnet50'"):
        LgeuNet("resnet5O")


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mambaout_femto"])
def test_a_backbone_without_such_a_feature_map_is_refused_by_name(backbone: str) -> None:
    with pytest.raises(InputError, match=f"backbone {backbone} cannot be used.*resnet50"):
        LgeuNet(backbone, **SMALL)


def test_strips_that_do_not_fit_name_every_number_and_the_remedy() -> None:
    with pytest.raises(InputError) as caught:
        LgeuNet("resnet10t", strips=3, height=128, width=64)
    for part in ("4 rows", "input height 128", "3 equal strips", "multiple of 3 x 32 = 96", "e.g. 96", "divisor of 4"):
        assert part in str(caught.value)


def test_the_height_that_the_error_suggests_works() -> None:
    assert LgeuNet("resnet10t", strips=3, height=96, width=32).manifest.strips == 3


def test_a_manifest_of_another_width_of_backbone_is_refused() -> None:
    manifest = dataclasses.replace(LgeuNet("resnet10t", **SMALL).manifest, embedding_size=500)
    with pytest.raises(InputError, match="512 channels, the manifest 500; install timm"):
        LgeuNet.from_manifest(manifest)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_local_weights_take_the_place_of_a_download(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(1)
    whole = timm.create_model("resnet10t", num_classes=7)  # with a classifier, as a published file has
    path = tmp_path / f"weights{suffix}"
    save_file(whole.state_dict(), path) if suffix == ".safetensors" else torch.save(whole.state_dict(), path)
    model = LgeuNet("resnet10t", pretrained=True, weights=str(path), **SMALL)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name


def test_a_checkpoint_is_gone_on_from_with_what_fits_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shape = {"backbone": "test_resnet", "reduction": 4, **SMALL}
    first = LgeuNet(**shape, strips=2, neck="bn")
    with torch.no_grad():
        first.neck.running_mean.uniform_()
    path = str(save_checkpoint(tmp_path / "checkpoint.pt", first, "toy", {"head": {"weight": torch.zeros(3, 2)}}))

    def same(part: str, other: LgeuNet) -> bool:
        own, its = first.get_submodule(part).state_dict(), other.get_submodule(part).state_dict()
        return all(torch.equal(value, its[name]) for name, value in own.items())

    with caplog.at_level(logging.INFO):
        whole = LgeuNet(**shape, strips=2, neck="centre", weights=path)
        part = LgeuNet(**shape, strips=1, neck="bn", weights=path)
        plain = LgeuNet(**shape, gate="none", weights=path)
    assert all(same(name, whole) for name in ("backbone", "pool", "neck"))
    assert all(same(name, part) for name in ("backbone", "neck"))
    assert same("backbone", plain)
    assert caplog.messages == [
        f"weights of backbone, pool, neck: from {path}",
        f"weights of backbone, neck: from {path}",
        f"pool starts anew: {path} has no weights of these shapes",
        f"weights of backbone: from {path}",
    ]
    with pytest.raises(InputError, match=r"checkpoint.pt: conv1.0.weight is .*; this backbone has"):
        LgeuNet("resnet10t", weights=path, **SMALL)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("resnet18").state_dict(), path)
    with pytest.raises(InputError, match=r"weights.pth.*conv1"):
        LgeuNet("resnet10t", weights=str(path), **SMALL)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a complete torch file"):
        LgeuNet("resnet10t", weights=str(path), **SMALL)
    with pytest.raises(InputError, match="does not exist"):
        LgeuNet("resnet10t", weights=str(tmp_path / "absent.pth"), **SMALL)


def test_a_download_is_announced_and_its_failure_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with caplog.at_level(logging.INFO), pytest.raises(InputError, match="weights: to a local file"):
        LgeuNet("resnet10t", pretrained=True, **SMALL)
    assert any("timm/resnet10t" in record.getMessage() for record in caplog.records)


def test_a_backbone_without_published_weights_says_so() -> None:
    with pytest.raises(InputError, match="no pretrained weights for seresnet18; set pretrained: false"):
        LgeuNet("seresnet18", pretrained=True, **SMALL)
