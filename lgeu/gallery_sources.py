"""What is put into a gallery or looked up in it: embeddings in a file, or crops that a model embeds here."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from eval.datasets import Image, open_dataset
from eval.embedding import embed_images
from eval.layouts import MARKET_PARTS
from runtime.embedder import Embedder
from runtime.embeddings import UNKNOWN_CAMERA, UNKNOWN_PERSON, Embeddings, read_manifest
from runtime.errors import InputError, ManifestError
from runtime.gallery_entries import GalleryEntries, known_people
from runtime.gallery_index import GalleryIndex
from runtime.gallery_manifest import ModelIdentity
from runtime.gallery_vectors import normalised
from runtime.images import is_image_name, list_images, read_image

OpenModel = Callable[[], Embedder]

_LAST_NUMBER = re.compile(r"(\d+)$")
# So many fit into int64, whichever they are.
_MOST_DIGITS = 18


@dataclass(frozen=True)
class Source:
    """Embeddings, and who made them and of whom.

    Attributes:
        embeddings: N of them.
        person_names: (N,) unicode; "" where a person has a number only.
        model: that made them.
    """

    embeddings: Embeddings
    person_names: NDArray[np.str_]
    model: ModelIdentity


def read_source(path: Path, open_model: OpenModel | None, *, labelled: bool) -> Source:
    """Read embeddings, or make them.

    Args:
        path: an embeddings file (.npz) with `manifest.json` beside it; a data set, folder or zip, as training takes it;
            where `labelled` is false, or the person is given otherwise, also an image or a folder of images.
        open_model: opens the model that made or makes the embeddings; None where the manifest says it.
        labelled: whether a data set's layout must say who is who.

    Raises:
        InputError: it is none of these, or needs a model.
        ManifestError: the model given is not the one that the manifest beside the embeddings names.
    """
    if path.suffix == ".npz":
        return _from_file(path, open_model)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if open_model is None:
        raise InputError(f"{path} holds crops, which a model must embed; name it with --model")
    with open_model() as embedder:
        model = ModelIdentity.of(embedder.manifest, "the model")
        if labelled:
            return _from_dataset(path, embedder, model)
        return _from_crops(path, embedder, model)


def entries_of(
    source: Source, name: str, *, time: float, taken: Mapping[int, str], largest: int = 0
) -> tuple[NDArray[np.float32], GalleryEntries]:
    """Features and entries of the people in a source: junk and distractors are left out.

    Args:
        source: what was read.
        name: of the source, for errors.
        time: at which its pictures were taken, seconds since 1970-01-01 UTC; NaN unknown.
        taken: names by id of the people already in the gallery; a person named alike gets that id, a new name a new id.
        largest: a new id is larger than this.

    Raises:
        InputError: a person is unknown, or nobody is left.
    """
    known = known_people(source.embeddings, name)
    names = source.person_names[known]
    ids = _with_numbers(source.embeddings.person_ids[known], names, taken, largest)
    # Who has a name in the gallery keeps it where a source gives the number only.
    names = np.array([each or taken.get(int(number), "") for number, each in zip(ids, names, strict=True)], np.str_)
    entries = GalleryEntries(
        person_ids=ids,
        person_names=names,
        camera_ids=source.embeddings.camera_ids[known],
        names=source.embeddings.names[known],
        times=np.full(len(ids), time),
    )
    return source.embeddings.features[known], entries


def all_of_person(source: Source, person: str, taken: Mapping[int, str]) -> Source:
    """The same embeddings, all of one person: a number, or a name."""
    count = len(source.embeddings)
    number = None if person in taken.values() else _number(person)
    ids = np.full(count, number or 1, np.int64)
    names = np.full(count, "" if number else person)
    return replace(source, embeddings=replace(source.embeddings, person_ids=ids), person_names=names)


def _with_numbers(
    ids: NDArray[np.int64], names: NDArray[np.str_], taken: Mapping[int, str], largest: int
) -> NDArray[np.int64]:
    """Ids of the people with names: the gallery's where it has them, else numbers that nobody has."""
    by_name = {name: number for number, name in taken.items() if name}
    unnamed = ids[names == ""].tolist()
    free = max([largest, *taken, *unnamed]) + 1
    for name in dict.fromkeys(names[names != ""].tolist()):
        if name not in by_name:
            by_name[name], free = free, free + 1
    return np.array(
        [by_name[name] if name else number for number, name in zip(ids, names.tolist(), strict=True)], np.int64
    )


def _from_file(path: Path, open_model: OpenModel | None) -> Source:
    embeddings = Embeddings.load(path)
    manifest = read_manifest(path.parent)
    beside = ModelIdentity.of(manifest, f"{path} (manifest.json beside it)") if manifest is not None else None
    given = None
    if open_model is not None:
        with open_model() as embedder:
            given = ModelIdentity.of(embedder.manifest, "the model")
    model = given or beside
    if model is None:
        raise ManifestError(
            f"{path} has no manifest.json beside it, so that the model that made it is not known; name that with "
            "--model, or write embeddings and manifest with `lgeu infer` or `lgeu evaluate --embeddings`"
        )
    if beside is not None and model != beside:
        raise ManifestError(f"{path} was made by another model: {beside}; --model is {model}")
    if embeddings.features.shape[1] != model.embedding_size:
        raise ManifestError(
            f"{path} holds embeddings of {embeddings.features.shape[1]} elements, and its model is said to be {model}; "
            "name the one that made them"
        )
    return Source(embeddings, np.full(len(embeddings), ""), model)


def _from_crops(path: Path, embedder: Embedder, model: ModelIdentity) -> Source:
    paths = [path] if path.is_file() and is_image_name(path.name) else list_images(path)
    features = embedder.embed((read_image(each) for each in paths), "BGR")
    embeddings = Embeddings(
        features=features,
        person_ids=np.full(len(paths), UNKNOWN_PERSON, np.int64),
        camera_ids=np.full(len(paths), UNKNOWN_CAMERA, np.int64),
        names=np.array([each.name for each in paths], np.str_),
    )
    return Source(embeddings, np.full(len(paths), ""), model)


def _from_dataset(path: Path, embedder: Embedder, model: ModelIdentity) -> Source:
    dataset = open_dataset(path)
    images = [*dataset.train, *dataset.query, *dataset.gallery]
    embeddings = embed_images(embedder, dataset, images)
    if any(part in PurePosixPath(images[0].name).parts for part in MARKET_PARTS):
        return Source(embeddings, np.full(len(images), ""), model)
    ids, names = zip(*(_plain_person(image) for image in images), strict=True)
    cameras = [_plain_camera(image) for image in images]
    embeddings = replace(embeddings, person_ids=np.array(ids, np.int64), camera_ids=np.array(cameras, np.int64))
    return Source(embeddings, np.array(names, np.str_), model)


def _plain_person(image: Image) -> tuple[int, str]:
    """Number and name of the person whose folder it is: ids that training counts up would change with the folders."""
    folder = PurePosixPath(image.name).parts[-2]
    number = _number(folder)
    return (number, "") if number else (1, folder)


def _largest_number(source: Source) -> int:
    """Of the people who have one and no name; 0 for none."""
    return int(source.embeddings.person_ids[source.person_names == ""].max(initial=0))


def _number(person: str) -> int | None:
    """The number that somebody is called by; None for a name."""
    digits = person.isascii() and person.isdigit() and len(person) <= _MOST_DIGITS
    return (int(person) or None) if digits else None


def _check_person(person: str, taken: Mapping[int, str]) -> None:
    if not person.strip():
        raise InputError("--person is blank; expected a name, or a number from 1")
    if person.isascii() and person.isdigit() and _number(person) is None and person not in taken.values():
        raise InputError(f"--person {person} is no person's number; expected 1 to {'9' * _MOST_DIGITS}, or a name")


def _plain_camera(image: Image) -> int:
    number = _LAST_NUMBER.search(PurePosixPath(image.name).name.partition("_")[0])
    # A time in a name may have more digits than a number can.
    return int(number[1]) if number and len(number[1]) <= _MOST_DIGITS else UNKNOWN_CAMERA


def check_one_model(sources: Sequence[Source], names: Sequence[Path]) -> ModelIdentity:
    """The model that made all of the sources.

    Raises:
        ManifestError: it is not one.
    """
    first = sources[0].model
    for source, name in zip(sources, names, strict=True):
        if source.model != first:
            raise ManifestError(
                f"{names[0]} and {name} were made by different models: {first}; {source.model}: a gallery holds one "
                "model's embeddings"
            )
    return first


def read_all(
    paths: Sequence[Path], opener: OpenModel | None, person: str | None, time: float, taken: Mapping[int, str]
) -> tuple[NDArray[np.float32], GalleryEntries, ModelIdentity]:
    """Features and entries of several sources, and the model that made them all.

    Args:
        paths: see `read_source`.
        opener: likewise.
        person: who all of it is, a number or a name; None where the sources say it.
        time: see `entries_of`.
        taken: likewise.

    Raises:
        InputError: nobody can be called `person`; see also `read_source` and `entries_of`.
        ManifestError: they are not one model's.
    """
    if person is not None:
        _check_person(person, taken)
    sources = [read_source(path, opener, labelled=person is None) for path in paths]
    model = check_one_model(sources, paths)
    features, tables, people = [], [], dict(taken)
    # Nobody with a name alone gets the number that somebody has in a later source.
    largest = max(map(_largest_number, sources)) if person is None else 0
    for path, source in zip(paths, sources, strict=True):
        labelled = source if person is None else all_of_person(source, person, people)
        rows, entries = entries_of(labelled, str(path), time=time, taken=people, largest=largest)
        people |= entries.people()
        features.append(rows)
        tables.append(entries)
    return np.concatenate(features), GalleryEntries.concatenate(tables), model


def labelled_queries(
    path: Path, opener: OpenModel | None, gallery: GalleryIndex
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features of length 1 and person ids of labelled queries, made by a gallery's model.

    Who has a name in the gallery has the gallery's id, whom it does not know one that nobody in it has.

    Raises:
        InputError: see `read_source` and `entries_of`.
        ManifestError: another model made them.
    """
    source = read_source(path, opener, labelled=True)
    gallery.check_identity(source.model)
    features, entries = entries_of(source, str(path), time=math.nan, taken=gallery.entries.people())
    return normalised(features, str(path)), entries.person_ids


def stored_features(gallery: GalleryIndex) -> NDArray[np.float32]:
    """All embeddings of a gallery, (N, D), in memory."""
    return gallery.vectors.fetch(np.arange(len(gallery), dtype=np.int64))
