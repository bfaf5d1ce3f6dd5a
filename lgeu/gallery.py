"""`lgeu gallery`: known people on the disk: build, add, remove, search, threshold, info."""

import math
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.errors import InputError

from .models import model_opener
from .options import DeviceOption, PluginOption, print_help
from .records import Format

if TYPE_CHECKING:
    from runtime.gallery_manifest import GalleryManifest

gallery = typer.Typer(
    help="Known people, to be searched by cosine similarity: exactly below 100,000 entries, in lists above. A gallery "
    "is a folder; it takes embeddings of one checkpoint only, from whatever file of it made them.",
    rich_markup_mode=None,
)
gallery.callback(invoke_without_command=True)(print_help)

GalleryArgument = Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's folder.")]
SourcesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...", help="Embeddings (.npz), or crops: a data set as for training; with --person any folder."
    ),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model", help="A checkpoint, ONNX file or engine: for crops, and .npz without manifest.json beside it."
    ),
]
PersonOption = Annotated[
    str | None, typer.Option("--person", metavar="NAME", help="All of it is this person: a name, or a number.")
]
TimeOption = Annotated[
    str | None,
    typer.Option("--time", metavar="ISO8601", help="When the pictures were taken, e.g. 2026-05-01T12:00:00+02:00."),
]


@gallery.command()
def build(
    path: GalleryArgument,
    sources: SourcesArgument,
    model: ModelOption = None,
    person: PersonOption = None,
    time: TimeOption = None,
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Make a gallery of embeddings or crops.

    Junk and distractors are left out.
    """
    from runtime.gallery_changes import build_gallery
    from runtime.gallery_manifest import MANIFEST_NAME

    from .gallery_sources import read_all

    if (path / MANIFEST_NAME).exists():
        raise InputError(f"{path} is a gallery already; add to it with `lgeu gallery add`, or name another folder")
    opener = model_opener(model, device, plugin)
    features, entries, identity = read_all(sources, opener, person, _seconds(time), taken={})
    print(_one_line(path, build_gallery(path, features, entries, identity)))


@gallery.command()
def add(
    path: GalleryArgument,
    sources: SourcesArgument,
    model: ModelOption = None,
    person: PersonOption = None,
    time: TimeOption = None,
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Append embeddings or crops to a gallery."""
    from runtime.gallery_changes import add_to_gallery
    from runtime.gallery_index import GalleryIndex

    from .gallery_sources import read_all

    taken = GalleryIndex.open(path).entries.people()
    opener = model_opener(model, device, plugin)
    features, entries, identity = read_all(sources, opener, person, _seconds(time), taken)
    print(_one_line(path, add_to_gallery(path, features, entries, identity)))


@gallery.command()
def remove(
    path: GalleryArgument, person: Annotated[str, typer.Option("--person", metavar="NAME", help="A name or a number.")]
) -> None:
    """Remove all of a person.

    Nothing of them is left in any file of the gallery, or in what its index learned.
    """
    from runtime.gallery_changes import remove_person
    from runtime.gallery_index import GalleryIndex

    number = GalleryIndex.open(path).entries.find(person)
    if number is None:
        raise InputError(f"gallery {path} has nobody called {person!r}; `lgeu gallery info` lists who is in it")
    print(_one_line(path, remove_person(path, number)))


@gallery.command()
def search(
    path: GalleryArgument,
    query: Annotated[Path, typer.Argument(help="Embeddings (.npz), a crop, or a folder of crops.")],
    model: ModelOption = None,
    count: Annotated[int, typer.Option("-k", "--count", help="Entries for each query.")] = 10,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Least cosine; nearest people below it are unknown (the gallery's own)."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="What to print.")] = "table",
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """The nearest entries of each query, best first."""
    from runtime.gallery_index import GalleryIndex

    from .gallery_report import hits_of, render_hits
    from .gallery_sources import read_source

    if threshold is not None and not -1 <= threshold <= 1:
        raise InputError(f"--threshold is {threshold}; expected a cosine similarity, -1 to 1")
    index = GalleryIndex.open(path)
    if threshold is None and index.manifest.threshold is not None:
        threshold = index.manifest.threshold.score
    source = read_source(query, model_opener(model, device, plugin), labelled=False)
    index.check_identity(source.model)
    found = index.search(source.embeddings.features, count)
    print(render_hits(hits_of(source.embeddings.names, found, index.entries, threshold), form))


@gallery.command()
def threshold(
    path: GalleryArgument,
    false_accept_rate: Annotated[
        float, typer.Option("--false-accept-rate", metavar="RATE", help="Share of strangers taken for somebody.")
    ] = 0.01,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            help="Pictures of known people and of strangers, as SOURCE of build: embeddings (.npz), or crops with "
            "--model. Without them the entries search one another.",
        ),
    ] = None,
    model: ModelOption = None,
    save: Annotated[bool, typer.Option("--save", help="Keep it in the gallery, for search and infer.")] = False,
) -> None:
    """Choose the cosine below which people are unknown.

    From there on the nearest person is taken for the one in the picture.
    """
    from eval.open_set import choose_threshold
    from runtime.gallery_changes import set_threshold
    from runtime.gallery_index import GalleryIndex
    from runtime.gallery_manifest import OpenSetThreshold

    from .gallery_sources import labelled_queries, stored_features

    index = GalleryIndex.open(path)
    stored = stored_features(index)
    if queries is None:
        features, ids = stored, index.entries.person_ids
    else:
        features, ids = labelled_queries(queries, model_opener(model, "auto", None), index)
    chosen = choose_threshold(features, ids, stored, index.entries.person_ids, false_accept_rate, same=queries is None)
    print(
        f"threshold: {chosen.threshold:.4f}\n"
        f"false accepts: {100 * chosen.false_accept_rate:.2f} % of {chosen.strangers:,} strangers\n"
        f"identified: {_percent(chosen.identification_rate)} of {chosen.known:,} who are in the gallery"
    )
    if save:
        set_threshold(path, OpenSetThreshold(chosen.threshold, chosen.false_accept_rate, chosen.strangers, len(index)))


@gallery.command()
def info(
    path: GalleryArgument,
    verify: Annotated[bool, typer.Option("--verify", help="Read all of it and compare its hashes.")] = False,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write it here.")] = None,
) -> None:
    """What a gallery is, and who is in it."""
    from runtime.files import check_target, write_json
    from runtime.gallery_index import GalleryIndex

    from .gallery_report import describe

    if json is not None:
        check_target(json)
        if path.resolve() in json.resolve().parents:
            raise InputError(f"{json} lies in the gallery {path}, whose files it may replace; name a file elsewhere")
    index = GalleryIndex.open(path, whole=verify)
    text, content = describe(index)
    print(text + ("\nevery file has the hash that the manifest names" if verify else ""))
    if json is not None:
        write_json(json, content)


def _seconds(time: str | None) -> float:
    """Seconds since 1970-01-01 UTC; NaN for none."""
    if time is None:
        return math.nan
    try:
        moment = datetime.fromisoformat(time)
    except ValueError as error:
        raise InputError(f"--time {time} is not ISO 8601; expected e.g. 2026-05-01T12:00:00+02:00") from error
    if moment.tzinfo is None:
        raise InputError(f"--time {time} names no time zone; add it, e.g. {time}+00:00")
    return moment.astimezone(timezone.utc).timestamp()


def _one_line(path: Path, manifest: "GalleryManifest") -> str:
    return f"{path}: {manifest.entries:,} entries of {manifest.people:,} people, generation {manifest.generation}"


def _percent(share: float) -> str:
    return "none" if math.isnan(share) else f"{100 * share:.1f} %"
