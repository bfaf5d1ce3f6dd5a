"""Two runs on the same images side by side: both figures, their differences, and which of those are resolved."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.embeddings import JUNK, Embeddings
from runtime.errors import InputError

from .bootstrap import CONFIDENCE, PairedDifference, paired_difference
from .evaluation import TITLES, Evaluation, Run, evaluate_run, figures, rerank_evaluation
from .expansion import Expansion
from .metrics import Metrics
from .reranking import Reranking


@dataclass(frozen=True)
class ComparedEvaluation:
    """The figures of a run beside those of another.

    Attributes:
        evaluation: of the run in question.
        baseline: of the one that it is compared with.
        difference: by cosine distance; evaluation minus baseline.
        reranked_difference: after re-ranking; None where there was none.
    """

    evaluation: Evaluation
    baseline: Evaluation
    difference: PairedDifference
    reranked_difference: PairedDifference | None = None

    def to_json(self) -> dict[str, Any]:
        """The evaluation's, with the baseline's and the differences (after re-ranking, where asked for) beside them."""
        comparison: dict[str, Any] = {
            "baseline": self.baseline.to_json(),
            "difference": (self.reranked_difference or self.difference).to_json(),
        }
        if self.reranked_difference is not None:
            comparison["difference_before_reranking"] = self.difference.to_json()
        comparison["bootstrap"] = self.difference.settings()
        return {**self.evaluation.to_json(), "comparison": comparison}

    def table(self) -> str:
        """The evaluation's, and below it a line for every figure, in percent and points, for a terminal."""
        difference = self.difference
        lines = [
            self.evaluation.table(),
            "",
            "compared with " + ", ".join(f"{name}: {value}" for name, value in self.baseline.run.source.items()),
            f"differences in points with {100 * CONFIDENCE:.0f} % intervals from {difference.resamples:,} resamples of "
            f"{difference.persons:,} persons; resolved: zero is outside",
            *_lines(self.evaluation.title, self.evaluation.metrics, self.baseline.metrics, difference),
        ]
        if self.evaluation.reranked and self.baseline.reranked and self.reranked_difference:
            lines += _lines("re-ranked", self.evaluation.reranked, self.baseline.reranked, self.reranked_difference)
        return "\n".join(lines)


def compare_runs(
    run: Run,
    baseline: Run,
    reranking: Reranking | None = None,
    memory_limit: int | None = None,
    expansion: Expansion | None = None,
) -> ComparedEvaluation:
    """Evaluate two runs on the same images and compare them, before and after re-ranking.

    Args:
        run: the one in question.
        baseline: the one to compare it with.
        reranking: how to re-rank both; None for not at all.
        memory_limit: see `eval.evaluation.evaluate_run`.
        expansion: how to expand the features of both; None for not at all.

    Raises:
        InputError: as `check_comparable`, `eval.evaluation.evaluate_run` and `eval.bootstrap.paired_difference`.
    """
    check_comparable(run, baseline)
    with _named_baseline():
        theirs = evaluate_run(baseline, expansion=expansion)
    ours = evaluate_run(run, expansion=expansion)
    compared = ComparedEvaluation(ours, theirs, _difference(ours, theirs))
    return compared if reranking is None else _rerank(compared, reranking, memory_limit)


def _rerank(compared: ComparedEvaluation, reranking: Reranking, memory_limit: int | None) -> ComparedEvaluation:
    ours = rerank_evaluation(compared.evaluation, reranking, memory_limit)
    theirs = rerank_evaluation(compared.baseline, reranking, memory_limit)
    return replace(compared, evaluation=ours, baseline=theirs, reranked_difference=_difference(ours, theirs))


def _difference(ours: Evaluation, theirs: Evaluation) -> PairedDifference:
    return paired_difference(ours.final.per_query, theirs.final.per_query, ours.run.query.person_ids)


def check_comparable(run: Run, baseline: Run) -> None:
    """Refuse two runs whose differences would not be the models' alone; features are not looked at.

    The queries must be the same, one by one. The galleries must have as many images of each person under each camera;
    their order does not matter, nor does junk.

    Raises:
        InputError: says what differs first.
    """
    _check_same_queries(run.query, baseline.query)
    _check_same_gallery(run.gallery, baseline.gallery)


def _check_same_queries(query: Embeddings, baseline: Embeddings) -> None:
    if len(query) != len(baseline):
        raise InputError(
            f"the runs to compare have {len(query)} and {len(baseline)} queries; expected the same queries in the same "
            "order"
        )
    for what, ours, theirs in (
        ("person", query.person_ids, baseline.person_ids),
        ("camera", query.camera_ids, baseline.camera_ids),
        ("name", query.names, baseline.names),
    ):
        different = ours != theirs
        if what == "name":
            different &= (ours != "") & (theirs != "")
        if different.any():
            row = int(different.argmax())
            raise InputError(
                f"the runs to compare differ in the {what} of {different.sum()} of {len(query)} queries, the first is "
                f"row {row}: {ours[row]} and {theirs[row]}; expected the same queries in the same order"
            )


def _check_same_gallery(gallery: Embeddings, baseline: Embeddings) -> None:
    seen = [_persons_and_cameras(each) for each in (gallery, baseline)]
    pairs, index = np.unique(np.concatenate(seen), axis=0, return_inverse=True)
    halves = np.split(index.ravel(), [len(seen[0])])
    ours, theirs = (np.bincount(half, minlength=len(pairs)) for half in halves)
    different = np.flatnonzero(ours != theirs)
    if different.size:
        first = different[0]
        person, camera = pairs[first]
        raise InputError(
            f"the runs to compare have different galleries, {len(seen[0])} and {len(seen[1])} images without junk: of "
            f"person {person} under camera {camera} {ours[first]} and {theirs[first]}; expected the same images"
        )


def _persons_and_cameras(gallery: Embeddings) -> NDArray[np.int64]:
    """(N, 2), without junk."""
    keep = gallery.person_ids != JUNK
    return np.stack([gallery.person_ids[keep], gallery.camera_ids[keep]], axis=1)


@contextmanager
def _named_baseline() -> Iterator[None]:
    """Say of bad input that it is the other run's."""
    try:
        yield
    except InputError as error:
        raise InputError(f"the run to compare with: {error}") from error


def _lines(title: str, ours: Metrics, theirs: Metrics, difference: PairedDifference) -> Iterator[str]:
    yield f"{title:<11} this run  compared  difference              interval"
    before, after = figures(theirs), figures(ours)
    for name, interval in difference.intervals.items():
        yield (
            f"{TITLES[name]:<11}{100 * after[name]:9.2f}{100 * before[name]:10.2f}{100 * interval.difference:+12.3f}"
            f"{100 * interval.low:+11.3f} to {100 * interval.high:+7.3f}"
            f"  {'resolved' if interval.resolved else 'not resolved'}"
        )
