"""The part of `lgeu visualise` that looks at a checkpoint's gates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.datasets import Image, ReidDataset
from eval.picture_page import Picture, Section, write_picture
from runtime.embeddings import JUNK
from runtime.manifest import Manifest
from runtime.preprocess import preprocess
from runtime.progress import progress
from train.checkpoint import Checkpoint, load_checkpoint
from train.gate_responses import GateStatistics, gate_responses, gate_statistics

from .gate_pictures import channel_order, draw_gates, draw_legend, draw_responses

# Enough for means over all of them, and seconds on a CPU.
_SAMPLE = 200

_ALT = (
    "{}: the image, where its feature map is strong before and after the gates, and the gates' values over channels, "
    "one row a strip"
)


def write_gate_sheets(
    checkpoint: Path, dataset: ReidDataset, queries: Sequence[Image], out: Path
) -> tuple[Section, dict[str, Any]]:
    """Draw the gates of some images, and their mean over a sample of the gallery.

    Gives the section of the page, whose folder is that of `out`, and how much the gates differ, for JSON.

    Args:
        checkpoint: of a network with gates; it runs on the CPU.
        dataset: with a test half.
        queries: images to draw one by one.
        out: the folder for the pictures.

    Raises:
        InputError: there are no gates, an image cannot be read, or `out` cannot be written to.
    """
    loaded = load_checkpoint(checkpoint)
    sampled = sampled_gates(loaded, dataset)
    statistics, order = gate_statistics(sampled), channel_order(sampled)
    write_picture(out / "mean.jpg", np.vstack([draw_gates(sampled.mean(0), order), draw_legend()]))
    pictures = [
        Picture(
            f"{out.name}/mean.jpg",
            f"Heat map of the mean gates: {statistics.strips} rows, one a strip, over {statistics.channels} channels",
            f"Mean over {statistics.images:,} gallery images; a row a strip, from the top; channels by their mean, the "
            "widest open left. Below: the colours from 0 to 1.",
        )
    ]
    images = _read(dataset, queries, loaded.manifest)
    responses = gate_responses(loaded.model, images)
    for number, (query, image) in enumerate(zip(queries, images, strict=True)):
        path = f"{number + 1:03d}.jpg"
        maps = responses.energy[number], responses.gated_energy[number]
        write_picture(out / path, draw_responses(image, responses.gates[number], order, *maps))
        pictures.append(Picture(f"{out.name}/{path}", _ALT.format(query.name), query.name))
    return Section("The gates", _text(statistics), tuple(pictures)), statistics.to_json()


def sampled_gates(loaded: Checkpoint, dataset: ReidDataset) -> NDArray[np.float32]:
    """(N, K, C) gates of N = 200 images, or all, spread over the gallery without its junk.

    Raises:
        InputError: there are no gates, or an image cannot be read.
    """
    return gate_responses(loaded.model, _read(dataset, _sample(dataset.gallery), loaded.manifest)).gates


def _read(dataset: ReidDataset, images: Sequence[Image], manifest: Manifest) -> list[NDArray[np.uint8]]:
    """As the network sees them."""
    return [
        preprocess(dataset.read(image), manifest.height, manifest.width, "BGR")
        for image in progress(images, "reading images for the gates", unit="image")
    ]


def _sample(gallery: Sequence[Image]) -> list[Image]:
    """Some images without junk, evenly spread."""
    people = [image for image in gallery if image.person_id != JUNK]
    count = min(len(people), _SAMPLE)
    return [people[index * len(people) // count] for index in range(count)]


def _text(statistics: GateStatistics) -> tuple[str, ...]:
    means = ", ".join(f"{mean:.3f}" for mean in statistics.mean)
    between_strips = f"{statistics.between_strips:.4f} between the strips of an image and by "
    lines = [
        f"Mean value of the gates of each strip, from the top: {means}.",
        f"The gate of a channel differs by {between_strips if statistics.strips > 1 else ''}"
        f"{statistics.between_images:.4f} between images (standard deviation; {statistics.images:,} gallery images).",
    ]
    pairs = statistics.correlation[np.triu_indices(statistics.strips, 1)]
    if pairs.size and np.isfinite(pairs).all():
        lines.append(f"Correlation of two strips' gates over channels: {pairs.min():.3f} to {pairs.max():.3f}.")
    lines.append(
        "Each picture: the image, its feature map's energy before the gates and after them (each by its own largest, "
        "yellow), and the gates' values, dark 0 and yellow 1, with the channels in the order of the first picture."
    )
    return tuple(lines)
