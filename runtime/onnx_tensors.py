"""What an ONNX file takes and gives, against what its manifest promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ManifestError
from .manifest import METADATA_KEY, Manifest

INPUT = "images"
OUTPUT = "embeddings"


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: of the tensor.
        kind: its type as NumPy names it, e.g. "uint8".
        shape: its sizes; None where one is dynamic.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("N" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.kind} [{sizes}]"


def parse_manifest(path: Path, text: str | None) -> Manifest:
    """The manifest of an ONNX file from its metadata property; None where there is none.

    Raises:
        ManifestError: there is none, or it is not valid.
    """
    if text is None:
        raise ManifestError(
            f"{path} has no manifest (metadata property '{METADATA_KEY}'); expected a file written by `lgeu export`"
        )
    return Manifest.from_json(text, str(path))


def check_tensors(path: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor], manifest: Manifest) -> None:
    """Refuse a file whose inputs and outputs are not the ones of its manifest.

    Raises:
        ManifestError: more of them, or another name, type or shape.
    """
    promised_input = Tensor(INPUT, manifest.input_type, (None, *manifest.input_shape))
    promised_output = Tensor(OUTPUT, "float32", (None, manifest.embedding_size))
    for role, given, promised in (("input", inputs, promised_input), ("output", outputs, promised_output)):
        if list(given) != [promised]:
            raise ManifestError(
                f"{path} has the {role} {' and '.join(map(str, given))}; its manifest promises {promised} with N "
                "dynamic: export it again"
            )
