"""Where a backbone's first weights come from: timm's pretrained ones, or a local file."""

import logging
import warnings
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


def load_weights_file(backbone: nn.Module, path: str) -> None:
    """Put the weights in a local file into a backbone; what the file has beyond them (a classifier) is left out.

    Args:
        backbone: timm's model without its classifier.
        path: `.safetensors`, or a torch file of tensors; parameter names as in timm.

    Raises:
        InputError: the file is missing, unreadable, or lacks a parameter of the backbone in its shape.
    """
    found = _read_tensors(require_file(Path(path), "weights file"))
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
    LOGGER.info("weights of the backbone: from %s", path)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"weights file {path} is not readable ({error}); fetch it again") from error
    content = read_torch_file(path, "weights file")
    content = content.get("state_dict", content) if isinstance(content, dict) else content
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
        raise InputError(
            f"{what} {path} is not a complete torch file of tensors ({reason[:160]}); name another, or make it again"
        ) from error
