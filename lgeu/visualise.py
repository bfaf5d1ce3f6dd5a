"""`lgeu visualise`: what a model finds, and what its gates do, as pictures of people."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.files import check_folder, write_json, write_text
from runtime.unfinished import UnfinishedFolder

from .models import open_model
from .options import BackendOption, DataOption, DeviceOption, PluginOption, SplitOption
from .outputs import check_outside

if TYPE_CHECKING:
    from eval.datasets import Image, ReidDataset
    from eval.evaluation import Evaluation
    from eval.rank_lists import Choice, RankList

PAGE = "index.html"
FIGURES = "visualised.json"
GATES = "gate-responses"

_ABOUT = (
    "These pictures show people. Delete them when they have served, as the terms of the data and the law where you are "
    "demand.",
    "Left the query; then the nearest gallery images by cosine, green and “right” where they show its person, red and "
    "“wrong” where they do not. Junk is left out, and so are images of the same person from the same camera.",
)

logger = logging.getLogger(__name__)


def visualise(
    model: Annotated[Path, typer.Argument(help="A checkpoint, ONNX file or engine; gates need a checkpoint.")],
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures, which show people, and index.html.")],
    split_by: SplitOption = None,
    query: Annotated[
        list[str] | None,
        typer.Option("--query", metavar="NAME", help="Show this query; may be repeated. Without it: see --queries."),
    ] = None,
    queries: Annotated[
        int, typer.Option("--queries", min=1, help="How many of the worst, of the best and of the other queries.")
    ] = 4,
    top: Annotated[int, typer.Option("--top", min=1, max=50, help="How many gallery images to show of each.")] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the other queries, which are drawn by chance.")] = 0,
    backend: BackendOption = "auto",
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Rank lists of some queries and the gates' responses to them, as pictures of people."""
    from eval.datasets import open_dataset
    from eval.evaluation import embed_run, evaluate_run
    from eval.picture_page import check_page
    from eval.rank_lists import rank_lists

    check_page()
    check_folder(out)
    check_outside(out, data)
    dataset = open_dataset(data, split_by)
    dataset.require_test_half()
    if query:
        _check_names(query, dataset)
    with open_model(model, backend=backend, device=device, plugin=plugin) as embedder:
        evaluation = evaluate_run(embed_run(embedder, dataset, str(model)))
        gated = _gates_can_be_seen(model, embedder.manifest.gate)
    print(evaluation.table())
    lists = rank_lists(evaluation, _choices(evaluation, query, queries, seed), top)
    _write(out, dataset, lists, evaluation, model if gated else None)
    logger.info("wrote %s, which shows people", out / PAGE)


def _check_names(names: Sequence[str], dataset: "ReidDataset") -> None:
    """A name that is mistyped is refused before the work."""
    from eval.evaluation import labels_of
    from eval.rank_lists import find_queries

    find_queries(names, labels_of(dataset).query)


def _gates_can_be_seen(model: Path, gate: str) -> bool:
    if gate == "none":
        logger.warning("warning: %s has no gates (plain pooling): rank lists only", model)
        return False
    if model.suffix != ".pt":
        logger.warning("warning: %s does not give its gates' values, a checkpoint does: rank lists only", model)
        return False
    return True


def _choices(evaluation: "Evaluation", names: Sequence[str] | None, count: int, seed: int) -> "tuple[Choice, ...]":
    from eval.rank_lists import choose_queries, find_queries

    if names:
        return find_queries(names, evaluation.run.query)
    return choose_queries(evaluation.metrics.per_query, count, seed)


def _write(
    out: Path,
    dataset: "ReidDataset",
    lists: "Sequence[RankList]",
    evaluation: "Evaluation",
    checkpoint: Path | None,
) -> None:
    from eval.picture_page import render_page

    from . import rank_sheets

    with UnfinishedFolder(out) as folder:
        sections = [*rank_sheets.write_rank_sheets(lists, dataset, folder.path)]
        names, absent, figures = [rank_sheets.FOLDER], [GATES], None
        if checkpoint is not None:
            from .gate_sheets import write_gate_sheets

            section, figures = write_gate_sheets(checkpoint, dataset, _images(lists, dataset), folder.path / GATES)
            sections.append(section)
            names, absent = [*names, GATES], []
        write_text(folder.path / PAGE, render_page(_title(evaluation), _ABOUT, sections))
        write_json(folder.path / FIGURES, _figures(evaluation, lists, figures))
        folder.put_in_place([*names, FIGURES, PAGE], absent)


def _title(evaluation: "Evaluation") -> str:
    source = evaluation.run.source
    return f"{source['data']}: {source['model']}"


def _images(lists: "Sequence[RankList]", dataset: "ReidDataset") -> "list[Image]":
    by_name = {image.name: image for image in dataset.query}
    return [by_name[ranked.name] for ranked in lists]


def _figures(evaluation: "Evaluation", lists: "Sequence[RankList]", gates: dict[str, Any] | None) -> dict[str, Any]:
    return {"source": dict(evaluation.run.source), "queries": [ranked.to_json() for ranked in lists], "gates": gates}
