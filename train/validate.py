"""What a checkpoint is worth on the data set's query and gallery images."""

import logging
from pathlib import Path

from eval.datasets import ReidDataset
from eval.embedding import embed_images
from eval.metrics import Metrics, evaluate
from runtime.files import write_json

from .embedder import open_checkpoint

LOGGER = logging.getLogger(__name__)

METRICS = "metrics.json"


def validate(checkpoint: Path, dataset: ReidDataset) -> Metrics:
    """Embed the query and gallery images, log the figures and write them beside the checkpoint.

    Raises:
        InputError: the checkpoint or an image cannot be read.
    """
    with open_checkpoint(checkpoint) as embedder:
        query = embed_images(embedder, dataset, dataset.query, "query images")
        gallery = embed_images(embedder, dataset, dataset.gallery, "gallery images")
    metrics = evaluate(query, gallery)
    figures = {name: getattr(metrics, name) for name in ("rank1", "rank5", "rank10", "mAP", "mINP")}
    counts = {name: getattr(metrics, name) for name in ("queries", "valid_queries", "gallery", "junk")}
    write_json(checkpoint.with_name(METRICS), {"data": dataset.name, **figures, **counts})
    LOGGER.info("%s: %s", dataset.name, ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    return metrics
