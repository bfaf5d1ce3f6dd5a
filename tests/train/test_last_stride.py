from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from runtime.errors import InputError
from train.last_stride import undo_last_halving
from train.model import LgeuNet

HEIGHT, WIDTH = 64, 32


def _backbone(name: str) -> Any:
    return timm.create_model(name, num_classes=0, global_pool="").eval()


def _feature_map(backbone: Any) -> Tensor:
    images = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features: Tensor = backbone(images)
    return features


def _resnet18(backbone: Any) -> None:
    backbone.layer4[0].conv1.stride = backbone.layer4[0].downsample[0].stride = (1, 1)


def _resnet50(backbone: Any) -> None:
    backbone.layer4[0].conv2.stride = backbone.layer4[0].downsample[0].stride = (1, 1)


def _resnet_d(backbone: Any) -> None:
    backbone.layer4[0].conv1.stride = (1, 1)
    backbone.layer4[0].downsample[0] = nn.Identity()  # what timm puts there where a block has stride 1


def _blurred(backbone: Any) -> None:
    backbone.layer4[0].aa = nn.Identity()
    backbone.layer4[0].downsample[0].stride = (1, 1)


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [("resnet18", _resnet18), ("resnet50", _resnet50), ("resnet10t", _resnet_d), ("resnetblur18", _blurred)],
)
def test_a_resnet_is_as_with_the_strides_of_layer4_set_by_hand(name: str, by_hand: Callable[[Any], None]) -> None:
    ours, expected = _backbone(name), _backbone(name)
    expected.load_state_dict(ours.state_dict())
    undo_last_halving(ours, name, HEIGHT, WIDTH)
    by_hand(expected)
    assert torch.equal(_feature_map(ours), _feature_map(expected))


# Between them: depthwise strides, "same" padding that is not symmetric, mixed kernel sizes, parallel strided branches,
# an average pooling between stages, and a max pooling.
@pytest.mark.parametrize(
    "name",
    [
        *("mobilenetv2_100", "tf_efficientnet_lite0", "tf_mixnet_s", "mobilenetv4_conv_small"),
        *("regnetx_002", "repvgg_a0", "densenet121", "ese_vovnet19b_dw"),
    ],
)
def test_the_map_is_twice_as_high_and_wide_with_the_very_same_weights(name: str) -> None:
    backbone = _backbone(name)
    before, weights = _feature_map(backbone).shape, backbone.state_dict()
    undo_last_halving(backbone, name, HEIGHT, WIDTH)
    assert _feature_map(backbone).shape == (*before[:2], 2 * before[2], 2 * before[3])
    after = backbone.state_dict()
    assert list(after) == list(weights)
    assert all(torch.equal(after[key], weights[key]) for key in weights)


def test_a_map_of_an_odd_number_of_rows_gets_the_rows_it_was_halved_from() -> None:
    backbone = _backbone("resnet18")
    undo_last_halving(backbone, "resnet18", 112, 48)
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 112, 48)).shape == (1, 512, 7, 3)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_and_the_statistics_are_left_as_they_were(training: bool) -> None:
    backbone = _backbone("resnet10t").train(training)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    undo_last_halving(backbone, "resnet10t", HEIGHT, WIDTH)
    assert all(module.training == training for module in backbone.modules() if not isinstance(module, nn.Identity))
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("convnext_atto", "stride 1 in stages.3.downsample.1 its feature map is 3x1, not 4x2 as before the halving"),
        ("hrnet_w18_small", "does not run with stride 1 in transition3.3.0.0, .*downsamp_modules.2.0"),
    ],
)
def test_a_halving_that_cannot_be_left_out_is_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(InputError, match=f"backbone {name} cannot have last_stride 1: .*{why}") as caught:
        LgeuNet(name, strips=2, last_stride=1, height=HEIGHT, width=WIDTH)
    assert "use last_stride 2" in str(caught.value)


class _PatchEmbedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 16, stride=16)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)


def test_a_step_of_more_than_a_halving_is_refused() -> None:
    with pytest.raises(InputError, match=r"embed makes its feature map with stride \(16, 16\), not 2"):
        undo_last_halving(_PatchEmbedding(), "patches", HEIGHT, WIDTH)


def test_a_map_that_no_stride_made_is_refused() -> None:
    with pytest.raises(InputError, match="no layer with a stride makes its feature map of 64x32"):
        undo_last_halving(nn.Conv2d(3, 8, 1), "flat", HEIGHT, WIDTH)


def test_the_strips_are_those_of_the_larger_map() -> None:
    model = LgeuNet("resnet10t", strips=8, last_stride=1, height=128, width=64).eval()
    assert model.manifest.last_stride == 1
    with torch.no_grad():
        assert model(torch.zeros(2, 128, 64, 3, dtype=torch.uint8)).shape == (2, 512)
    with pytest.raises(InputError, match=r"8 rows .* multiple of 3 x 16 = 48, e.g. 144"):
        LgeuNet("resnet10t", strips=3, last_stride=1, height=128, width=64)
