"""The section of docs/results.md that says what benchmarks/table1.py found, written from its JSON.

    python benchmarks/table1_page.py benchmarks/results/table1-cpu.json

puts it in the place of the one with the same file's figures, or at the end of the page.
"""

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from commands import training_options
from page_templates import fill_in
from table1_figures import DISTANCES, FIGURES

from runtime.console import run_command
from runtime.errors import InputError
from runtime.files import require_file, write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"
WIDTH = 140
GATES = {"none": "none (average pooling)", "se": "se (SE unit)", "strip": "strip (LGEU)"}
TITLES = {"rank1": "rank-1", "mAP": "mAP", "cosine": "cosine", "reranked": "re-ranked"}
CLAIMS = {
    "strip-se": "LGEU before the SE unit",
    "se-none": "the SE unit before plain pooling",
    "strip-none": "LGEU before plain pooling",
}

Found = Mapping[str, Any]


def main() -> int:
    """Write the page; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, help="JSON of benchmarks/table1.py")
    parser.add_argument("--page", type=Path, default=PAGE, help="default: docs/results.md")
    arguments = parser.parse_args()
    return run_command("table1_page", lambda: write(arguments.figures, arguments.page))


def write(figures: Path, page: Path) -> None:
    """Bring a page up to date with figures.

    Raises:
        InputError: there is no such file, no training in it is finished, or as `updated`.
    """
    result = json.loads(require_file(figures, "figures").read_text())
    if not result["gates"]:
        raise InputError(f"{figures} has no finished training; run benchmarks/table1.py first")
    write_text(page, updated(require_file(page, "page").read_text(), figures.name, section(result, figures.name)))


def updated(page: str, name: str, text: str) -> str:
    """The page with this section in the place of its predecessor, or at its end.

    Raises:
        InputError: the predecessor has no end.
    """
    begin, end = f"<!-- from {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = page.partition(begin)
    if not found:
        return f"{page.rstrip()}\n\n{begin}{text}{end}"
    _, closed, after = rest.partition(end)
    if not closed:
        raise InputError(f"the page has {begin.strip()!r} without {end.strip()!r} after it; put that line back")
    return f"{before}{begin}{text}{end}{after}"


def section(result: Mapping[str, Any], name: str) -> str:
    """Markdown, from the heading on."""
    recipe = result["recipe"]
    errors = [figures["cosine"]["rank1"]["standard_error_persons"] for figures in result["gates"].values()]
    text = fill_in(
        "table1.md.j2",
        name=name,
        recipe=recipe,
        recipe_file=result["recipe_file"],
        data=result["data"],
        bootstrap=result["bootstrap"],
        outside=result.get("outside"),
        start=_start(result),
        papers_setting=(recipe["backbone"], recipe["height"], recipe["width"]) == ("resnet50", 256, 128),
        seeds=max(len(figures["seeds"]) for figures in result["gates"].values()),
        unfinished=[f"{each['run']} (after {each['epochs_done']} epochs)" for each in result["unfinished"]],
        standard_error=f"{100 * max(errors):.1f}",
        gate_table="\n".join(_gate_table(result)),
        difference_table="\n".join(_difference_table(result)),
        comparisons=len(list(_differences(result))),
        conclusions=[f"{_pair(pair)}: {_conclusion(found)}" for pair, found in result["differences"].items()],
        claim=_claim(result["differences"]),
        gate_values=_gate_values(result),
        options=_options(result),
    )
    return "\n\n".join(_filled(block) for block in text.rstrip().split("\n\n")) + "\n"


def _filled(block: str) -> str:
    """A paragraph with lines of the page's width; tables, lists and the like as they are."""
    if block.startswith(("#", "|", "-", "```")):
        return block
    return textwrap.fill(" ".join(block.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def _start(result: Mapping[str, Any]) -> str:
    if result["weights"]:
        return f"from the weights in `{result['weights']['file']}`"
    return "from timm's pretrained weights" if result["recipe"]["pretrained"] else "from random weights"


def _gate_table(result: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "| | " + " | ".join(f"{TITLES[f]}, {TITLES[d]}" for d in DISTANCES for f in FIGURES) + " | seeds | parameters |"
    )
    yield "|---|---|---|---|---|---|---|"
    parameters = {run["gate"]: f"{run['parameters']:,}" for run in result["runs"]}
    for gate, figures in result["gates"].items():
        cells = [_mean(figures[distance][figure]) for distance in DISTANCES for figure in FIGURES]
        yield f"| {GATES[gate]} | {' | '.join(cells)} | {len(figures['seeds'])} | {parameters[gate]} |"
    if "outside" in result:
        reranked = result["outside"]["evaluation"]
        halves = (reranked["before_reranking"], reranked)
        cells = [f"{100 * half[figure]:.1f}" for half in halves for figure in FIGURES]
        yield f"| {result['outside']['model']}, not ours | {' | '.join(cells)} | – | – |"


def _mean(figure: Mapping[str, Any]) -> str:
    spread = figure["standard_deviation"]
    return f"{100 * figure['mean']:.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else "")


def _differences(result: Mapping[str, Any]) -> Iterator[tuple[str, str, Found]]:
    """Pair, what was measured, and what was found."""
    for pair, found in result["differences"].items():
        for distance in DISTANCES:
            for figure in FIGURES:
                yield pair, f"{TITLES[figure]}, {TITLES[distance]}", found[distance][figure]


def _difference_table(result: Mapping[str, Any]) -> Iterator[str]:
    yield "| | | difference | 95 % over persons | standard error over seeds | 95 % over seeds | |"
    yield "|---|---|---|---|---|---|---|"
    for pair, measured, found in _differences(result):
        seeds, error = found["seeds"], found["seeds"]["standard_error"]
        yield (
            f"| {_pair(pair)} | {measured} | {_points(found['difference'])} | {_interval(found['persons'])} | "
            f"{'–' if error is None else f'{100 * error:.2f}'} | {_interval(seeds)} | {found['verdict']} |"
        )


def _pair(pair: str) -> str:
    return pair.replace("-", " − ")


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.2f}"


def _interval(interval: Mapping[str, Any]) -> str:
    return "–" if interval["low"] is None else f"{_points(interval['low'])} to {_points(interval['high'])}"


def _conclusion(found: Found) -> str:
    """In words what became of one pair's figures."""
    measured = [
        (f"{TITLES[figure]} ({TITLES[distance]})", found[distance][figure])
        for distance in DISTANCES
        for figure in FIGURES
    ]
    higher = [name for name, each in measured if each["verdict"] == "resolved" and each["difference"] > 0]
    lower = [name for name, each in measured if each["verdict"] == "resolved" and each["difference"] < 0]
    parts = [("higher", higher), ("**lower**", lower)]
    for verdict in ("not resolved beyond these seeds", "not resolved"):
        parts.append((verdict, [name for name, each in measured if each["verdict"] == verdict]))
    return "; ".join(f"{what} in {', '.join(names)}" for what, names in parts if names) + "."


def _claim(differences: Mapping[str, Found]) -> str:
    """What of the paper's order these trainings support, and what not."""
    outcomes: dict[str, list[str]] = {"support": [], "speak against": [], "do not settle": []}
    for pair, claim in CLAIMS.items():
        outcome, figures = _outcome(differences.get(pair))
        outcomes[outcome].append(claim + (f" ({'; '.join(figures)})" if figures else ""))
    said = [f"{outcome} {', '.join(claims)}" for outcome, claims in outcomes.items() if claims]
    return f"Of the paper's order these trainings {'; they '.join(said)}."


def _outcome(found: Found | None) -> tuple[str, list[str]]:
    """What a pair's figures say, and which of them do; where they are of one mind."""
    resolved = {
        f"{TITLES[figure]}, {TITLES[distance]}": found[distance][figure]["difference"] > 0
        for distance in DISTANCES
        for figure in FIGURES
        if found and found[distance][figure]["verdict"] == "resolved"
    }
    if len(set(resolved.values())) != 1:
        return "do not settle", []
    return ("support" if all(resolved.values()) else "speak against"), list(resolved)


def _gate_values(result: Mapping[str, Any]) -> dict[str, str]:
    """What the strips' gates do, of all seeds; empty where there are no two strips whose gates vary."""
    values = [run["gate_values"] for run in result["runs"] if run["gate"] == "strip"]
    pairs = [each["correlation"][a][b] for each in values for a in range(each["strips"]) for b in range(a)]
    if not pairs or None in pairs:
        return {}
    return {
        "images": f"{values[0]['images']}",
        "between_strips": _mean_of(values, "between_strips"),
        "between_images": _mean_of(values, "between_images"),
        "lowest": f"{min(pairs):+.2f}",
        "highest": f"{max(pairs):+.2f}",
    }


def _mean_of(values: list[dict[str, float]], name: str) -> str:
    return f"{sum(each[name] for each in values) / len(values):.2f}"


def _options(result: Mapping[str, Any]) -> str:
    options = training_options(result, "table1-cpu.yaml")
    return options + (f" --outside {result['outside']['model']}.onnx" if "outside" in result else "")


if __name__ == "__main__":
    sys.exit(main())
