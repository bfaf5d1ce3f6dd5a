"""What every command line of the project does around its work: one-line errors, exit statuses, plain logging."""

import logging
import os
import sys
from collections.abc import Callable

from .errors import LgeuError

# What a shell reports of a program that Ctrl-C ended.
INTERRUPTED = 130


def configure_logging(verbose: bool = False) -> None:
    """Send the project's messages to standard error, one plain line each."""
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(message)s", stream=sys.stderr)


def run_command(program: str, command: Callable[[], None]) -> int:
    """Run `command` and turn how it ended into an exit status.

    Args:
        program: name put in front of an error message.
        command: the work; raises `LgeuError` for what the user can mend. With `LGEU_TRACEBACK=1` in the environment
            that goes through instead.

    Returns:
        0, the `exit_status` of the `LgeuError` raised, or 130 after Ctrl-C.
    """
    try:
        command()
    except LgeuError as error:
        if os.environ.get("LGEU_TRACEBACK") == "1":
            raise
        print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0
