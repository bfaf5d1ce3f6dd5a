"""Training recipes: YAML, every field typed, and a misspelt key is an error that names the right one."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.errors import InputError
from runtime.files import require_file
from runtime.manifest import Gate, LastStride, Neck


class Recipe(BaseModel):
    """How to train; independent of the data. The defaults are those of the paper, section 3.2.

    Attributes:
        backbone: timm's name of a network with a 4-D feature map.
        pretrained: start from timm's pretrained weights; they are downloaded, and that is announced.
        weights: start from this local file of the backbone's weights instead.
        gate: "strip" (LGEU), "se" (one strip) or "none" (plain average pooling).
        strips: K, for the gate "strip".
        reduction: R, the width of the gate's bottleneck.
        last_stride: 1 leaves out the backbone's last halving, so that the feature map has twice the rows and columns.
        neck: "bn" puts a batch norm behind the pooling, with its bias fixed at 0; the softmax head and whoever compares
            images take what it gives.
        height: input rows in pixels.
        width: input columns in pixels.
        epochs: passes over the training images.
        batch_size: images a step; the images left over at an epoch's end are left out.
        lr: learning rate of SGD.
        momentum: of SGD.
        weight_decay: L2 penalty of SGD.
        milestones: epochs, counted from 0, from which on the learning rate is multiplied by `gamma` once more.
        gamma: that factor.
        warmup_epochs: epochs over which the learning rate rises linearly to `lr`; 0 for none.
        flip: mirror half of the images.
        crop_padding: black pixels put around an image before a window of its size is cut out at random; 0 for none.
        label_smoothing: share of the target spread over all identities, in 0..1.
        seed: of weights, order and augmentation.
        workers: processes that augment; 0 does it in the training process.
        mixed_precision: train in bfloat16 (float16 where the GPU lacks it) on a GPU; without one it has no effect.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    backbone: str = "resnet50"
    pretrained: bool = False
    weights: str | None = None
    gate: Gate = "strip"
    strips: int = Field(4, ge=1)
    reduction: int = Field(16, ge=1)
    last_stride: LastStride = 2
    neck: Neck = "none"
    height: int = Field(256, ge=1)
    width: int = Field(128, ge=1)
    epochs: int = Field(60, ge=1)
    batch_size: int = Field(32, ge=2)
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    milestones: list[int] = [40]
    gamma: float = Field(0.1, gt=0, le=1)
    warmup_epochs: int = Field(0, ge=0)
    flip: bool = True
    crop_padding: int = Field(10, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    seed: int = Field(0, ge=0)
    workers: int = Field(0, ge=0)
    mixed_precision: bool = True

    def architecture(self) -> dict[str, Any]:
        """The fields that say what the network is, as `LgeuNet` and `untrained_checkpoint` take them."""
        fields = {"backbone", "gate", "strips", "reduction", "last_stride", "neck", "height", "width"}
        return self.model_dump(include=fields)

    def learning_rate(self, epoch: int, progress: float) -> float:
        """The learning rate at a point of the schedule.

        Args:
            epoch: counted from 0.
            progress: the share of the epoch's steps already done, in 0..1.
        """
        rate = self.lr * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
        if epoch < self.warmup_epochs:
            # Starts above 0: the first step of a rate of exactly 0 would be wasted.
            rate *= 0.01 + 0.99 * (epoch + progress) / self.warmup_epochs
        return rate


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Args:
        path: a YAML file; a relative `weights` in it is relative to the file's folder.

    Raises:
        InputError: the file is missing or not YAML, a key is unknown (the nearest known one is named), or a value is
            not of its type or range.
    """
    try:
        content = yaml.safe_load(require_file(path, "recipe").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"recipe {path} is not YAML ({' '.join(str(error).split())}); expected `key: value` lines"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"recipe {path} holds a {type(content).__name__}; expected `key: value` lines")
    for key in content:
        if key not in Recipe.model_fields:
            near = difflib.get_close_matches(str(key), Recipe.model_fields, n=1, cutoff=0)
            raise InputError(f"recipe {path}: unknown key {key!r}; the nearest known key is {near[0]!r}")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"recipe {path}: {where} is {first['input']!r}; {first['msg']}{_hint(first['input'])}"
        ) from error
    if recipe.weights is not None:
        recipe = recipe.model_copy(update={"weights": str(Path(path).parent / recipe.weights)})
    return recipe


def _hint(value: Any) -> str:
    """What to do about a number that YAML 1.1 takes for text, such as 1e-3."""
    try:
        float(value if isinstance(value, str) else "")
    except ValueError:
        return ""
    return "; YAML reads this as text: write it without quotes and with a decimal point, e.g. 1.0e-3"
