"""From embeddings, or from a model and a data set, to figures for people and for programs."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.embedder import Embedder
from runtime.embeddings import Embeddings

from .datasets import ReidDataset
from .embedding import embed_images
from .exported import save_manifest
from .metrics import Metrics, evaluate
from .reranking import Reranking, evaluate_reranked, require_sparse

_COLUMNS = ("rank1", "rank5", "rank10", "mAP", "mINP")


@dataclass(frozen=True)
class Evaluation:
    """The figures of one evaluation.

    Attributes:
        metrics: by cosine distance.
        reranking: how it was re-ranked, None for not at all.
        reranked: after re-ranking.
        source: what was evaluated, by name, e.g. {"data": "Market-1501", "model": "model.onnx"}.
    """

    metrics: Metrics
    reranking: Reranking | None = None
    reranked: Metrics | None = None
    source: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Figures (after re-ranking, where asked for) as fractions in 0..1, counts, settings and source."""
        result: dict[str, Any] = {**figures(self.reranked or self.metrics), **counts(self.metrics)}
        if self.reranked is not None:
            result["before_reranking"] = figures(self.metrics)
        result["settings"] = {
            "distance": "cosine",
            "reranking": describe_reranking(self.reranking) if self.reranking else None,
        }
        result["source"] = dict(self.source)
        return result

    def table(self) -> str:
        """The figures in percent, for a terminal."""
        metrics = self.metrics
        rows = [("cosine", metrics)]
        if self.reranked is not None and self.reranking is not None:
            rows.append((f"re-ranked ({self.reranking})", self.reranked))
        width = max(len(name) for name, _ in rows)
        lines = [
            *(f"{name}: {value}" for name, value in self.source.items()),
            f"{metrics.valid_queries:,} of {metrics.queries:,} queries have a match among {metrics.gallery:,} gallery "
            f"images ({metrics.junk:,} junk left out)",
            " " * width + "".join(f"{title:>9}" for title in ("rank-1", "rank-5", "rank-10", "mAP", "mINP")),
        ]
        for name, row in rows:
            lines.append(f"{name:<{width}}" + "".join(f"{100 * value:9.2f}" for value in figures(row).values()))
        return "\n".join(lines)


def evaluate_embeddings(
    query: Embeddings, gallery: Embeddings, reranking: Reranking | None = None, source: Mapping[str, str] | None = None
) -> Evaluation:
    """Evaluate by cosine distance, and after re-ranking where asked for.

    Raises:
        InputError: as `eval.metrics.evaluate`.
    """
    metrics = evaluate(query, gallery)
    reranked = evaluate_reranked(query, gallery, reranking) if reranking else None
    return Evaluation(metrics, reranking, reranked, source or {})


def evaluate_files(query: Path, gallery: Path, reranking: Reranking | None = None) -> Evaluation:
    """Evaluate two files of embeddings (.npz).

    Raises:
        InputError: a file cannot be read, or as `eval.metrics.evaluate`.
    """
    source = {"query": str(query), "gallery": str(gallery)}
    return evaluate_embeddings(Embeddings.load(query), Embeddings.load(gallery), reranking, source)


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
        model: what to call the model; what runs it and in which precision is added.
        save_to: folder to keep the embeddings and the model's manifest in, as query.npz and gallery.npz for
            `evaluate_files`, and the whole folder for the parity report; None keeps none.

    Raises:
        InputError: no test half, an unreadable image, `save_to` cannot be written to, or as `eval.metrics.evaluate`.
        DeviceError: the device failed.
        MissingDependencyError: re-ranking was asked for, and SciPy is not installed.
    """
    dataset.require_test_half()
    if reranking is not None:
        require_sparse()
    query = embed_images(embedder, dataset, dataset.query, "embedding queries")
    gallery = embed_images(embedder, dataset, dataset.gallery, "embedding gallery")
    if save_to is not None:
        query.save(save_to / "query.npz")
        gallery.save(save_to / "gallery.npz")
        save_manifest(save_to, embedder.manifest)
    runs = f"{embedder.backend.name}, {embedder.manifest.precision}"
    source = {"data": dataset.name, "model": f"{model} on {runs}" if model else runs}
    return evaluate_embeddings(query, gallery, reranking, source)


def figures(metrics: Metrics) -> dict[str, float]:
    """rank1, rank5, rank10, mAP and mINP, as fractions."""
    return {name: getattr(metrics, name) for name in _COLUMNS}


def counts(metrics: Metrics) -> dict[str, int]:
    """Queries, valid_queries, gallery and junk."""
    return {name: getattr(metrics, name) for name in ("queries", "valid_queries", "gallery", "junk")}


def describe_reranking(reranking: Reranking) -> dict[str, Any]:
    """The settings, as JSON writes them."""
    settings = dataclasses.asdict(reranking)
    settings["lambda"] = settings.pop("lambda_")
    return settings
