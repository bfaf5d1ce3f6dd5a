"""The parity report on disk: `report.json` for programs, `report.html` for people."""

import base64
from datetime import datetime
from pathlib import Path

from runtime.dependencies import require
from runtime.files import atomic_path, check_folder, write_json, write_text
from runtime.manifest import UNTRAINED

from .html import html_templates
from .plots import cmc_plot, gap_plot
from .stages import ParityReport

_EXTRA = {"purpose": "the report", "install": "pip install 'lgeu-reid[report]'"}
_TEMPLATE = "report.html.j2"
_LEAST_POINTS = 0.0001


def check_report(out: Path) -> None:
    """Find out before the work that `write_report` would fail; nothing is written.

    Raises:
        InputError: `out` or the folder it will lie in is no folder or cannot be written to.
        MissingDependencyError: as `write_report`.
    """
    html_templates(_EXTRA["purpose"])
    require("matplotlib.figure", **_EXTRA)
    check_folder(out)


def write_report(report: ParityReport, out: Path) -> Path:
    """Write `report.json` and a self-contained `report.html`, which holds plots and no pictures of people.

    Args:
        report: what to write.
        out: the folder; made where it does not exist.

    Returns:
        The path of `report.html`.

    Raises:
        InputError: the folder cannot be written to; an earlier report in it is as it was.
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    out = Path(out)
    html = render_html(report)
    with atomic_path(out / "report.html") as page, atomic_path(out / "report.json") as content:
        write_json(content, report.to_json())
        write_text(page, html)
    return out / "report.html"


def render_html(report: ParityReport) -> str:
    """The report as one HTML document; every text from outside is escaped."""
    environment = html_templates(_EXTRA["purpose"])
    environment.filters.update(percent=_percent, points=_points, scientific=_scientific, moment=_moment)
    html: str = environment.get_template(_TEMPLATE).render(
        report=report,
        untrained=report.reference.trained_on == UNTRAINED,
        half_on_cpu=[stage.name for stage in report.stages if stage.precision == "fp16" and "CPU" in stage.runs_on],
        plots=[
            ("CMC curves of all stages before and after re-ranking", _data_uri(cmc_plot(report))),
            ("Histogram of the distance of each stage's embeddings to the reference's", _data_uri(gap_plot(report))),
        ],
    )
    return html


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.2f}"


def _points(fraction: float | None) -> str:
    if fraction is None:
        return "–"
    points = 100 * fraction
    if points == 0:
        return "0"
    return f"{points:+.4f}" if abs(points) >= _LEAST_POINTS else f"under {_LEAST_POINTS}"


def _moment(created: str) -> str:
    return f"{datetime.fromisoformat(created):%Y-%m-%d %H:%M} UTC"


def _scientific(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"
