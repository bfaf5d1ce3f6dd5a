"""Where the first weights come from: timm's pretrained ones, a local file of them, or a checkpoint to go on from."""

import logging
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from runtime.errors import InputError
from runtime.files import require_file

LOGGER = logging.getLogger(__name__)


def load_pretrained(backbone: Any, name: str) -> None:
    """Put timm's pretrained weights into a backbone, saying first where they come from.

    Args:
        backbone: timm's model without its classifier.
        name: timm's name of it.

    Raises:
        InputError: timm has no weights for it, or they cannot be downloaded.
    """
    config = backbone.pretrained_cfg
    source = config.get("hf_hub_id") or config.get("url")
    if not source:
        raise InputError(
            f"timm has no pretrained weights for {name}; set pretrained: false, or weights: to a local file"
        )
    LOGGER.info(
        "pretrained weights of %s: from %s (licence %s), downloaded unless already in the cache",
        name,
        source,
        config.get("license") or "not stated",
    )
    try:
        pretrained = timm.create_model(name, pretrained=True, num_classes=0, global_pool="")
    except Exception as error:
        # The download libraries raise dozens of kinds; whichever it was, the remedy is the same.
        raise InputError(
            f"cannot load the pretrained weights of {name} from {source} ({' '.join(str(error).split())[:200]}); "
            "set pretrained: false, or weights: to a local file"
        ) from error
    backbone.load_state_dict(pretrained.state_dict())


def load_weights_file(backbone: nn.Module, path: str, others: Mapping[str, nn.Module] | None = None) -> None:
    """Put the weights in a local file into a backbone; what the file has beyond them (a classifier) is left out.

    Of a checkpoint of `lgeu train` other parts of the network take theirs, too, where names and shapes are the same;
    those that do not stay as they are. Which they are is logged.

    Args:
        backbone: timm's model without its classifier.
        path: `.safetensors`, or a torch file of tensors, with parameter names as in timm; or a checkpoint.
        others: those parts, by the names they have in a checkpoint: "pool" and "neck".

    Raises:
        InputError: the file is missing, unreadable, or lacks a parameter of the backbone in its shape.
    """
    found = _read_tensors(require_file(Path(path), "weights file"))
    of_backbone = _part(found, "backbone")
    _load_backbone(backbone, of_backbone or found, path)
    taken, anew = ["backbone"], []
    for name, module in (others or {}).items():
        weights, wanted = _part(found, name), module.state_dict()
        if wanted and _shapes(weights) == _shapes(wanted):
            module.load_state_dict(weights)
            taken.append(name)
        elif wanted and of_backbone:
            anew.append(name)
    LOGGER.info("weights of %s: from %s", ", ".join(taken), path)
    if anew:
        LOGGER.info("%s starts anew: %s has no weights of these shapes", ", ".join(anew), path)


def _load_backbone(backbone: nn.Module, found: Mapping[str, Tensor], path: str) -> None:
    wanted = backbone.state_dict()
    for name, parameter in wanted.items():
        # Batch norm's step counter is absent from old files and unused where momentum is set.
        if name not in found and not name.endswith("num_batches_tracked"):
            raise InputError(f"weights file {path} has no {name!r}; expected the weights of this very backbone")
        if name in found and found[name].shape != parameter.shape:
            raise InputError(
                f"weights file {path}: {name} is {tuple(found[name].shape)}; this backbone has {tuple(parameter.shape)}"
            )
    backbone.load_state_dict({name: found[name] for name in wanted if name in found}, strict=False)


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """What belongs to a part of a network, by the part's own names."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"weights file {path} is not readable ({error}); fetch it again") from error
    content = read_torch_file(path, "weights file")
    if isinstance(content, dict):  # a checkpoint keeps its weights under "model", other tools' under "state_dict"
        content = content["model"] if {"manifest", "model"} <= content.keys() else content.get("state_dict", content)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"weights file {path} holds no state dict; expected names and tensors")
    return content


def read_torch_file(path: Path, what: str) -> Any:
    """What a file written by torch holds, on the CPU; code in it is refused, not run.

    Raises:
        InputError: the file is missing, truncated, of another kind, or holds more than tensors and plain values.
    """
    require_file(path, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of foreign pickles before it refuses them
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises half a dozen unrelated types for a file that is cut short or is something else.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # of which it says how to load it nevertheless
            reason = "it is of another kind, or holds code"
        raise InputError(
            f"{what} {path} is not a complete torch file of tensors ({reason[:160]}); name another, or make it again"
        ) from error
