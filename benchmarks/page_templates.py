"""The Markdown templates beside the benchmarks."""

from pathlib import Path
from typing import Any

import jinja2


def fill_in(template: str, /, **values: Any) -> str:
    """The Markdown of a template; a value that it names and does not get is an error."""
    environment = jinja2.Environment(  # noqa: S701 (Markdown of our own figures, not HTML)
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    text: str = environment.get_template(template).render(**values)
    return text
