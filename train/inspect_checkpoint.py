"""What a checkpoint is: its manifest, its parameters, and whether training can go on from it."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from runtime.files import FileIdentity, identify
from runtime.manifest import Manifest

from .checkpoint import load_checkpoint


@dataclass(frozen=True)
class CheckpointReport:
    """What a checkpoint is.

    Attributes:
        file: which file.
        manifest: of the model.
        parameters: numbers that are learnt.
        sizes: bytes of the weights by type, e.g. "float32"; batch norm's statistics included.
        training: names of what is kept to resume; empty where there is nothing to resume.
    """

    kind: ClassVar[str] = "checkpoint"

    file: FileIdentity
    manifest: Manifest
    parameters: int
    sizes: Mapping[str, int]
    training: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON's types."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


def inspect_checkpoint(path: Path) -> CheckpointReport:
    """Read what a checkpoint is.

    Raises:
        InputError: the file is missing, truncated, or no checkpoint, or its weights do not fit its manifest.
        ManifestError: its manifest is not valid.
    """
    file = identify(path, "checkpoint")
    checkpoint = load_checkpoint(path)
    sizes: Counter[str] = Counter()
    for tensor in checkpoint.model.state_dict().values():
        sizes[str(tensor.dtype).removeprefix("torch.")] += tensor.nbytes
    return CheckpointReport(
        file=file,
        manifest=checkpoint.manifest,
        parameters=sum(parameter.numel() for parameter in checkpoint.model.parameters() if parameter.requires_grad),
        sizes=dict(sizes.most_common()),
        training=tuple(sorted(map(str, checkpoint.training))),
    )
