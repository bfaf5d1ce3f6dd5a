"""What a parity report holds. Figures are fractions in 0..1."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.manifest import Precision

from .agreement import Agreement

SCHEMA = 1


@dataclass(frozen=True)
class Tolerance:
    """How far a candidate may be from the reference.

    Attributes:
        mAP_points: largest difference of mAP before re-ranking, in hundredths, swaps of near ties undone.
        min_cosine: smallest cosine similarity of any embedding with the reference's.
        length: largest share by which the length of any embedding differs from the reference's.
        tie: by how much a match's cosine distance and another image's may change against each other for no reason but
            the order of additions; see `eval.ties`. 0 for formats whose rounding `mAP_points` allows for.
    """

    mAP_points: float  # noqa: N815 (the field's own name)
    min_cosine: float
    length: float = 0.001
    tie: float = 0.0


# For a trained model; an untrained network is noisier. The tie: between PyTorch and ONNX Runtime the distances of 518
# images of Market-1501 by the published model change by up to 4e-6 against each other.
TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(0.01, 0.99999, 0.001, tie=1e-5),
    "fp16": Tolerance(0.2, 0.999, 0.01),
}


@dataclass(frozen=True)
class Figures:
    """Results on the data set, as fractions; see `eval.metrics.Metrics`. `cmc` is for ranks 1 to 50."""

    rank1: float
    rank5: float
    rank10: float
    rank20: float
    mAP: float  # noqa: N815
    mINP: float  # noqa: N815
    cmc: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """Between a candidate's results and the reference's: candidate minus reference, as fractions.

    `rank1_agreement` is the share of queries for which both find the same gallery image first.
    """

    rank1_agreement: float
    rank1: float
    rank5: float
    rank10: float
    rank20: float
    mAP: float  # noqa: N815
    mINP: float  # noqa: N815


@dataclass(frozen=True)
class Comparison:
    """Of a candidate with the reference.

    Attributes:
        agreement: of the embeddings.
        difference: None where the candidate could not be evaluated.
        reranked_difference: likewise.
        tolerance: what it was judged by.
        failures: one line for each way in which it is outside of that.
        remarks: what needs saying though it is no failure.
    """

    agreement: Agreement | None
    difference: Difference | None
    reranked_difference: Difference | None
    tolerance: Tolerance
    failures: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A model that ran, or that was opened and then failed.

    Attributes:
        name: e.g. the file's.
        runs_on: what ran it.
        precision: from its manifest.
        trained_on: likewise; None for exported embeddings without a manifest.
        batch_size: images a batch; None for exported embeddings.
        milliseconds_per_image: median over batches, resizing included; None for exported embeddings or a failure.
        figures: by cosine distance; None where it failed or an embedding is not finite.
        reranked: after re-ranking; likewise.
        comparison: with the reference; None for the reference itself.
    """

    name: str
    runs_on: str
    precision: Precision
    trained_on: str | None = None
    batch_size: int | None = None
    milliseconds_per_image: float | None = None
    figures: Figures | None = None
    reranked: Figures | None = None
    comparison: Comparison | None = None


@dataclass(frozen=True)
class NotRun:
    """A candidate that could not be opened here for what this machine lacks, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ParityReport:
    """Everything that the report says, ready for JSON.

    Attributes:
        created: date and time, UTC.
        data: the data set's name, its counts, and whether it is synthetic.
        reranking: its settings.
        machine: where it ran.
        versions: of the packages.
        reference: what counts as right.
        stages: the candidates that were opened.
        not_run: those that could not be.
    """

    created: str
    data: Mapping[str, Any]
    reranking: Mapping[str, Any]
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    reference: Stage
    stages: tuple[Stage, ...]
    not_run: tuple[NotRun, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for each tolerance exceeded and each candidate that failed; empty where all that ran agrees."""
        return tuple(f"{name}: {failure}" for name, each in self._comparisons() for failure in each.failures)

    @property
    def remarks(self) -> tuple[str, ...]:
        """One line for each thing that needs saying though it is no failure."""
        return tuple(f"{name}: {remark}" for name, each in self._comparisons() for remark in each.remarks)

    def _comparisons(self) -> Iterator[tuple[str, Comparison]]:
        return ((stage.name, stage.comparison) for stage in self.stages if stage.comparison)

    def table(self) -> str:
        """The stages, the figures in percent, for a terminal."""
        names = [self.reference.name, *(stage.name for stage in self.stages), *(item.name for item in self.not_run)]
        width = max(map(len, names))
        lines = [f"{'':<{width}}   rank-1      mAP  min cosine  max |difference|  verdict", _row(self.reference, width)]
        lines += [_row(stage, width) for stage in self.stages]
        lines += [f"{item.name:<{width}}  not run: {item.reason}" for item in self.not_run]
        lines += self.remarks
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """As JSON's types; figures are fractions in 0..1."""
        return {"schema": SCHEMA, **dataclasses.asdict(self), "failures": list(self.failures)}


def _row(stage: Stage, width: int) -> str:
    figures, comparison = stage.figures, stage.comparison
    cells = "       –        –" if figures is None else f"{100 * figures.rank1:8.2f} {100 * figures.mAP:8.2f}"
    if comparison is None:
        return f"{stage.name:<{width}} {cells}  {'–':>10}  {'–':>16}  reference"
    close = comparison.agreement
    if close is None or close.min_cosine is None or close.max_abs_difference is None:
        agreement = f"{'–':>10}  {'–':>16}"
    else:
        agreement = f"{close.min_cosine:10.7f}  {close.max_abs_difference:16.1e}"
    return f"{stage.name:<{width}} {cells}  {agreement}  {'FAILED' if comparison.failures else 'passed'}"
