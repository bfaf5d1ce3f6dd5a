"""What TensorRT says, in the project's own log and error messages."""

import logging
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

# A builder without a GPU reports the missing driver at every turn; it is not why anything failed.
_NO_DRIVER = "cudaError 35"


def collecting_logger(trt: ModuleType, errors: list[str]) -> Any:
    """An `ILogger` that appends errors to `errors` and passes warnings on at debug level."""

    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                if _NO_DRIVER not in message and message not in errors:
                    errors.append(message)
            elif severity == trt.ILogger.Severity.WARNING:
                logger.debug("TensorRT: %s", message)

    return Logger()


def complaint(errors: list[str]) -> str:
    """The first of TensorRT's errors, which is mostly the cause, on one line."""
    return " ".join(errors[0].split())[:600] if errors else "TensorRT gave no reason"
