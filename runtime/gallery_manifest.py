"""What a gallery says about itself: whose embeddings it holds, which files belong together, how it is searched."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ManifestError
from .files import require_file, write_text
from .manifest import Manifest
from .manifest_json import decode

MANIFEST_NAME = "gallery.json"
SCHEMA = 1


@dataclass(frozen=True)
class ModelIdentity:
    """Which weights made an embedding, and of what input.

    The ONNX files, in any precision, and the engines that were made of one checkpoint have the same identity, and so
    has the checkpoint: their embeddings can be compared. What rounding does to them the parity report says.

    Attributes:
        checkpoint_sha256: hash of the checkpoint that the model was exported from.
        embedding_size: D.
        height: input rows in pixels.
        width: input columns in pixels.
        backbone: timm's name of the backbone, for people to read.
    """

    checkpoint_sha256: str
    embedding_size: int
    height: int
    width: int
    backbone: str

    @classmethod
    def of(cls, manifest: Manifest, source: str) -> "ModelIdentity":
        """The identity of the model that a manifest describes.

        Args:
            manifest: the model's.
            source: what to call it in an error.

        Raises:
            ManifestError: it names no checkpoint, so that its embeddings cannot be told from another model's.
        """
        if manifest.checkpoint_sha256 is None:
            raise ManifestError(
                f"the manifest of {source} names no checkpoint (checkpoint_sha256), so that its embeddings cannot be "
                "told from another model's; expected a checkpoint, or a file that `lgeu export` or `lgeu build` wrote"
            )
        return cls(
            manifest.checkpoint_sha256,
            manifest.embedding_size,
            manifest.height,
            manifest.width,
            manifest.backbone,
        )

    def check(self, given: "ModelIdentity", gallery: str) -> None:
        """Refuse another model than this one, which made a gallery.

        Args:
            given: the model in use.
            gallery: what to call it in the error.

        Raises:
            ManifestError: it is another.
        """
        if given != self:
            raise ManifestError(
                f"gallery {gallery} was made by another model: {self}; given was {given}: make the gallery with the "
                "model in use"
            )

    def __str__(self) -> str:
        return (
            f"{self.backbone} {self.height}x{self.width}, {self.embedding_size} elements, checkpoint "
            f"{self.checkpoint_sha256[:12]}"
        )


@dataclass(frozen=True)
class StoredFile:
    """A file of the gallery.

    Attributes:
        name: in the gallery's folder.
        size: in bytes.
        sha256: of its content.
        sample_sha256: of parts of it, see `gallery_files.sample_sha256`; checked whenever it is opened.
    """

    name: str
    size: int
    sha256: str
    sample_sha256: str


@dataclass(frozen=True)
class Lists:
    """How an approximate index is searched; see `gallery_ivf`.

    Attributes:
        count: inverted lists.
        probes: of them, looked into for each query.
        depth: candidates for each result, compared in full precision.
        recall: share of the exact 10 nearest that was found with these settings when they were chosen, 0 to 1.
        trained_on: entries in the gallery when the lists were made.
    """

    count: int
    probes: int
    depth: int
    recall: float
    trained_on: int


@dataclass(frozen=True)
class OpenSetThreshold:
    """From which score on a gallery's nearest person is taken to be the one asked for.

    Attributes:
        score: cosine similarity; below it a person is unknown.
        false_accept_rate: share of the strangers it was chosen with that reach it, 0 to 1.
        strangers: how many those were.
        entries: in the gallery when it was chosen; more entries mean more false accepts.
    """

    score: float
    false_accept_rate: float
    strangers: int
    entries: int


@dataclass(frozen=True)
class GalleryManifest:
    """What a gallery is. It is written last, so that its files are either all there or not spoken of.

    Attributes:
        model: that made the embeddings.
        generation: 1 for a new gallery, one more with every change.
        entries: how many.
        people: how many different ones.
        index: the file with the embeddings.
        table: the file with what is known of each.
        lists: None where search is exact.
        threshold: None where none was chosen.
        tools: versions of the packages that wrote it.
        schema: version of this structure.
    """

    model: ModelIdentity
    generation: int
    entries: int
    people: int
    index: StoredFile
    table: StoredFile
    lists: Lists | None = None
    threshold: OpenSetThreshold | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ManifestError(f"schema is {self.schema}; this version reads {SCHEMA}")

    def write(self, folder: Path) -> None:
        """Write into a gallery's folder, atomically: the moment a change takes effect."""
        write_text(folder / MANIFEST_NAME, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "GalleryManifest":
        """Read from a gallery's folder.

        Raises:
            InputError: there is no such file.
            ManifestError: it is not valid.
        """
        path = require_file(Path(folder) / MANIFEST_NAME, "gallery manifest")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(data, dict):
                raise ManifestError(f"it is a JSON {type(data).__name__}, not an object")
            manifest: GalleryManifest = decode(cls, data)
        except (ValueError, ManifestError) as error:
            raise ManifestError(
                f"{path} is not a gallery's manifest ({error}); build the gallery again with the version in use"
            ) from error
        return manifest
