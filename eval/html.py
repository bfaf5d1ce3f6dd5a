"""The HTML documents of this room: their templates, and what fills them in."""

from typing import Any

from runtime.dependencies import require

_INSTALL = "pip install 'lgeu-reid[report]'"


def html_templates(purpose: str) -> Any:
    """The jinja2 environment of `eval/templates`; every text that is filled in is escaped.

    Args:
        purpose: what the document is, for the error.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    jinja2 = require("jinja2", purpose=purpose, install=_INSTALL)
    return jinja2.Environment(
        loader=jinja2.PackageLoader("eval", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
