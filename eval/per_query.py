"""The results of every query as a table (CSV)."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import JUNK
from runtime.files import atomic_path

from .evaluation import Evaluation
from .metrics import PerQuery

_LABELS = ("row", "name", "person_id", "camera_id", "valid")
_RESULTS = ("average_precision", "inverse_negative_penalty", "first_match", "nearest")

_Cell = str | int | float


def write_per_query(path: Path, evaluation: Evaluation) -> None:
    """Write one line a query, atomically, as UTF-8.

    The columns are row (from 0), name, person_id, camera_id, valid (true or false: whether the gallery has a match),
    average_precision, inverse_negative_penalty, first_match (its rank, from 1) and nearest (the name of the nearest
    gallery image); the last four again with `reranked_` in front where the evaluation was re-ranked. The first three
    results are empty where there is no match, and `nearest` where no gallery image is left.

    Args:
        path: the file.
        evaluation: what to write.

    Raises:
        InputError: the file cannot be written.
    """
    runs = {"": evaluation.metrics, "reranked_": evaluation.reranked}
    results = {prefix: metrics.per_query for prefix, metrics in runs.items() if metrics is not None}
    gallery = evaluation.run.gallery
    names = gallery.names[gallery.person_ids != JUNK]
    # A file name that is not UTF-8 must not cost the table.
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([*_LABELS, *(prefix + name for prefix in results for name in _RESULTS)])
        writer.writerows(_rows(evaluation, list(results.values()), names))


def _rows(evaluation: Evaluation, results: Sequence[PerQuery], names: NDArray[np.str_]) -> Iterator[list[_Cell]]:
    query = evaluation.run.query
    labels = (query.names, query.person_ids, query.camera_ids, evaluation.metrics.per_query.valid)
    for row, (name, person, camera, valid) in enumerate(zip(*(each.tolist() for each in labels), strict=True)):
        cells: list[_Cell] = [row, name, person, camera, "true" if valid else "false"]
        for result in results:
            cells += _cells(result, row, names)
        yield cells


def _cells(result: PerQuery, row: int, names: NDArray[np.str_]) -> list[_Cell]:
    place = int(result.nearest[row])
    nearest = str(names[place]) if place >= 0 else ""
    if not result.valid[row]:
        return ["", "", "", nearest]
    return [
        float(result.average_precision[row]),
        float(result.inverse_negative_penalty[row]),
        int(result.first_match[row]),
        nearest,
    ]
