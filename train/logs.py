"""How training went, epoch by epoch: `log.csv` for people and scripts, TensorBoard events for curves."""

import csv
import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from eval.evaluation import Evaluation
from runtime.errors import InputError
from runtime.files import atomic_path

CSV = "log.csv"


@dataclass(frozen=True)
class EpochRecord:
    """One epoch.

    Attributes:
        epoch: counted from 1.
        learning_rate: at its last step.
        loss: mean over its images.
        accuracy: share of its images classified rightly while training, in 0..1.
        seconds: time spent on its steps.
        images_per_second: images over seconds.
        validation_mAP: of the network after it, in 0..1; None where it was not validated.
        validation_rank1: likewise.
    """

    epoch: int
    learning_rate: float
    loss: float
    accuracy: float
    seconds: float
    images_per_second: float
    validation_mAP: float | None = None  # noqa: N815 - as in all figures
    validation_rank1: float | None = None

    def validated(self, evaluation: Evaluation | None) -> "EpochRecord":
        """The same with the figures of its validation, if there was one."""
        if evaluation is None:
            return self
        metrics = evaluation.metrics
        return dataclasses.replace(self, validation_mAP=metrics.mAP, validation_rank1=metrics.rank1)

    def __str__(self) -> str:
        text = (
            f"loss {self.loss:.4f}, accuracy {self.accuracy:.3f}, learning rate {self.learning_rate:.3g}, "
            f"{self.images_per_second:.0f} images/s"
        )
        if self.validation_mAP is None or self.validation_rank1 is None:
            return text
        return f"{text}, validation mAP {self.validation_mAP:.4f}, rank-1 {self.validation_rank1:.4f}"


_FIELDS = [field.name for field in dataclasses.fields(EpochRecord)]


def check_log(out: Path) -> None:
    """Find out before long work that a folder has a `log.csv` that is none of a run's; nothing is changed.

    Raises:
        InputError: its columns are others, so that it would be overwritten.
    """
    path = out / CSV
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        columns = next(csv.reader(file), [])
    if not set(columns) <= set(_FIELDS):
        raise InputError(
            f"{path} has the columns {', '.join(columns)[:100]}; a training run writes a file of this name: move this "
            "one, or name another folder"
        )


class TrainingLogs:
    """The two logs of a run; a context manager that closes them."""

    def __init__(self, out: Path, epochs_done: int) -> None:
        """Open the logs, keeping what they say of the epochs before a resumed run begins.

        Args:
            out: folder of the run.
            epochs_done: epochs that the checkpoint holds; what the logs say beyond is dropped.

        Raises:
            InputError: the folder cannot be written to.
        """
        self._csv = out / CSV
        kept = [row for row in self._rows() if int(row["epoch"]) <= epochs_done]
        with atomic_path(self._csv) as temporary, temporary.open("w", newline="") as file:
            table = csv.DictWriter(file, _FIELDS, restval="", extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            table.writerows(kept)
        with self._failures():
            self._events = SummaryWriter(str(out / "tensorboard"), purge_step=epochs_done + 1)

    def _rows(self) -> list[dict[str, str]]:
        """The rows of an earlier run's log that were written to their end; its columns may be fewer."""
        if not self._csv.exists():
            return []
        with self._csv.open(newline="", encoding="utf-8") as file:
            rows = [{name: value for name, value in row.items() if name and value} for row in csv.DictReader(file)]
        return [row for row in rows if row.get("epoch", "").isdigit()]

    def write(self, record: EpochRecord) -> None:
        """Add an epoch to both."""
        values = dataclasses.asdict(record)
        with self._failures():
            with self._csv.open("a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(values.values())
            for name in ("learning_rate", "loss", "accuracy", "images_per_second"):
                self._events.add_scalar(f"train/{name}", values[name], record.epoch)
            for name in ("mAP", "rank1"):
                if (value := values[f"validation_{name}"]) is not None:
                    self._events.add_scalar(f"validation/{name}", value, record.epoch)
            self._events.flush()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"cannot write the logs in {self._csv.parent}: {error}; is the disk full?") from error

    def __enter__(self) -> "TrainingLogs":
        self._report_before, threading.excepthook = threading.excepthook, self._report
        return self

    def _report(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread dies of a full disk, and whoever writes next is told; its traceback says no more."""
        if not (isinstance(failure.exc_value, OSError) and type(failure.thread).__module__.startswith("tensorboard.")):
            self._report_before(failure)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                with self._failures():
                    self._events.close()
            else:  # what went wrong first is what is reported
                with suppress(OSError):
                    self._events.close()
        finally:
            threading.excepthook = self._report_before
