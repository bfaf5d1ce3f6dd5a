"""How training went, epoch by epoch: `log.csv` for people and scripts, TensorBoard events for curves."""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from runtime.errors import InputError
from runtime.files import write_text

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
    """

    epoch: int
    learning_rate: float
    loss: float
    accuracy: float
    seconds: float
    images_per_second: float

    def __str__(self) -> str:
        return (
            f"loss {self.loss:.4f}, accuracy {self.accuracy:.3f}, learning rate {self.learning_rate:.3g}, "
            f"{self.images_per_second:.0f} images/s"
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
        fields = [field.name for field in dataclasses.fields(EpochRecord)]
        self._csv = out / CSV
        kept = [line for line in self._rows() if int(line.split(",")[0]) <= epochs_done]
        write_text(self._csv, "\n".join([",".join(fields), *kept]) + "\n")
        self._events = SummaryWriter(str(out / "tensorboard"), purge_step=epochs_done + 1)

    def _rows(self) -> list[str]:
        """The lines of an earlier run's log that were written to their end."""
        if not self._csv.exists():
            return []
        return [line for line in self._csv.read_text().splitlines()[1:] if line.split(",")[0].isdigit()]

    def write(self, record: EpochRecord) -> None:
        """Add an epoch to both."""
        values = dataclasses.asdict(record)
        try:
            with self._csv.open("a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(values.values())
        except OSError as error:
            raise InputError(f"cannot write {self._csv}: {error}") from error
        for name in ("learning_rate", "loss", "accuracy", "images_per_second"):
            self._events.add_scalar(f"train/{name}", values[name], record.epoch)

    def __enter__(self) -> "TrainingLogs":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._events.close()
