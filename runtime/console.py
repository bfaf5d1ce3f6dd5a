"""What every command line of the project does around its work: one-line errors, exit statuses, plain logging."""

import errno
import logging
import os
import select
import sys
from collections.abc import Callable
from typing import TextIO

from .errors import InputError, LgeuError

# What a shell reports of a program that Ctrl-C ended.
INTERRUPTED = 130
# Likewise of one that ended because nobody reads what it prints, as after `| head -1`.
UNREAD = 141


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
        0, the `exit_status` of the `LgeuError` raised, 130 after Ctrl-C, or 141 where nobody reads standard output; 2
        where that is a file and the disk is full.
    """
    status = 0
    try:
        status = _status(program, command)
        # At its own end Python would complain about what is left.
        print(end="", flush=True)
    except BrokenPipeError:
        if not _is_unread(sys.stdout):
            raise
        discard(sys.stdout)
        return UNREAD
    except OSError as error:
        # With a name it is another file's.
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        discard(sys.stdout)
        unwritten = InputError(f"cannot write to standard output: {error.strerror}; free some space")
        return status or _report(program, unwritten)
    return status


def discard(stream: TextIO) -> None:
    """Let what is written to `stream`, and what it still holds, go nowhere: nobody reads it any more."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _is_unread(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream, 0)
    # Asked for nothing, it tells of errors only: the other end is closed.
    return bool(poll.poll(0))


def _status(program: str, command: Callable[[], None]) -> int:
    try:
        command()
    except SystemExit as error:
        # argparse ends the process after its help.
        if error.code:
            raise
    except LgeuError as error:
        return _report(program, error)
    except KeyboardInterrupt:
        if speaks_for_all():
            print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _report(program: str, error: LgeuError) -> int:
    if os.environ.get("LGEU_TRACEBACK") == "1":
        raise error
    if speaks_for_all():
        print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
    return error.exit_status
