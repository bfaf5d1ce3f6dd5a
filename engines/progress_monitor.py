"""How far TensorRT's builder is, in the project's own progress bar."""

from types import ModuleType
from typing import Any

from runtime.progress import progress


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
