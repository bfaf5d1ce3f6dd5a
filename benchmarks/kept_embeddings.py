"""Embeddings that are computed once: a model's of the query and gallery images of a data set, kept in a folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from eval.comparison import check_comparable
from eval.datasets import ReidDataset
from eval.evaluation import Run, embed_run, labels_of, read_run
from eval.exported import GALLERY_NAME, QUERY_NAME
from runtime.embedder import Embedder
from runtime.embeddings import read_manifest
from runtime.errors import InputError
from runtime.files import sha256


def kept_run(model: Path, open_model: Callable[[], Embedder], dataset: ReidDataset, folder: Path) -> Run:
    """Embed the query and gallery images, or read what an earlier call kept of the same file and images.

    Args:
        model: the file; its embedder's manifest has its hash as `checkpoint_sha256`.
        open_model: opens it.
        dataset: with a test half or a split.
        folder: where the embeddings are kept; others in it are written over.

    Raises:
        InputError: as `eval.evaluation.embed_run`.
        DeviceError: the device failed.
    """
    kept = _read(model, dataset, folder)
    if kept is not None:
        return kept
    with open_model() as embedder:
        return embed_run(embedder, dataset, model.name, folder)


def _read(model: Path, dataset: ReidDataset, folder: Path) -> Run | None:
    """What is kept, if it is of this very model and of these images."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.checkpoint_sha256 != sha256(model):
        return None
    run = read_run(folder / QUERY_NAME, folder / GALLERY_NAME)
    try:
        check_comparable(run, labels_of(dataset))
    except InputError:  # of another data set or split
        return None
    return replace(run, source={"data": dataset.name, "model": f"{model.name}, embedded before"})
