"""Embeddings that another program or another machine computed, in a folder with the manifest of the model that did."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import MANIFEST_NAME, Embeddings, read_manifest
from runtime.errors import InputError
from runtime.files import atomic_path, require_file, write_text
from runtime.manifest import Manifest

from .halves import Image

QUERY_NAME, GALLERY_NAME = "query.npz", "gallery.npz"
_TENSOR = "embeddings"
_NUMBER = re.compile(r"([0-9]+)")

# trtexec prints what C++ does, which JSON has no number for.
_NOT_JSON = re.compile(r"(?<=[\s,\[])-?(nan|inf)(?=[\s,\]])")
_IN_JSON = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def is_exported(path: Path) -> bool:
    """Whether `read_exported` is for this path: a `.json` or a folder."""
    return path.suffix == ".json" or path.is_dir()


def save_embeddings(folder: Path, query: Embeddings, gallery: Embeddings, manifest: Manifest) -> None:
    """Write both halves and the manifest of their model, all of them before the first takes an older one's place.

    Raises:
        InputError: they cannot be written; what was in `folder` is as it was.
    """
    with (
        atomic_path(folder / MANIFEST_NAME) as manifest_path,
        atomic_path(folder / QUERY_NAME) as query_path,
        atomic_path(folder / GALLERY_NAME) as gallery_path,
    ):
        gallery.save(gallery_path)
        query.save(query_path)
        write_text(manifest_path, manifest.to_json() + "\n")


def read_exported(path: Path, images: Sequence[Image]) -> NDArray[np.float32]:
    """Read the features of given images.

    Args:
        path: a folder of `lgeu evaluate --embeddings`, matched by name; a `.json` of `trtexec --exportOutput`; or a
            folder of such `.json` files, one for each batch, taken in the order of their names, numbers by value.
        images: N images; trtexec's rows must be these in this order.

    Returns:
        (N, D) float32.

    Raises:
        InputError: these are not such files, are both kinds, lack an image, or have another number of rows.
    """
    path = Path(path)
    files = _batches(path) if path.is_dir() else [path]
    if (path / QUERY_NAME).exists():
        _refuse_trtexec(path, files)
        return _by_name(path, images)
    if not files:
        raise InputError(
            f"{path} holds neither query.npz and gallery.npz of `lgeu evaluate --embeddings` nor a .json of trtexec's "
            "--exportOutput for each batch; name another folder"
        )
    features = _join([_read_trtexec(file) for file in files], path)
    expected = rows_written(len(images), read_manifest(path))
    if len(features) != expected:
        raise InputError(
            f"{path} holds {len(features)} embeddings; expected {expected}: of the query and then the gallery images, "
            "in the order of the data set"
        )
    return features[: len(images)]


def rows_written(images: int, manifest: Manifest | None) -> int:
    """How many rows `eval.trtexec_inputs` writes for so many images: an engine's smallest batch is filled up."""
    if manifest is None or manifest.engine is None:
        return images
    engine = manifest.engine
    rest = images % engine.max_batch
    if rest == 0:
        return images
    return images - rest + max(rest, engine.profiles[engine.profile_for(rest)].min)


def _batches(folder: Path) -> list[Path]:
    """The `.json` files in the order of their names: 9999 before 10000, and batch-2 before batch-10."""

    def order(file: Path) -> tuple[list[str | int], str]:
        parts = _NUMBER.split(file.name)
        return [int(part) if _NUMBER.fullmatch(part) else part for part in parts], file.name

    return sorted((file for file in folder.glob("*.json") if file.name != MANIFEST_NAME), key=order)


def _refuse_trtexec(folder: Path, files: Sequence[Path]) -> None:
    for file in files:
        if _holds_list(file):
            raise InputError(
                f"{folder} holds {QUERY_NAME} of `lgeu evaluate --embeddings` and {file.name} of trtexec's "
                "--exportOutput, which need not be of the same model; keep each in a folder of its own"
            )


def _holds_list(file: Path) -> bool:
    """Whether it is trtexec's; figures of `lgeu evaluate --json`, an object, may lie beside the embeddings."""
    with file.open("rb") as content:
        return content.read(100).lstrip().startswith(b"[")


def _by_name(folder: Path, images: Sequence[Image]) -> NDArray[np.float32]:
    halves = [Embeddings.load(folder / name) for name in (QUERY_NAME, GALLERY_NAME)]
    names = [name for half in halves for name in half.names.tolist()]
    rows = {name: row for row, name in enumerate(names)}
    missing = [image.name for image in images if image.name not in rows]
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(images)} images of the data set, the first is {missing[0]}; embed "
            "the query and gallery images of the same data set and split"
        )
    features = _join([half.features for half in halves], folder)
    return features[[rows[image.name] for image in images]].astype(np.float32)


def _join(parts: Sequence[NDArray[np.float32]], source: Path) -> NDArray[np.float32]:
    sizes = sorted({part.shape[1] for part in parts})
    if len(sizes) > 1:
        raise InputError(f"{source} holds embeddings of {sizes} elements; expected one size: export one model's")
    return np.concatenate(parts)


def _read_trtexec(path: Path) -> NDArray[np.float32]:
    require_file(path, "trtexec output")
    try:
        text = _NOT_JSON.sub(lambda match: _IN_JSON[match[0]], path.read_text())
        (tensor,) = [tensor for tensor in json.loads(text) if tensor["name"] == _TENSOR]
        rows, size = (int(part) for part in tensor["dimensions"].split("x"))
        return np.array(tensor["values"], np.float32).reshape(rows, size)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not what `trtexec --exportOutput` writes for one N x D tensor '{_TENSOR}' ({_reason(error)}); "
            "export it again"
        ) from error


def _reason(error: Any) -> str:
    return f"{type(error).__name__}: {error}"
