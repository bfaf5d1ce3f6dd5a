"""Whether what is deployed still finds the people that the reference finds."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np

from runtime.embedder import Embedder
from runtime.embeddings import Embeddings, read_manifest
from runtime.errors import DeviceError, EngineMismatchError, InputError, LgeuError, MissingDependencyError
from runtime.manifest import Precision

from .agreement import Agreement, agreement
from .candidates import Candidate, ExportedCandidate, candidate, distinct_names
from .datasets import ReidDataset
from .embedding import embed_timed, label
from .encoding import require_sparse
from .evaluation import counts, describe_reranking, figures
from .exported import read_exported
from .machine import describe_machine, installed_versions
from .metrics import Metrics, evaluate
from .reranking import Reranking, evaluate_reranked
from .stages import TOLERANCES, Comparison, Difference, Figures, NotRun, ParityReport, Stage, Tolerance
from .ties import Searched, difference_without_ties

__all__ = [
    "TOLERANCES",
    "Candidate",
    "ExportedCandidate",
    "ParityReport",
    "Tolerance",
    "candidate",
    "compare",
    "distinct_names",
]

logger = logging.getLogger(__name__)

# What ties may do to mAP, in points; one swap can halve the average precision of a query.
_MOST_TIES = 1.0
_ONE_SWAP = 50.0
# At opening, these say what this machine lacks. A damaged file is no such thing: it is an error, like a misspelt name.
_NOT_HERE = (DeviceError, EngineMismatchError, MissingDependencyError)


@dataclass(frozen=True)
class _Measured:
    """A stage with what it was measured from; the metrics are None where an embedding is not finite."""

    stage: Stage
    embeddings: Embeddings
    metrics: Metrics | None
    reranked: Metrics | None


def compare(
    reference: Candidate,
    candidates: Sequence[Candidate | ExportedCandidate],
    dataset: ReidDataset,
    reranking: Reranking | None = None,
    tolerances: Mapping[Precision, Tolerance] = TOLERANCES,
) -> ParityReport:
    """Run everything on the query and gallery images and compare it with the reference.

    A model that cannot be opened for what this machine lacks (device, library, or an engine for it) is listed with its
    reason and is no failure; one that opens and then fails is a failure.

    Args:
        reference: what counts as right.
        candidates: what must agree with it.
        dataset: with a test half or a split.
        reranking: how to re-rank; None for the usual settings.
        tolerances: by the precision in a candidate's manifest.

    Raises:
        InputError: no test half, a damaged model, a reference with NaN or infinity, or exported embeddings that do not
            fit the data set.
        MissingDependencyError: SciPy is not installed.
        LgeuError: the reference cannot be opened or run, for whatever reason.
    """
    reranking = reranking or Reranking()
    dataset.require_test_half()
    require_sparse()
    with reference.open() as embedder:
        right = _run(reference.name, embedder, dataset, reranking)
    if right.metrics is None:
        raise InputError(
            f"the reference {reference.name} gives embeddings with NaN or infinity, so that nothing can be compared "
            "with it; check how it was trained"
        )
    results = [_attempt(item, right, dataset, reranking, tolerances) for item in candidates]
    return ParityReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        data={"name": dataset.name, "synthetic": dataset.synthetic, **counts(right.metrics)},
        reranking=describe_reranking(reranking),
        machine=describe_machine(),
        versions=installed_versions(),
        reference=right.stage,
        stages=tuple(result for result in results if isinstance(result, Stage)),
        not_run=tuple(result for result in results if isinstance(result, NotRun)),
    )


def _attempt(
    item: Candidate | ExportedCandidate,
    right: _Measured,
    dataset: ReidDataset,
    reranking: Reranking,
    tolerances: Mapping[Precision, Tolerance],
) -> Stage | NotRun:
    if isinstance(item, ExportedCandidate):
        return _judge(right, _read(item, dataset, reranking), tolerances)
    try:
        embedder = item.open()
    except _NOT_HERE as error:
        logger.warning("%s was not run: %s", item.name, error)
        return NotRun(item.name, _one_line(error))
    with embedder:
        try:
            return _judge(right, _run(item.name, embedder, dataset, reranking), tolerances)
        except LgeuError as error:
            logger.warning("%s failed: %s", item.name, error)
            stage = _stage(item.name, embedder)
            failure = f"did not run to its end: {_one_line(error)}"
            return replace(stage, comparison=Comparison(None, None, None, tolerances[stage.precision], (failure,)))


def _one_line(error: LgeuError) -> str:
    return " ".join(str(error).split())


def _stage(name: str, embedder: Embedder) -> Stage:
    manifest = embedder.manifest
    return Stage(name, embedder.backend.name, manifest.precision, manifest.trained_on, embedder.batch_size)


def _run(name: str, embedder: Embedder, dataset: ReidDataset, reranking: Reranking) -> _Measured:
    """Embed the query and gallery images with a model."""
    embedder.refuses_non_finite = False  # they are counted
    timed = embed_timed(embedder, dataset, (*dataset.query, *dataset.gallery), name)
    stage = replace(_stage(name, embedder), milliseconds_per_image=timed.milliseconds_per_image)
    return _measure(stage, timed.embeddings, len(dataset.query), reranking)


def _read(item: ExportedCandidate, dataset: ReidDataset, reranking: Reranking) -> _Measured:
    """Read the embeddings of the query and gallery images."""
    images = (*dataset.query, *dataset.gallery)
    embeddings = label(read_exported(item.path, images), images)
    manifest = read_manifest(item.path)
    if manifest is None:
        logger.warning(
            "%s has no manifest (a folder can have manifest.json) and is judged as fp32, the strictest", item.name
        )
        stage = Stage(item.name, "another program (no manifest: judged as fp32)", "fp32")
    else:
        stage = Stage(item.name, "another program", manifest.precision, manifest.trained_on)
    return _measure(stage, embeddings, len(dataset.query), reranking)


def _measure(stage: Stage, embeddings: Embeddings, queries: int, reranking: Reranking) -> _Measured:
    if not np.isfinite(embeddings.features).all():
        return _Measured(stage, embeddings, None, None)
    query, gallery = _halves(embeddings, queries)
    metrics = evaluate(query, gallery)
    reranked = evaluate_reranked(query, gallery, reranking)
    return _Measured(
        replace(stage, figures=_figures(metrics), reranked=_figures(reranked)), embeddings, metrics, reranked
    )


def _halves(embeddings: Embeddings, queries: int) -> tuple[Embeddings, Embeddings]:
    """Of the query images, which come first, and of the gallery."""
    return _rows(embeddings, slice(queries)), _rows(embeddings, slice(queries, None))


def _rows(embeddings: Embeddings, rows: slice) -> Embeddings:
    return Embeddings(
        embeddings.features[rows], embeddings.person_ids[rows], embeddings.camera_ids[rows], embeddings.names[rows]
    )


def _figures(metrics: Metrics) -> Figures:
    return Figures(**figures(metrics), cmc=tuple(float(share) for share in metrics.cmc))


def _judge(reference: _Measured, measured: _Measured, tolerances: Mapping[Precision, Tolerance]) -> Stage:
    comparison = _compare(reference, measured, tolerances[measured.stage.precision])
    return replace(measured.stage, comparison=comparison)


def _compare(reference: _Measured, measured: _Measured, tolerance: Tolerance) -> Comparison:
    left, right = reference.embeddings.features, measured.embeddings.features
    if left.shape != right.shape:
        failure = f"embeddings have {right.shape[1]} elements, the reference's {left.shape[1]}: another model"
        return Comparison(None, None, None, tolerance, (failure,))
    close = agreement(left, right)
    difference = _difference(reference.metrics, measured.metrics)
    reranked = _difference(reference.reranked, measured.reranked)
    apart = tuple(_apart(close, tolerance))
    # Ties excuse nothing, and need not be looked for, where the embeddings themselves have failed.
    failures, remarks = _judge_mAP(reference, measured, replace(tolerance, tie=0.0) if apart else tolerance)
    return Comparison(close, difference, reranked, tolerance, (*apart, *failures), remarks)


def _difference(reference: Metrics | None, measured: Metrics | None) -> Difference | None:
    if reference is None or measured is None:
        return None
    same = np.mean(reference.per_query.nearest == measured.per_query.nearest)
    before, after = figures(reference), figures(measured)
    return Difference(float(same), **{name: after[name] - before[name] for name in before})


def _apart(close: Agreement, tolerance: Tolerance) -> Iterator[str]:
    if close.non_finite:
        yield f"{close.non_finite} embeddings hold NaN or infinity"
    if close.min_cosine is not None and close.min_cosine < tolerance.min_cosine:
        yield f"smallest cosine {close.min_cosine:.7f} is below {tolerance.min_cosine}"
    if close.max_length_error is not None and close.max_length_error > tolerance.length:
        yield (
            f"lengths differ from the reference's by up to {100 * close.max_length_error:,.2f} %, more than "
            f"{100 * tolerance.length:g} % allowed: embeddings must end in the L2 norm that the exported graph has; "
            "export the model again, or normalise what its program gives"
        )


def _judge_mAP(  # noqa: N802 (the field's own name)
    reference: _Measured, measured: _Measured, tolerance: Tolerance
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Failures and remarks."""
    if reference.metrics is None or measured.metrics is None:
        return (), ()
    points = 100 * (measured.metrics.mAP - reference.metrics.mAP)
    if abs(points) <= tolerance.mAP_points:
        return (), ()
    differs = f"mAP differs by {points:+.4f} points"
    if not tolerance.tie:
        return (f"{differs}, more than {tolerance.mAP_points} allowed",), ()
    without = 100 * difference_without_ties(
        _searched(reference.embeddings, reference.metrics),
        _searched(measured.embeddings, measured.metrics),
        tolerance.tie,
    )
    differs += f", by {without:+.4f} without swaps of near ties"
    if abs(without) > tolerance.mAP_points:
        return (f"{differs}; {tolerance.mAP_points} allowed",), ()
    most = max(_MOST_TIES, _ONE_SWAP / reference.metrics.valid_queries)
    if abs(points) > most:
        return (f"{differs}, but more than {most:g} cannot be theirs: the reference hardly tells images apart",), ()
    return (), (f"{differs} (images at nearly the same distance, which the last digits put in order)",)


def _searched(embeddings: Embeddings, metrics: Metrics) -> Searched:
    return Searched(*_halves(embeddings, metrics.queries), metrics.per_query)
