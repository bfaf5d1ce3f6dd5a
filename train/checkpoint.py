"""`checkpoint.pt`: what leaves training. Tensors and plain values only, so that reading one never runs code."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from runtime.errors import InputError, ManifestError
from runtime.files import atomic_path
from runtime.manifest import Gate, LastStride, Manifest, Neck

from .model import LgeuNet
from .weights import read_torch_file

_KIND = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        manifest: what the model is and what it was trained on.
        model: in evaluation mode, on the CPU.
        training: what only resuming needs (classifier, optimiser, epoch, ...); empty where there is nothing to resume.
    """

    manifest: Manifest
    model: LgeuNet
    training: Mapping[str, Any]


def save_checkpoint(
    path: Path, model: LgeuNet, trained_on: str | None = None, training: Mapping[str, Any] | None = None
) -> Path:
    """Write a checkpoint, atomically.

    Args:
        path: the file.
        model: on any device.
        trained_on: data set and split; None for a model with random weights.
        training: what resuming needs: tensors, numbers, strings, and lists and dicts of these.

    Returns:
        `path`.

    Raises:
        InputError: the file cannot be written.
    """
    manifest = model.manifest
    if trained_on is not None:
        manifest = dataclasses.replace(manifest, trained_on=trained_on)
    content = {"manifest": manifest.to_json(), "model": model.state_dict(), "training": dict(training or {})}
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's writer reports a full disk as one
            raise InputError(f"cannot write {path}: {str(error).splitlines()[0]}; is the disk full?") from error
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: the file is missing, truncated, or no checkpoint, or its weights do not fit its manifest.
        ManifestError: its manifest is not valid.
    """
    content = read_torch_file(path, _KIND)
    if not isinstance(content, dict) or not {"manifest", "model"} <= content.keys():
        raise InputError(f"{path} is a torch file, but not a checkpoint of LGEU-ReID; name one that `lgeu train` wrote")
    if not isinstance(content["manifest"], str):
        raise ManifestError(f"the manifest of {path} is a {type(content['manifest']).__name__}; expected JSON text")
    manifest = Manifest.from_json(content["manifest"], str(path))
    model = LgeuNet.from_manifest(manifest)
    try:
        model.load_state_dict(content["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the weights in {path} do not fit its manifest ({reason}); the timm that wrote it was "
            f"{manifest.tools.get('timm', 'not recorded')}"
        ) from error
    return Checkpoint(manifest, model.eval(), content.get("training") or {})


def untrained_checkpoint(
    path: Path,
    *,
    backbone: str = "resnet18",
    gate: Gate = "strip",
    strips: int = 4,
    reduction: int = 16,
    last_stride: LastStride = 2,
    neck: Neck = "none",
    height: int = 128,
    width: int = 64,
    seed: int = 0,
) -> Path:
    """Write a checkpoint with random weights, for tests and as the baseline of a training run.

    With the same seed these are the very weights that `train.fit` starts from when it starts from random ones. The
    state of torch's random generator is left as it was.

    Args:
        path: the file.
        backbone: as in `LgeuNet`, like the rest; `**recipe.architecture()` gives a recipe's.
        gate: likewise.
        strips: likewise.
        reduction: likewise.
        last_stride: likewise.
        neck: likewise.
        height: likewise.
        width: likewise.
        seed: of the weights.

    Returns:
        `path`.

    Raises:
        InputError: as `LgeuNet`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LgeuNet(
            backbone,
            gate=gate,
            strips=strips,
            reduction=reduction,
            last_stride=last_stride,
            neck=neck,
            height=height,
            width=width,
        )
    return save_checkpoint(path, model)
