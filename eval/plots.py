"""The parity report's plots, as SVG."""

import io
from typing import TYPE_CHECKING, Any

from runtime.dependencies import require

from .agreement import GAP_EDGES
from .stages import ParityReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CMC_RANKS = 20
_REFERENCE_COLOUR = "#9aa5b1"
_COLOURS = ("#0b6e99", "#d1495b", "#2e8b57", "#8d5fd3", "#c77d0a", "#444444")
_STYLES = ("-", "--", ":", "-.")


def cmc_plot(report: ParityReport) -> str:
    """CMC curves of the reference and every stage, before and after re-ranking, as SVG text."""
    figure = _figure(2)
    before, after = figure.subplots(1, 2, sharey=True)
    for axes, title, curves in (
        (before, "cosine distance", _curves(report, reranked=False)),
        (after, "re-ranked", _curves(report, reranked=True)),
    ):
        for number, (name, shares) in enumerate(curves):
            style = _line_style(number)
            axes.plot(range(1, len(shares) + 1), [100 * share for share in shares], label=_label(name), **style)
        axes.set_xticks([1, *range(5, _CMC_RANKS + 1, 5)])
        _finish(axes, f"CMC, {title}", "rank")
    before.set_ylabel("queries with a match, %")
    return _svg(figure)


def gap_plot(report: ParityReport) -> str:
    """Histogram of 1 - cosine of every stage with the reference, as SVG text."""
    figure = _figure(1)
    axes = figure.subplots()
    for number, stage in enumerate(report.stages, start=1):
        if stage.comparison and stage.comparison.agreement:
            counts = stage.comparison.agreement.cosine_gaps
            axes.stairs(counts, GAP_EDGES, label=_label(stage.name), **_line_style(number))
    axes.set_xscale("log")
    axes.set_ylabel("images")
    _finish(axes, "Distance to the reference's embeddings", "1 - cosine (left is better)")
    return _svg(figure)


def _curves(report: ParityReport, *, reranked: bool) -> list[tuple[str, tuple[float, ...]]]:
    stages = (report.reference, *report.stages)
    results = [(stage.name, stage.reranked if reranked else stage.figures) for stage in stages]
    return [(name, figures.cmc[:_CMC_RANKS]) for name, figures in results if figures is not None]


def _label(name: str) -> str:
    """So that it is shown as it is: matplotlib leaves out what begins with "_", and "$" would begin a formula."""
    return (" " + name if name.startswith("_") else name).replace("$", r"\$")


def _line_style(number: int) -> dict[str, Any]:
    """The reference (0) is a broad band, so that lines that cover it stay visible on it."""
    if number == 0:
        return {"color": _REFERENCE_COLOUR, "linewidth": 6, "alpha": 0.6}
    return {
        "color": _COLOURS[(number - 1) % len(_COLOURS)],
        "linewidth": 1.8,
        "linestyle": _STYLES[(number - 1) % len(_STYLES)],
    }


def _figure(columns: int) -> "Figure":
    # Figures made without pyplot belong to nobody else and need no display.
    figures = require("matplotlib.figure", purpose="the report", install="pip install 'lgeu-reid[report]'")
    figure: Figure = figures.Figure(figsize=(5.2 * columns, 3.6), layout="constrained")
    return figure


def _finish(axes: "Axes", title: str, label: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)


def _svg(figure: "Figure") -> str:
    matplotlib = require("matplotlib", purpose="the report", install="pip install 'lgeu-reid[report]'")
    buffer = io.StringIO()
    # A fixed salt and no date: the same report gives the same file. `none` keeps text as text.
    with matplotlib.rc_context({"svg.hashsalt": "lgeu", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
