"""Whether what is deployed still finds the people that the reference finds."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from runtime.embedder import Embedder
from runtime.embeddings import Embeddings
from runtime.errors import DeviceError, EngineMismatchError, InputError, MissingDependencyError
from runtime.manifest import Precision

from .agreement import Agreement, agreement
from .datasets import ReidDataset
from .embedding import embed_timed, label
from .evaluation import counts, describe_reranking, evaluate_reranked, figures
from .exported import exported_precision, is_exported, read_exported
from .machine import describe_machine, installed_versions
from .metrics import Metrics, evaluate
from .reranking import Reranking
from .stages import TOLERANCES, Comparison, Difference, Figures, NotRun, ParityReport, Stage, Tolerance

__all__ = ["TOLERANCES", "Candidate", "ExportedCandidate", "ParityReport", "Tolerance", "candidate", "compare"]

logger = logging.getLogger(__name__)

# What this machine lacks. A damaged file is no such thing: it is an error, like a misspelt name.
_NOT_HERE = (DeviceError, EngineMismatchError, MissingDependencyError)


@dataclass(frozen=True)
class Candidate:
    """A model to compare; opened when its turn comes."""

    name: str
    open: Callable[[], Embedder]


@dataclass(frozen=True)
class ExportedCandidate:
    """Embeddings that another program computed; see `eval.exported.read_exported`."""

    name: str
    path: Path


@dataclass(frozen=True)
class _Measured:
    """A stage with what it was measured from; the metrics are None where an embedding is not finite."""

    stage: Stage
    embeddings: Embeddings
    metrics: Metrics | None
    reranked: Metrics | None


def candidate(path: Path, open_model: Callable[[Path], Embedder]) -> Candidate | ExportedCandidate:
    """Take a file for what its suffix says.

    Args:
        path: a model, or exported embeddings (`.json`, `.npz`, or a folder of `.json`).
        open_model: opens a model.

    Raises:
        InputError: there is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"candidate {path} does not exist; expected a model or exported embeddings")
    if is_exported(path):
        return ExportedCandidate(path.name, path)
    return Candidate(path.name, lambda: open_model(path))


def compare(
    reference: Candidate,
    candidates: Sequence[Candidate | ExportedCandidate],
    dataset: ReidDataset,
    reranking: Reranking | None = None,
    tolerances: Mapping[Precision, Tolerance] = TOLERANCES,
) -> ParityReport:
    """Run everything on the query and gallery images and compare it with the reference.

    A model that this machine cannot run (no such device, library, or engine for it) is listed with its reason and is
    no failure.

    Args:
        reference: what counts as right.
        candidates: what must agree with it.
        dataset: with a test half or a split.
        reranking: how to re-rank; None for the usual settings.
        tolerances: by the precision in a candidate's manifest.

    Raises:
        InputError: no test half, a damaged model, a reference with NaN or infinity, or exported embeddings that do not
            fit the data set.
        LgeuError: the reference cannot be opened or run, for whatever reason.
    """
    reranking = reranking or Reranking()
    dataset.require_test_half()
    right = _run(reference, dataset, reranking)
    if right.metrics is None:
        raise InputError(
            f"the reference {reference.name} gives embeddings with NaN or infinity, so that nothing can be compared "
            "with it; check how it was trained"
        )
    results = [_attempt(item, dataset, reranking) for item in candidates]
    ran = [result for result in results if isinstance(result, _Measured)]
    return ParityReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        data={"name": dataset.name, "synthetic": "synthetic" in dataset.name.lower(), **counts(right.metrics)},
        reranking=describe_reranking(reranking),
        machine=describe_machine(),
        versions=installed_versions(),
        reference=right.stage,
        stages=tuple(
            replace(item.stage, comparison=_compare(right, item, tolerances[item.stage.precision])) for item in ran
        ),
        not_run=tuple(result for result in results if isinstance(result, NotRun)),
    )


def _attempt(item: Candidate | ExportedCandidate, dataset: ReidDataset, reranking: Reranking) -> _Measured | NotRun:
    if isinstance(item, ExportedCandidate):
        return _read(item, dataset, reranking)
    try:
        return _run(item, dataset, reranking)
    except _NOT_HERE as error:
        logger.warning("%s was not run: %s", item.name, error)
        return NotRun(item.name, " ".join(str(error).split()))


def _run(item: Candidate, dataset: ReidDataset, reranking: Reranking) -> _Measured:
    """Embed the query and gallery images with a model."""
    with item.open() as embedder:
        timed = embed_timed(embedder, dataset, (*dataset.query, *dataset.gallery), item.name)
        stage = Stage(
            item.name,
            embedder.backend.name,
            embedder.manifest.precision,
            embedder.manifest.trained_on,
            embedder.batch_size,
            timed.milliseconds_per_image,
        )
    return _measure(stage, timed.embeddings, len(dataset.query), reranking)


def _read(item: ExportedCandidate, dataset: ReidDataset, reranking: Reranking) -> _Measured:
    """Read the embeddings of the query and gallery images."""
    images = (*dataset.query, *dataset.gallery)
    embeddings = label(read_exported(item.path, images), images)
    stage = Stage(item.name, "another program (exported embeddings)", exported_precision(item.path))
    return _measure(stage, embeddings, len(dataset.query), reranking)


def _measure(stage: Stage, embeddings: Embeddings, queries: int, reranking: Reranking) -> _Measured:
    if not np.isfinite(embeddings.features).all():
        return _Measured(stage, embeddings, None, None)
    query, gallery = _rows(embeddings, slice(queries)), _rows(embeddings, slice(queries, None))
    metrics = evaluate(query, gallery)
    reranked = evaluate_reranked(query, gallery, reranking)
    return _Measured(
        replace(stage, figures=_figures(metrics), reranked=_figures(reranked)), embeddings, metrics, reranked
    )


def _rows(embeddings: Embeddings, rows: slice) -> Embeddings:
    return Embeddings(
        embeddings.features[rows], embeddings.person_ids[rows], embeddings.camera_ids[rows], embeddings.names[rows]
    )


def _figures(metrics: Metrics) -> Figures:
    return Figures(**figures(metrics), cmc=tuple(float(share) for share in metrics.cmc))


def _compare(reference: _Measured, measured: _Measured, tolerance: Tolerance) -> Comparison:
    left, right = reference.embeddings.features, measured.embeddings.features
    if left.shape != right.shape:
        failure = f"embeddings have {right.shape[1]} elements, the reference's {left.shape[1]}: another model"
        return Comparison(None, None, None, tolerance, (failure,))
    close = agreement(left, right)
    difference = _difference(reference.metrics, measured.metrics)
    reranked = _difference(reference.reranked, measured.reranked)
    return Comparison(close, difference, reranked, tolerance, tuple(_failures(close, difference, tolerance)))


def _difference(reference: Metrics | None, measured: Metrics | None) -> Difference | None:
    if reference is None or measured is None:
        return None
    same = np.mean(reference.per_query.nearest == measured.per_query.nearest)
    before, after = figures(reference), figures(measured)
    return Difference(float(same), **{name: after[name] - before[name] for name in before})


def _failures(close: Agreement, difference: Difference | None, tolerance: Tolerance) -> Iterator[str]:
    if close.non_finite:
        yield f"{close.non_finite} embeddings hold NaN or infinity"
    if close.min_cosine is not None and close.min_cosine < tolerance.min_cosine:
        yield f"smallest cosine {close.min_cosine:.7f} is below {tolerance.min_cosine}"
    if difference is not None and 100 * abs(difference.mAP) > tolerance.mAP_points:
        yield (f"mAP differs by {100 * difference.mAP:+.4f} points, more than {tolerance.mAP_points} allowed")
