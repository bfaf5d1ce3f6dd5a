"""Training recipes: YAML, every field typed, and a misspelt key is an error that names the right one."""

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runtime.errors import InputError
from runtime.files import require_file
from runtime.manifest import Gate, LastStride, Neck

Optimiser = Literal["sgd", "adamw"]
Schedule = Literal["steps", "cosine"]
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]

_FORMER_PRECISION = "mixed_precision"


class Recipe(BaseModel):
    """How to train; independent of the data.

    The defaults are the paper's, section 3.2, where it says something: epochs, batch, input size, SGD's rate and its
    step, flip and crop, softmax alone. The rest, such as momentum, weight decay, padding and precision, is ours.

    Attributes:
        backbone: timm's name of a network with a 4-D feature map.
        pretrained: start from timm's pretrained weights; they are downloaded, and that is announced.
        weights: start from this local file of the backbone's weights instead; or from a checkpoint of `lgeu train`, of
            which pool and neck are taken, too, where their shapes fit.
        gate: "strip" (LGEU), "se" (one strip) or "none" (plain average pooling).
        strips: K, for the gate "strip".
        reduction: R, the width of the gate's bottleneck.
        last_stride: 1 leaves out the backbone's last halving, so that the feature map has twice the rows and columns.
        neck: "bn" puts a batch norm behind the pooling, with its bias fixed at 0; the softmax head and whoever compares
            images take what it gives. "centre" trains alike, but what is compared is the pooled descriptor less the
            batch norm's mean.
        height: input rows in pixels.
        width: input columns in pixels.
        epochs: passes over the training images.
        batch_size: images a step, all processes together; the images left over at an epoch's end are left out.
        images_per_identity: K of identity-balanced (PK) batches: `batch_size` / K identities with K images each; 0
            takes the images as they come, each once an epoch.
        optimiser: "sgd", or "adamw" (whose weight decay is decoupled from the gradient).
        lr: learning rate.
        momentum: of SGD.
        weight_decay: L2 penalty of SGD; AdamW's decay.
        schedule: "steps" (`milestones` and `gamma`), or "cosine" from `lr` to `final_lr` after the warm-up.
        milestones: epochs, counted from 0, from which on the learning rate is multiplied by `gamma` once more.
        gamma: that factor.
        final_lr: where the cosine ends.
        warmup_epochs: epochs over which the learning rate rises linearly to `lr`; 0 for none.
        flip: mirror half of the images.
        crop_padding: black pixels put around an image before a window of its size is cut out at random; 0 for none.
        random_erasing: probability that a rectangle of an image is erased; 0 for none.
        label_smoothing: share of the target spread over all identities, in 0..1.
        triplet_weight: of the batch-hard triplet loss, added to the softmax loss; 0 for none.
        triplet_margin: of that loss, as a Euclidean distance; null for the soft margin, log(1 + exp(d_p - d_n)).
        ema: decay of the running average of the weights, which is what is validated and deployed; 0 for none. Its first
            steps leave less, see `train.averaging`.
        seed: of weights, order and augmentation.
        workers: processes that augment; 0 does it in the training process.
        precision: of convolutions and products: "fp32" (without TF32), "bf16", "fp16"; "auto" is bfloat16 on a GPU
            (float16 where it lacks that or emulates it) and float32 without one.
        channels_last: keep the weights in the images' own memory format, which is faster nearly everywhere; else the
            images are brought to the weights'.
        compile: run the backbone through torch.compile.
        validate_every: epochs between validations on the query and gallery images; 0 measures at the end only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

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
    images_per_identity: int = Field(0, ge=0)
    optimiser: Optimiser = "sgd"
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Schedule = "steps"
    milestones: list[int] = [40]
    gamma: float = Field(0.1, gt=0, le=1)
    final_lr: float = Field(0.0, ge=0)
    warmup_epochs: int = Field(0, ge=0)
    flip: bool = True
    crop_padding: int = Field(10, ge=0)
    random_erasing: float = Field(0.0, ge=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    triplet_weight: float = Field(0.0, ge=0)
    triplet_margin: float | None = Field(0.3, ge=0)
    ema: float = Field(0.0, ge=0, lt=1)
    seed: int = Field(0, ge=0)
    workers: int = Field(0, ge=0)
    precision: TrainingPrecision = "auto"
    channels_last: bool = True
    compile: bool = False
    validate_every: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, content: Any) -> Any:
        """Reads `mixed_precision`, which `precision` was called when it was on or off."""
        if not isinstance(content, dict) or not isinstance(content.get(_FORMER_PRECISION), bool):
            return content
        renamed = {key: value for key, value in content.items() if key != _FORMER_PRECISION}
        return {"precision": "auto" if content[_FORMER_PRECISION] else "fp32", **renamed}

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if self.images_per_identity and self.batch_size % self.images_per_identity:
            raise ValueError(
                f"batch_size {self.batch_size} does not divide into identities of images_per_identity "
                f"{self.images_per_identity}; make it a multiple"
            )
        if self.triplet_weight and self.images_per_identity < 2:
            raise ValueError(
                "triplet_weight needs other images of the same person in the batch; set images_per_identity to at "
                "least 2, e.g. 4"
            )
        if self.schedule == "cosine" and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} leaves no epoch of {self.epochs} to the cosine; lower it"
            )
        return self

    def architecture(self) -> dict[str, Any]:
        """The fields that say what the network is, as `LgeuNet` and `untrained_checkpoint` take them."""
        return self.model_dump(
            include={"backbone", "gate", "strips", "reduction", "last_stride", "neck", "height", "width"}
        )


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: a YAML file; a relative `weights` in it is relative to the file's folder.
        changes: "key=value" each, the value in YAML; they replace what the file says, and a relative `weights` among
            them is relative to the current folder.

    Raises:
        InputError: the file is missing or not YAML, a key is unknown (the nearest known one is named), a value is not
            of its type or range, or values do not go together.
    """
    file = f"recipe {path}"
    content = _parse(require_file(path, "recipe").read_bytes(), file)
    _check_keys(content, file)
    if isinstance(content.get("weights"), str):
        content["weights"] = str(Path(path).parent / content["weights"])
    changed: dict[str, Any] = {}
    for change in changes:
        changed.update(_parse_change(change))
    try:
        return Recipe.model_validate({**content, **changed})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        source = "--set" if first["loc"] and first["loc"][0] in changed else file
        value = f"{where} is {first['input']!r}; " if where else ""
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{source}: {value}{message}{_hint(first['type'], first['input'])}") from error


def _parse(text: bytes | str, source: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"{source} is not YAML ({' '.join(str(error).split())}); expected `key: value` lines"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{source} holds a {type(content).__name__}; expected `key: value` lines")
    return content


def _parse_change(change: str) -> dict[str, Any]:
    key, equals, value = change.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {change!r} is not of the form key=value, e.g. --set lr=0.05")
    content = _parse(f"{key.strip()}: {value}", f"--set {change}")
    _check_keys(content, "--set")
    return content


def _check_keys(content: dict[str, Any], source: str) -> None:
    for key in content:
        if key not in Recipe.model_fields and key != _FORMER_PRECISION:
            near = difflib.get_close_matches(str(key), Recipe.model_fields, n=1, cutoff=0)
            raise InputError(f"{source}: unknown key {key!r}; the nearest known key is {near[0]!r}")


def _hint(kind: str, value: Any) -> str:
    """What to do about a number that YAML 1.1 takes for text, such as 1e-3; `kind` is pydantic's of the error."""
    ways = {"float_type": "with a decimal point, e.g. 1.0e-3", "int_type": "in digits, e.g. 60"}
    try:
        is_number = math.isfinite(float(value if isinstance(value, str) else ""))
    except ValueError:
        return ""
    return f"; YAML reads this as text: write it without quotes and {ways[kind]}" if is_number and kind in ways else ""
