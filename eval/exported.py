"""Embeddings that another program computed: trtexec's `--exportOutput`, or an `.npz`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import Embeddings
from runtime.errors import InputError
from runtime.files import require_file
from runtime.manifest import Precision, manifest_path, read_engine_manifest

from .layouts import Image

_TENSOR = "embeddings"

# trtexec prints what C++ does, which JSON has no number for.
_NOT_JSON = re.compile(r"(?<=[\s,\[])-?(nan|inf)(?=[\s,\]])")
_IN_JSON = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def is_exported(path: Path) -> bool:
    """Whether `read_exported` is for this path: a `.json`, an `.npz` or a folder."""
    return path.suffix in (".json", ".npz") or path.is_dir()


def read_exported(path: Path, images: Sequence[Image]) -> NDArray[np.float32]:
    """Read the features of given images.

    Args:
        path: an `.npz` of `Embeddings`, matched by name; a `.json` of `trtexec --exportOutput`; or a folder of such
            `.json` files, one for each batch, taken in the order of their names.
        images: N images; trtexec's rows must be these in this order.

    Returns:
        (N, D) float32.

    Raises:
        InputError: the file is not such a file, lacks an image, or has another number of rows.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return _by_name(path, images)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no .json of trtexec's --exportOutput; expected one for each batch")
    features = np.concatenate([_read_trtexec(file) for file in files])
    if len(features) != len(images):
        raise InputError(
            f"{path} holds {len(features)} embeddings; expected {len(images)}: the query and then the gallery images, "
            "in the order of the data set"
        )
    return features


def exported_precision(path: Path) -> Precision:
    """The precision of the engine of the same name beside `path`; without one fp32, which is judged hardest."""
    engine = path.with_suffix(".engine")
    return read_engine_manifest(engine).precision if manifest_path(engine).exists() else "fp32"


def _by_name(path: Path, images: Sequence[Image]) -> NDArray[np.float32]:
    embeddings = Embeddings.load(path)
    rows = {name: row for row, name in enumerate(embeddings.names.tolist())}
    missing = [image.name for image in images if image.name not in rows]
    if missing:
        raise InputError(
            f"{path} lacks {len(missing)} of {len(images)} images of the data set, the first is {missing[0]}; embed "
            "the query and gallery images of the same data set and split"
        )
    return embeddings.features[[rows[image.name] for image in images]].astype(np.float32)


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
