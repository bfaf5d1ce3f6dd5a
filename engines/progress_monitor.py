"""How far TensorRT's builder is, in the project's own progress bar."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from runtime.progress import progress


def progress_monitor(trt: ModuleType, description: str, interrupted: Callable[[], bool]) -> Any:
    """An `IProgressMonitor` that shows one bar for all phases.

    Args:
        trt: the TensorRT module.
        description: what the bar is called.
        interrupted: asked at each step; true stops the build. It must not raise, as no exception may travel through
            the library.

    Returns:
        The monitor; `close()` ends the bar.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._bar = progress(iter(()), description, total=0, unit="steps")

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._bar.total = (self._bar.total or 0) + num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._bar.update()
            return not interrupted()

        def phase_finish(self, phase_name: str) -> None:
            """Part of the interface; the steps have said it."""

        def close(self) -> None:
            self._bar.close()

    return Monitor()
