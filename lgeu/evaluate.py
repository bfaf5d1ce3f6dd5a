"""`lgeu evaluate`: figures of embeddings, or of a model on a data set, alone or beside those of another run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runtime.embedder import Embedder
from runtime.embeddings import MANIFEST_NAME, check_manifest_is_of
from runtime.errors import InputError
from runtime.files import check_folder, write_json

from .gpu import features_to_gpu, open_gpu
from .models import open_model
from .options import BackendOption, DeviceOption, PluginOption, SplitOption
from .outputs import check_outputs
from .sizes import parse_size

if TYPE_CHECKING:
    from eval.datasets import ReidDataset
    from eval.evaluation import Run
    from eval.expansion import Expansion
    from eval.reranking import Reranking

RerankFlavour = Literal["d2", "d1"]
SearchDevice = Literal["cpu", "cuda"]


def evaluate(
    query: Annotated[Path | None, typer.Option("--query", help="Embeddings of the queries (.npz).")] = None,
    gallery: Annotated[Path | None, typer.Option("--gallery", help="Embeddings of the gallery (.npz).")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Or: a checkpoint, ONNX file or engine,")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="and the data set to run it on.")] = None,
    split_by: SplitOption = None,
    compare_query: Annotated[
        Path | None,
        typer.Option(
            "--compare-query",
            help="Another model's embeddings of the same queries: each difference to them (this run minus that one) "
            "gets a 95 % interval, resampled by person.",
        ),
    ] = None,
    compare_gallery: Annotated[
        Path | None, typer.Option("--compare-gallery", help="That model's embeddings of the same gallery.")
    ] = None,
    query_expansion: Annotated[
        int | None,
        typer.Option(
            "--query-expansion",
            metavar="N",
            help="Alpha query expansion: add to each query its N nearest gallery images, of its own camera, too.",
        ),
    ] = None,
    augmentation: Annotated[
        int | None,
        typer.Option(
            "--database-augmentation",
            metavar="N",
            help="Before that, add to each gallery image its N nearest others.",
        ),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="Both: what is added weighs its cosine to this power (3.0).")
    ] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="k-reciprocal re-ranking as well.")] = False,
    k1: Annotated[int | None, typer.Option("--k1", help="Re-ranking: neighbours for the reciprocal sets (20).")] = None,
    k2: Annotated[int | None, typer.Option("--k2", help="Re-ranking: neighbours for the local expansion (6).")] = None,
    weight: Annotated[
        float | None, typer.Option("--lambda", help="Re-ranking: share of the original distance (0.3).")
    ] = None,
    flavour: Annotated[
        RerankFlavour | None,
        typer.Option("--flavour", help="Re-ranking: squared (d2) or unsquared (d1) distances (d2)."),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            "--memory-limit",
            metavar="SIZE",
            help="Re-ranking: most memory to use beside the features, e.g. 4GB or 500MB.",
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")] = None,
    per_query: Annotated[
        Path | None, typer.Option("--per-query", metavar="FILE.csv", help="Also write the results of every query.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings", metavar="DIR", help="Keep query.npz and gallery.npz here; `lgeu parity` takes DIR."
        ),
    ] = None,
    search_on: Annotated[
        SearchDevice,
        typer.Option(
            "--search-on", help="Where features are compared and re-ranked; cuda needs torch, and expands on the CPU."
        ),
    ] = "cpu",
    backend: BackendOption = "auto",
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """CMC, mAP and mINP of embeddings, or of a model on a data set."""
    limit = parse_size(memory_limit) if memory_limit is not None else None
    reranking = _reranking(rerank, limit, {"k1": k1, "k2": k2, "lambda_": weight, "flavour": flavour})
    expansion = _expansion(query_expansion, augmentation, alpha)
    _check_outputs((json, per_query), embeddings, (query, gallery, compare_query, compare_gallery, model))
    if search_on == "cuda":
        open_gpu()
    if (
        query
        and gallery
        and not (model or data or split_by or embeddings or plugin or backend != "auto" or device != "auto")
    ):
        baseline = _baseline(compare_query, compare_gallery)
        run = _read(query, gallery)
    elif model and data and not (query or gallery):
        baseline = _baseline(compare_query, compare_gallery)
        opened = partial(open_model, model, backend=backend, device=device, plugin=plugin)
        run = _embed(opened, str(model), _open_dataset(data, split_by), baseline, embeddings)
    else:
        raise InputError(
            "expected either --query and --gallery, or --model and --data (with --backend, --device and --plugin for "
            "the model); see `lgeu evaluate --help`"
        )
    if search_on == "cuda":
        run = replace(run, to_device=features_to_gpu)
        baseline = baseline and replace(baseline, to_device=features_to_gpu)
    _evaluate(run, baseline, reranking, limit, expansion, json, per_query)


def _reranking(asked_for: bool, memory_limit: int | None, settings: dict[str, Any]) -> "Reranking | None":
    given = {name: value for name, value in settings.items() if value is not None}
    if not asked_for:
        if given or memory_limit is not None:
            raise InputError(
                "--k1, --k2, --lambda, --flavour and --memory-limit are settings of re-ranking; add --rerank"
            )
        return None
    from eval.encoding import require_sparse
    from eval.reranking import Reranking

    require_sparse()
    return Reranking(**given)


def _expansion(query: int | None, gallery: int | None, alpha: float | None) -> "Expansion | None":
    if query is None and gallery is None:
        if alpha is not None:
            raise InputError("--alpha is a setting of --query-expansion and --database-augmentation; add one of them")
        return None
    from eval.expansion import Expansion

    settings = {"query_neighbours": query, "gallery_neighbours": gallery, "alpha": alpha}
    return Expansion(**{name: value for name, value in settings.items() if value is not None})  # type: ignore[arg-type]


def _check_outputs(files: Sequence[Path | None], folder: Path | None, inputs: Sequence[Path | None]) -> None:
    """What is written last must not be what fails, and must not replace what is read."""
    outputs = list(files)
    if folder is not None:
        from eval.exported import GALLERY_NAME, QUERY_NAME

        check_folder(folder)
        check_manifest_is_of(folder, {QUERY_NAME, GALLERY_NAME})
        outputs += [folder / name for name in (QUERY_NAME, GALLERY_NAME, MANIFEST_NAME)]
    check_outputs(outputs, inputs)


def _baseline(query: Path | None, gallery: Path | None) -> "Run | None":
    if query is None and gallery is None:
        return None
    if query is None or gallery is None:
        raise InputError("--compare-query and --compare-gallery go together; give both")
    return _read(query, gallery)


def _read(query: Path, gallery: Path) -> "Run":
    from eval.evaluation import read_run

    return read_run(query, gallery)


def _open_dataset(path: Path, split_by: str | None) -> "ReidDataset":
    from eval.datasets import open_dataset

    dataset = open_dataset(path, split_by)
    dataset.require_test_half()
    return dataset


def _embed(
    open_here: Callable[[], Embedder], name: str, dataset: "ReidDataset", baseline: "Run | None", save_to: Path | None
) -> "Run":
    from eval.comparison import check_comparable
    from eval.evaluation import embed_run, labels_of

    if baseline is not None:
        check_comparable(labels_of(dataset), baseline)
    with open_here() as embedder:
        return embed_run(embedder, dataset, name, save_to)


def _evaluate(
    run: "Run",
    baseline: "Run | None",
    reranking: "Reranking | None",
    memory_limit: int | None,
    expansion: "Expansion | None",
    json: Path | None,
    per_query: Path | None,
) -> None:
    from eval.comparison import ComparedEvaluation, compare_runs
    from eval.evaluation import Evaluation, evaluate_run
    from eval.per_query import write_per_query

    result: Evaluation | ComparedEvaluation
    if baseline is None:
        result = evaluation = evaluate_run(run, reranking, memory_limit, expansion)
    else:
        result = compare_runs(run, baseline, reranking, memory_limit, expansion)
        evaluation = result.evaluation
    print(result.table())
    if json is not None:
        write_json(json, result.to_json())
    if per_query is not None:
        write_per_query(per_query, evaluation)
