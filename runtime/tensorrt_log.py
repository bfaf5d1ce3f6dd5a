"""What TensorRT says, in the project's own log and error messages."""

import functools
import logging
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

# A builder without a GPU reports the missing driver at every turn; it is not why anything failed.
_NO_DRIVER = "cudaError 35"


def collecting_logger(trt: ModuleType) -> Any:
    """The process's one `ILogger` for `trt`: it appends errors to its `errors`, and passes warnings on at debug level.

    One, because as long as a builder or a runtime lives TensorRT warns of every other logger, and tells it nothing that
    is not the doing of a single object, such as why a plugin could not be loaded. `errors` are empty on return.
    """
    collecting = _logger_of(trt)
    collecting.errors.clear()
    return collecting


@functools.cache
def _logger_of(trt: ModuleType) -> Any:
    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                if _NO_DRIVER not in message and message not in self.errors:
                    self.errors.append(message)
            elif severity == trt.ILogger.Severity.WARNING:
                logger.debug("TensorRT: %s", message)

    return Logger()


def complaint(errors: list[str]) -> str:
    """The first of TensorRT's errors, which is mostly the cause, on one line."""
    return " ".join(errors[0].split())[:600] if errors else "TensorRT gave no reason"
