"""`lgeu dataset`: what a data set holds, and what it has too much or too little."""

from pathlib import Path
from typing import Annotated

import typer

from runtime.files import write_json

from .options import SplitOption
from .outputs import check_outputs


def dataset(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="The folder or zip.")],
    split_by: SplitOption = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the summary here.")] = None,
) -> None:
    """Images, identities, cameras and sizes of a data set, and how it differs from the published one.

    Ends with status 0 whatever it differs in.
    """
    from eval.dataset_summary import summarise_dataset
    from eval.datasets import open_dataset

    check_outputs((json,), (path,))
    summary = summarise_dataset(open_dataset(path, split_by))
    print(summary.table())
    if json is not None:
        write_json(json, summary.to_json())
