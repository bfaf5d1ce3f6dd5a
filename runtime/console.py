"""What every command line of the project does around its work: one-line errors, exit statuses, plain logging."""

import logging
import os
import sys
from collections.abc import Callable

from .errors import LgeuError

# What a shell reports of a program that Ctrl-C ended.
INTERRUPTED = 130


def speaks_for_all() -> bool:
    """Whether this process is the first, or the only one, of those that a launcher started together on this machine.

    torchrun and `accelerate launch` number them in the environment.
    """
    return os.environ.get("LOCAL_RANK", "0") == "0"


def configure_logging(verbose: bool = False) -> None:
    """Send the project's messages to standard error, one plain line each.

    Of processes that were launched together only the first says more than warnings.
    """
    level = logging.DEBUG if verbose else logging.INFO
    # FAISS says at each start which of its libraries it tries.
    logging.getLogger("faiss").setLevel(logging.NOTSET if verbose else logging.WARNING)
    logging.basicConfig(level=level if speaks_for_all() else logging.WARNING, format="%(message)s", stream=sys.stderr)


def run_command(program: str, command: Callable[[], None]) -> int:
    """Run `command` and turn how it ended into an exit status.

    Args:
        program: name put in front of an error message.
        command: the work; raises `LgeuError` for what the user can mend. With `LGEU_TRACEBACK=1` in the environment
            that goes through instead. Processes that were launched together raise it together, and the first prints it.

    Returns:
        0, the `exit_status` of the `LgeuError` raised, or 130 after Ctrl-C.
    """
    try:
        command()
    except LgeuError as error:
        if os.environ.get("LGEU_TRACEBACK") == "1":
            raise
        if speaks_for_all():
            print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        if speaks_for_all():
            print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0
