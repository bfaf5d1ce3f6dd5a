"""What TensorRT says and how far it is, in the project's own log and progress bar."""

import logging
from types import ModuleType
from typing import Any

from runtime.progress import progress

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


def progress_monitor(trt: ModuleType, description: str) -> Any:
    """An `IProgressMonitor` that shows one bar for all phases, and stops the build at Ctrl-C.

    Returns:
        The monitor; `interrupted` is true once the build was stopped, `close()` ends the bar.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted = False
            self._bar = progress(iter(()), description, total=0, unit="steps")

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._bar.total = (self._bar.total or 0) + num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            # An exception must not travel through the library, so Ctrl-C becomes a polite request to stop.
            try:
                self._bar.update()
            except KeyboardInterrupt:
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            """Part of the interface; the steps have said it."""

        def close(self) -> None:
            self._bar.close()

    return Monitor()
