"""What `lgeu gallery` prints: the results of a search, and what a gallery is."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.gallery_entries import GalleryEntries
from runtime.gallery_index import GalleryIndex
from runtime.gallery_vectors import Neighbours

from .records import Format, columns, render

# More are for `--json`.
_LISTED = 100


@dataclass(frozen=True)
class Hit:
    """An entry near to a query; the fields are the columns of what is printed.

    Attributes:
        query: name of the query.
        rank: from 1.
        person_id: of the entry.
        person_name: "" for none.
        score: cosine similarity.
        known: whether it reaches the threshold; None without one.
        name: of the entry's picture.
        camera_id: -1 unknown.
        time: ISO 8601, UTC; None unknown.
    """

    query: str
    rank: int
    person_id: int
    person_name: str
    score: float
    known: bool | None
    name: str
    camera_id: int
    time: str | None


def hits_of(
    queries: NDArray[np.str_], found: Neighbours, entries: GalleryEntries, threshold: float | None
) -> list[Hit]:
    """The results of a search, query by query, best first."""
    return [
        Hit(
            query=str(query),
            rank=rank,
            person_id=int(entries.person_ids[row]),
            person_name=str(entries.person_names[row]),
            score=round(float(score), 6),
            known=None if threshold is None else bool(score >= threshold),
            name=str(entries.names[row]),
            camera_id=int(entries.camera_ids[row]),
            time=_moment(float(entries.times[row])),
        )
        for query, rows, scores in zip(queries, found.rows, found.scores, strict=True)
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), 1)
    ]


def render_hits(hits: Sequence[Hit], form: Format) -> str:
    """As a "table" of text, "json" or "csv"."""
    known = {None: "", True: "yes", False: "unknown"}
    cells = [
        [
            hit.query,
            str(hit.rank),
            str(hit.person_id),
            hit.person_name,
            f"{hit.score:.4f}",
            known[hit.known],
            hit.name,
            str(hit.camera_id),
            hit.time or "",
        ]
        for hit in hits
    ]
    return render(Hit, hits, form, [[field.name for field in dataclasses.fields(Hit)], *cells])


def describe(gallery: GalleryIndex) -> tuple[str, dict[str, Any]]:
    """What a gallery is, as lines of text and as data."""
    manifest, people = gallery.manifest, gallery.entries.people()
    ids, counts = np.unique(gallery.entries.person_ids, return_counts=True)
    lists = manifest.lists
    how = (
        "exact"
        if lists is None
        else f"{lists.probes} of {lists.count} lists, {lists.depth} candidates a result: "
        f"{100 * lists.recall:.1f} % of the 10 nearest found when {lists.trained_on:,} entries were in it"
    )
    rows = [
        ["model", str(manifest.model)],
        ["checkpoint", manifest.model.checkpoint_sha256],
        ["entries", f"{manifest.entries:,} of {manifest.people:,} people"],
        ["search", how],
        ["threshold", _threshold(gallery)],
        ["generation", str(manifest.generation)],
        ["files", f"{(manifest.index.size + manifest.table.size) / 1e6:,.1f} MB"],
    ]
    listed = [[str(number), people[number], f"{count:,}"] for number, count in zip(ids.tolist(), counts, strict=True)]
    more = f"\nand {len(listed) - _LISTED:,} more, which --json has" if len(listed) > _LISTED else ""
    content = dataclasses.asdict(manifest) | {
        "who": [
            {"person_id": number, "person_name": people[number], "entries": int(count)}
            for number, count in zip(ids.tolist(), counts, strict=True)
        ]
    }
    return (
        f"{gallery.path}\n{columns(rows)}\n\n{columns([['person', 'name', 'entries'], *listed[:_LISTED]])}{more}",
        content,
    )


def _threshold(gallery: GalleryIndex) -> str:
    chosen = gallery.manifest.threshold
    if chosen is None:
        return "none chosen"
    return (
        f"{chosen.score:.4f}, which {100 * chosen.false_accept_rate:.2f} % of {chosen.strangers:,} strangers reached "
        f"when {chosen.entries:,} entries were in it"
    )


def _moment(seconds: float) -> str | None:
    return None if math.isnan(seconds) else datetime.fromtimestamp(seconds, timezone.utc).isoformat()
