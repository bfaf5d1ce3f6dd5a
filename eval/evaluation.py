"""From embeddings, or from a model and a data set, to figures for people and for programs."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.embedder import Embedder
from runtime.embeddings import Embeddings, read_manifest
from runtime.errors import InputError
from runtime.gallery_manifest import ModelIdentity

from .datasets import ReidDataset
from .embedding import embed_images, label
from .encoding import require_sparse
from .expansion import Expansion, expand
from .exported import save_embeddings
from .features import Labelled, LabelledFeatures
from .metrics import Metrics, evaluate
from .reranking import Reranking, evaluate_reranked

# How the figures are called in tables; the keys are those of JSON and the attributes of `Metrics`.
TITLES = {
    "rank1": "rank-1",
    "rank5": "rank-5",
    "rank10": "rank-10",
    "rank20": "rank-20",
    "mAP": "mAP",
    "mINP": "mINP",
}


@dataclass(frozen=True)
class Run:
    """What one model made of the images to search with and to search in.

    Attributes:
        query: embeddings of the queries.
        gallery: embeddings of the gallery, junk and distractors included.
        source: where they are from, by name, e.g. {"data": "Market-1501", "model": "model.onnx"}.
        expansion: how the features were expanded; None where they are the model's own.
        to_device: takes features to the GPU that compares them, as a tensor; None for this machine's processor.
    """

    query: Embeddings
    gallery: Embeddings
    source: Mapping[str, str]
    expansion: Expansion | None = None
    to_device: Callable[[NDArray[np.float32]], Any] | None = None


@dataclass(frozen=True)
class Evaluation:
    """The figures of one run.

    Attributes:
        run: what was evaluated.
        metrics: by cosine distance.
        reranking: how it was re-ranked, None for not at all.
        reranked: after re-ranking.
    """

    run: Run
    metrics: Metrics
    reranking: Reranking | None = None
    reranked: Metrics | None = None

    @property
    def final(self) -> Metrics:
        """After re-ranking where asked for, else by cosine distance."""
        return self.reranked or self.metrics

    @property
    def title(self) -> str:
        """How the figures by cosine distance are called in tables."""
        return "expanded" if self.run.expansion else "cosine"

    def to_json(self) -> dict[str, Any]:
        """The final figures as fractions in 0..1, counts, settings and source."""
        result: dict[str, Any] = {**figures(self.final), **counts(self.metrics)}
        if self.reranked is not None:
            result["before_reranking"] = figures(self.metrics)
        result["settings"] = {
            "distance": "cosine",
            "expansion": dataclasses.asdict(self.run.expansion) if self.run.expansion else None,
            "reranking": describe_reranking(self.reranking) if self.reranking else None,
        }
        result["source"] = dict(self.run.source)
        return result

    def table(self) -> str:
        """The figures in percent, for a terminal."""
        metrics = self.metrics
        lines = [f"{name}: {value}" for name, value in self.run.source.items()]
        if self.run.expansion is not None:
            lines.append(f"expansion: {self.run.expansion}")
        if self.reranking is not None:
            lines.append(f"re-ranking: {self.reranking}")
        lines += [
            f"{metrics.valid_queries:,} of {metrics.queries:,} queries have a match among {metrics.gallery:,} gallery "
            f"images ({metrics.junk:,} junk left out)",
            " " * 9 + "".join(f"{title:>9}" for title in TITLES.values()),
        ]
        for name, row in ((self.title, metrics), ("re-ranked", self.reranked)):
            if row is not None:
                lines.append(f"{name:<9}" + "".join(f"{100 * value:9.2f}" for value in figures(row).values()))
        return "\n".join(lines)


def evaluate_run(
    run: Run,
    reranking: Reranking | None = None,
    memory_limit: int | None = None,
    expansion: Expansion | None = None,
) -> Evaluation:
    """Evaluate by cosine distance, and after re-ranking where asked for.

    Args:
        run: what to evaluate.
        reranking: how to re-rank; None for not at all.
        memory_limit: bytes that re-ranking may use beside the features; None for as many as it needs.
        expansion: how to expand the features before everything else; None for not at all.

    Raises:
        InputError: as `eval.metrics.evaluate` and `eval.reranking.evaluate_reranked`.
        DeviceError: the run goes to a GPU, which failed.
    """
    if expansion is not None:
        run = expand_run(run, expansion)
    evaluation = Evaluation(run, evaluate(*_compared(run)))
    return evaluation if reranking is None else rerank_evaluation(evaluation, reranking, memory_limit)


def expand_run(run: Run, expansion: Expansion) -> Run:
    """The same images with expanded features.

    Raises:
        InputError: as `eval.expansion.expand`.
    """
    query, gallery = expand(run.query, run.gallery, expansion)
    return replace(
        run,
        query=replace(run.query, features=query.features),
        gallery=replace(run.gallery, features=gallery.features),
        expansion=expansion,
    )


def rerank_evaluation(evaluation: Evaluation, reranking: Reranking, memory_limit: int | None = None) -> Evaluation:
    """Add the figures after re-ranking; arguments and errors as `evaluate_run`."""
    reranked = evaluate_reranked(*_compared(evaluation.run), reranking, memory_limit)
    return replace(evaluation, reranking=reranking, reranked=reranked)


def _compared(run: Run) -> tuple[Labelled, Labelled]:
    """Queries and gallery, their features where they are to be compared."""
    if run.to_device is None:
        return run.query, run.gallery
    query, gallery = (
        LabelledFeatures(run.to_device(side.features), side.person_ids, side.camera_ids)
        for side in (run.query, run.gallery)
    )
    return query, gallery


def evaluate_files(query: Path, gallery: Path, reranking: Reranking | None = None) -> Evaluation:
    """Evaluate two files of embeddings (.npz).

    Raises:
        InputError: a file cannot be read, or as `evaluate_run`.
    """
    return evaluate_run(read_run(query, gallery), reranking)


def read_run(query: Path, gallery: Path) -> Run:
    """Read two files of embeddings (.npz).

    Raises:
        InputError: a file cannot be read, or the manifests beside them, in two folders, are of different models.
    """
    if query.parent.resolve() != gallery.parent.resolve():
        _check_same_model(query.parent, gallery.parent)
    return Run(Embeddings.load(query), Embeddings.load(gallery), {"query": str(query), "gallery": str(gallery)})


def _check_same_model(query: Path, gallery: Path) -> None:
    """Of two folders; a manifest that is missing, or names no checkpoint, says nothing."""
    manifests = {folder: read_manifest(folder) for folder in (query, gallery)}
    models = [
        ModelIdentity.of(manifest, str(folder))
        for folder, manifest in manifests.items()
        if manifest is not None and manifest.checkpoint_sha256 is not None
    ]
    if len(models) == 2 and models[0] != models[1]:
        raise InputError(
            f"the queries in {query} and the gallery in {gallery} were made by different models: {models[0]}; "
            f"{models[1]}; expected embeddings of the same model: embed both with one"
        )


def labels_of(dataset: ReidDataset) -> Run:
    """The images of a data set as a run without features, for what looks at persons, cameras and names only."""
    query, gallery = (
        label(np.empty((len(images), 0), np.float32), images) for images in (dataset.query, dataset.gallery)
    )
    return Run(query, gallery, {"data": dataset.name})


def evaluate_model(
    embedder: Embedder,
    dataset: ReidDataset,
    reranking: Reranking | None = None,
    model: str | None = None,
    save_to: Path | None = None,
) -> Evaluation:
    """Embed the query and gallery images of a data set and evaluate them.

    Args:
        embedder: the model.
        dataset: with a test half or a split.
        reranking: how to re-rank; None for not at all.
        model: see `embed_run`.
        save_to: likewise.

    Raises:
        InputError: as `embed_run` and `evaluate_run`.
        DeviceError: the device failed.
        MissingDependencyError: re-ranking was asked for, and SciPy is not installed.
    """
    if reranking is not None:
        require_sparse()
    return evaluate_run(embed_run(embedder, dataset, model, save_to), reranking)


def embed_run(embedder: Embedder, dataset: ReidDataset, model: str | None = None, save_to: Path | None = None) -> Run:
    """Embed the query and gallery images of a data set.

    Args:
        embedder: the model.
        dataset: with a test half or a split.
        model: what to call the model; what runs it and in which precision is added.
        save_to: folder to keep the embeddings and the model's manifest in, as query.npz and gallery.npz for
            `read_run`, and the whole folder for the parity report; None keeps none. All three or none are written.

    Raises:
        InputError: no test half, an unreadable image, or `save_to` cannot be written to.
        DeviceError: the device failed.
    """
    dataset.require_test_half()
    query = embed_images(embedder, dataset, dataset.query, "embedding queries")
    gallery = embed_images(embedder, dataset, dataset.gallery, "embedding gallery")
    if save_to is not None:
        save_embeddings(save_to, query, gallery, embedder.manifest)
    runs = f"{embedder.backend.name}, {embedder.manifest.precision}"
    return Run(query, gallery, {"data": dataset.name, "model": f"{model} on {runs}" if model else runs})


def figures(metrics: Metrics) -> dict[str, float]:
    """rank1, rank5, rank10, rank20, mAP and mINP, as fractions."""
    return {name: getattr(metrics, name) for name in TITLES}


def counts(metrics: Metrics) -> dict[str, int]:
    """Queries, valid_queries, gallery and junk."""
    return {name: getattr(metrics, name) for name in ("queries", "valid_queries", "gallery", "junk")}


def describe_reranking(reranking: Reranking) -> dict[str, Any]:
    """The settings, as JSON writes them."""
    settings = dataclasses.asdict(reranking)
    settings["lambda"] = settings.pop("lambda_")
    return settings
