"""`lgeu find`: where somebody is in the videos that `lgeu infer` embedded."""

import heapq
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from runtime.embeddings import MANIFEST_NAME, Embeddings
from runtime.errors import InputError, ManifestError
from runtime.footage import Appearance, find_appearances
from runtime.gallery_vectors import normalised
from runtime.identities import describe_track

from .models import model_opener
from .options import DeviceOption, PluginOption
from .records import Format, render

if TYPE_CHECKING:
    from runtime.gallery_manifest import ModelIdentity

    from .gallery_sources import OpenModel

_HEADINGS = ["footage", "track", "similarity", "frames", "crops", "most alike"]


def find(
    person: Annotated[
        Path,
        typer.Argument(metavar="PERSON", help="Who is looked for: a crop, a folder of crops, or embeddings (.npz)."),
    ],
    footage: Annotated[
        list[Path], typer.Argument(metavar="FOOTAGE...", help="Folders that `lgeu infer` wrote, or embeddings (.npz).")
    ],
    model: Annotated[
        Path | None,
        typer.Option("--model", help="The model that embedded the footage: for crops, and .npz without manifest.json."),
    ] = None,
    count: Annotated[int, typer.Option("-k", "--count", min=1, help="At most so many tracks.")] = 10,
    threshold: Annotated[float, typer.Option("--threshold", min=-1, max=1, help="Least cosine similarity.")] = -1,
    form: Annotated[Format, typer.Option("--format", help="What to print.")] = "table",
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Where somebody is in embedded videos: the tracks that look most like them, best first.

    All of PERSON is one person. A crop without a track counts as a track.
    """
    from .gallery_sources import read_source

    opener = model_opener(model, device, plugin)
    wanted = read_source(person, opener, labelled=False)
    if not len(wanted.embeddings):
        raise InputError(f"{person} holds no embeddings; expected some of who is looked for")
    features = normalised(wanted.embeddings.features, str(person))
    descriptor = describe_track(features, np.arange(len(features)))
    found: list[Appearance] = []
    for path in footage:
        embeddings = _read(path, opener, wanted.model)
        found += find_appearances(descriptor, embeddings, str(path))
        found = heapq.nlargest(count, found, key=lambda each: each.similarity)
    found = [each for each in found if each.similarity >= threshold]
    print(render(Appearance, found, form, [_HEADINGS, *map(_cells, found)]))


def _read(path: Path, opener: "OpenModel | None", model: "ModelIdentity") -> Embeddings:
    """A run's embeddings, which the model must have made."""
    from runtime.outputs import EMBEDDINGS

    from .gallery_sources import read_source

    file = path / EMBEDDINGS if path.is_dir() else path
    if not file.exists():
        raise InputError(
            f"{file} does not exist; expected a folder that `lgeu infer` wrote without --no-embeddings, or an .npz"
        )
    if file.suffix != ".npz":
        raise InputError(f"{file} is no embeddings file (.npz); embed it with `lgeu infer`, then name its --out")
    known = (file.parent / MANIFEST_NAME).exists()
    source = read_source(file, None if known else opener, labelled=False)
    if source.model != model:
        raise ManifestError(f"{file} was made by another model: {source.model}; PERSON by {model}")
    return replace(source.embeddings, features=normalised(source.embeddings.features, str(file)))


def _cells(found: Appearance) -> list[str]:
    return [
        found.footage,
        "" if found.track is None else str(found.track),
        f"{found.similarity:.4f}",
        "" if found.first_frame is None else f"{found.first_frame}-{found.last_frame}",
        str(found.crops),
        found.name,
    ]
