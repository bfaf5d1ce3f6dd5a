"""`python -m lgeu`, and what the installed `lgeu` runs."""

import sys

from runtime.console import run_command
from runtime.dependencies import require, require_base


def main() -> int:
    """Run the command line; an edge device may not have what that needs, and is told."""

    def check() -> None:
        require_base()
        require("typer", purpose="the `lgeu` command line", install="pip install 'lgeu-reid[cli]'")

    if status := run_command("lgeu", check):
        return status
    from .cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
