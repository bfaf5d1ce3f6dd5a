"""Results that are printed as a table, or as JSON or CSV for other programs."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any, Literal

Format = Literal["table", "json", "csv"]


def render(kind: type, records: Sequence[Any], form: Format, cells: Sequence[Sequence[str]]) -> str:
    """As text in one of the formats.

    Args:
        kind: the dataclass of the records, whose fields are the columns of a CSV.
        records: instances of it.
        form: "json" and "csv" have every field as it is; None is null, or empty.
        cells: the table's, headings first.
    """
    if form == "json":
        return json.dumps([dataclasses.asdict(record) for record in records], indent=2, allow_nan=False)
    if form == "csv":
        text = io.StringIO()
        rows = [["" if value is None else value for value in dataclasses.astuple(record)] for record in records]
        csv.writer(text, lineterminator="\n").writerows([[field.name for field in dataclasses.fields(kind)], *rows])
        return text.getvalue().rstrip("\n")
    return columns(cells)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Lines with the cells of each column below one another."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
