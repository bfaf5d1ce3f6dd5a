"""What became of each stage of a long run: printed as it happens, summed up at the end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

T = TypeVar("T")

Outcome = Literal["run", "not run"]


@dataclass(frozen=True)
class StageRecord:
    """One stage.

    Attributes:
        name: what was done.
        outcome: whether it was.
        detail: its result in one line, or why it was not run.
        seconds: it took; 0 where it was not run.
    """

    name: str
    outcome: Outcome
    detail: str
    seconds: float = 0.0


@dataclass
class Journal:
    """Runs stages and keeps their records."""

    records: list[StageRecord] = field(default_factory=list)

    def run(self, name: str, work: Callable[[], T], describe: Callable[[T], str]) -> T:
        """Run a stage.

        Args:
            name: of the stage.
            work: does it.
            describe: its result in one line.

        Returns:
            What `work` returns; what it raises goes through.
        """
        print(f"== {name}", flush=True)
        started = time.perf_counter()
        result = work()
        self._add(StageRecord(name, "run", describe(result), time.perf_counter() - started))
        return result

    def skip(self, name: str, reason: str) -> None:
        """Put down that a stage was not run."""
        self._add(StageRecord(name, "not run", " ".join(reason.split())))

    def table(self) -> str:
        """All stages, for a terminal."""
        width = max(len(name) for name in ("together", *(record.name for record in self.records)))
        lines = [f"{'stage':<{width}}  {'':<7}  seconds  result"]
        for record in self.records:
            seconds = f"{record.seconds:7.1f}" if record.outcome == "run" else f"{'–':>7}"
            lines.append(f"{record.name:<{width}}  {record.outcome:<7}  {seconds}  {record.detail}")
        total = sum(record.seconds for record in self.records)
        return "\n".join([*lines, f"{'together':<{width}}  {'':<7}  {total:7.1f}"])

    def _add(self, record: StageRecord) -> None:
        self.records.append(record)
        took = f" in {record.seconds:.1f} s" if record.outcome == "run" else ""
        print(f"   {record.name}: {record.outcome}{took}: {record.detail}", flush=True)
