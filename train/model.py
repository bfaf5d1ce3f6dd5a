"""The network: a timm backbone, the LGEU unit in the place of its pooling, and the input's normalisation.

The forward contract, on which export and the embedders rest:

* input `images`: (N, H, W, 3) uint8, RGB, at the size the model was made for, as `runtime.preprocess` gives them;
* the first operator is the cast to float32 (parsers refuse a transpose of uint8), then / 255, permute to
  (N, 3, H, W), normalise by mean and std, `backbone` to a feature map (N, D, h, w), `pool` to the pooled descriptor
  (N, D), `neck` to what is embedded, (N, D);
* output: (N, D) float32, **not** L2-normalised. The softmax head trains on it; whoever embeds images (`train.embedder`,
  the exported graph) normalises it.
"""

import difflib
import math
from importlib.metadata import version
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.manifest import Gate, LastStride, Manifest, Neck

from .gate import MeanPool, StripGate
from .last_stride import undo_last_halving
from .neck import make_neck
from .weights import load_pretrained, load_weights_file

Rgb = tuple[float, float, float]


class LgeuNet(nn.Module):
    """Images to descriptors; see the module's docstring for the forward contract.

    Attributes:
        backbone: the timm model without its pooling and classifier: (N, 3, H, W) to (N, D, h, w).
        pool: `StripGate` for the gates "strip" and "se", `MeanPool` for "none": (N, D, h, w) to (N, D).
        neck: `BatchNorm1d` with its bias fixed at 0 for "bn", `CentringNeck` for "centre", `Identity` for "none":
            (N, D) to (N, D).
        manifest: what the model is; `trained_on` is filled in when a checkpoint is written.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        *,
        gate: Gate = "strip",
        strips: int = 4,
        reduction: int = 16,
        last_stride: LastStride = 2,
        neck: Neck = "none",
        height: int = 256,
        width: int = 128,
        mean: Rgb | None = None,
        std: Rgb | None = None,
        pretrained: bool = False,
        weights: str | None = None,
    ) -> None:
        """Make the network.

        Args:
            backbone: timm's name of a network with a 4-D (N, C, H, W) feature map, e.g. "resnet50".
            gate: "strip" (LGEU), "se" (the same with one strip) or "none" (average pooling).
            strips: K, for "strip" only; must divide the feature map's height.
            reduction: R, the width of the gate's bottleneck.
            last_stride: 1 leaves out the backbone's last halving, so that the feature map has twice the rows and
                columns; the weights are the same ones.
            neck: "bn" puts a batch norm behind the pooling; "centre" trains with it and deploys its mean alone.
            height: input rows in pixels.
            width: input columns in pixels.
            mean: RGB mean in 0..1; None takes what timm gives for the backbone.
            std: RGB standard deviation in 0..1; None likewise.
            pretrained: start from timm's pretrained weights, downloaded (and announced) unless already cached.
            weights: start from this local file of the backbone's weights instead; nothing is downloaded. Of a
                checkpoint of `lgeu train` pool and neck are taken, too, where their shapes fit.

        Raises:
            InputError: an unknown backbone, one without such a feature map or whose last halving cannot be left out,
                strips that do not divide the map's height, or weights that cannot be had or do not fit.
        """
        super().__init__()
        self.backbone = _create_backbone(backbone)
        channels, rows = _feature_map(self.backbone, backbone, height, width)
        if last_stride == 1:
            undo_last_halving(self.backbone, backbone, height, width)
            channels, rows = _feature_map(self.backbone, backbone, height, width)
        self.pool: nn.Module = MeanPool()
        if gate != "none":
            _check_strips(strips if gate == "strip" else 1, rows, height)
            self.pool = StripGate(channels, strips if gate == "strip" else 1, reduction)
        self.neck: nn.Module = make_neck(neck, channels)
        if weights is not None:
            load_weights_file(self.backbone, weights, {"pool": self.pool, "neck": self.neck})
        elif pretrained:
            load_pretrained(self.backbone, backbone)
        self.manifest = Manifest(
            backbone=backbone,
            embedding_size=channels,
            gate=gate,
            strips=strips if gate == "strip" else 1,
            reduction=0 if gate == "none" else reduction,
            last_stride=last_stride,
            neck=neck,
            height=height,
            width=width,
            mean=mean or tuple(self.backbone.pretrained_cfg["mean"]),
            std=std or tuple(self.backbone.pretrained_cfg["std"]),
            tools={name: version(name) for name in ("lgeu-reid", "torch", "timm")},
        )
        # Not in the state dict: the manifest is where they are written down.
        self.register_buffer("mean", torch.tensor(self.manifest.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.manifest.std).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> "LgeuNet":
        """The architecture that a manifest describes, with random weights.

        Raises:
            InputError: as `__init__`, or the installed timm gives the backbone another number of channels.
        """
        model = cls(
            manifest.backbone,
            gate=manifest.gate,
            strips=manifest.strips,
            reduction=manifest.reduction,
            last_stride=manifest.last_stride,
            neck=manifest.neck,
            height=manifest.height,
            width=manifest.width,
            mean=manifest.mean,
            std=manifest.std,
        )
        if model.manifest.embedding_size != manifest.embedding_size:
            raise InputError(
                f"the installed timm gives {manifest.backbone} {model.manifest.embedding_size} channels, the manifest "
                f"{manifest.embedding_size}; install timm {manifest.tools.get('timm', 'as it was when training')}"
            )
        model.manifest = manifest
        return model

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB to what is embedded: (N, D) float32, not L2-normalised."""
        return cast("Tensor", self.neck(self.pooled(images)))

    def pooled(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB to the pooled descriptors before the neck: (N, D) float32."""
        return cast("Tensor", self.pool(self.feature_map(images)))

    def feature_map(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB to what is pooled: (N, D, h, w)."""
        x = images.float() / 255
        x = (x.permute(0, 3, 1, 2) - self.mean) / self.std
        return cast("Tensor", self.backbone(x))


def _create_backbone(name: str) -> Any:
    """The timm model without pooling and classifier, with random weights."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0)
        raise InputError(f"timm has no backbone {name!r}; the nearest name is {near[0]!r}")
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
    except Exception as error:
        # timm has hundreds of architectures; some cannot be made without their head or pooling, each in its own way.
        raise InputError(_refusal(name, f"timm cannot make it without pooling and classifier ({error})")) from error


def _feature_map(backbone: nn.Module, name: str, height: int, width: int) -> tuple[int, int]:
    """Channels and rows of the feature map, found by running one black image through the backbone."""
    backbone.eval()
    try:
        with torch.no_grad():
            features = backbone(torch.zeros(1, 3, height, width))
    except Exception as error:  # as above
        raise InputError(_refusal(name, f"it does not run at {height}x{width} ({error})")) from error
    backbone.train()
    if not isinstance(features, Tensor) or features.ndim != 4:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise InputError(_refusal(name, f"its features are {shape}"))
    channels = (getattr(backbone, "num_features", None), getattr(backbone, "head_hidden_size", None))
    if features.shape[1] not in channels or getattr(backbone, "output_fmt", "NCHW") == "NHWC":
        raise InputError(_refusal(name, f"its feature map is channels-last, {tuple(features.shape)}"))
    return features.shape[1], features.shape[2]


def _refusal(name: str, why: str) -> str:
    why = " ".join(why.split())
    return (
        f"backbone {name} cannot be used: {why}; expected a 4-D (N, C, H, W) feature map: choose a convolutional "
        "network, e.g. resnet50"
    )


def _check_strips(strips: int, rows: int, height: int) -> None:
    if strips < 1:
        raise InputError(f"gate: strips is {strips}; expected at least 1")
    if rows % strips:
        stride = 2 ** round(math.log2(height / rows))
        unit = strips * stride
        height_that_fits = max(1, round(height / unit)) * unit
        change = f"height to a multiple of {strips} x {stride} = {unit}, e.g. {height_that_fits}, or "
        raise InputError(
            f"the feature map is {rows} rows high (input height {height}) and does not divide into {strips} equal "
            # An irregular backbone may refuse even a multiple of its stride; then there is no height to suggest.
            f"strips; set {change if height_that_fits != height else ''}strips to a divisor of {rows}"
        )
