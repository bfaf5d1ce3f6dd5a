"""The training loop: from a recipe and a data set to a checkpoint."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import torch

from eval.datasets import ReidDataset
from eval.evaluation import Evaluation
from runtime.errors import InputError
from runtime.files import check_folder, require_file
from runtime.progress import progress

from .failures import loader_failures, room_for
from .logs import EpochRecord, TrainingLogs, check_log
from .meter import EpochMeter
from .processes import join_processes, shared_errors
from .recipe import Recipe
from .resume import BEST, CHECKPOINT, Standing, begin, check_finite, describe_kept, remove_unfinished, restore, save
from .run import Run, prepare
from .schedule import learning_rate
from .validation import METRICS, can_validate, is_due, validate, write_metrics

__all__ = ["BEST", "CHECKPOINT", "METRICS", "fit"]

LOGGER = logging.getLogger(__name__)

# Between the random seeds of two processes; more than there are epochs.
_PROCESS_STRIDE = 1 << 20

# Steps between looks at the loss; each makes a GPU wait for its queue to run dry.
_STEPS_A_LOOK = 10


def fit(recipe: Recipe, dataset: ReidDataset, out: Path, resume: bool = False, cache: Path | None = None) -> Path:
    """Train a model.

    Writes `checkpoint.pt` after every epoch, `log.csv` and TensorBoard events as it goes, `best.pt` where the recipe
    validates, and, where the data set has query and gallery images, `metrics.json` at the end. Several processes that
    `accelerate launch` started train together; the first of them validates and writes.

    Args:
        recipe: how.
        dataset: its `train` half is learnt; its query and gallery images are measured on, no more.
        out: folder for the results.
        resume: go on from the last epoch in `out`'s checkpoint, which must be of the same recipe (only `workers`,
            `validate_every`, the path of `weights` and, without a cosine, `epochs` may differ) and the same images,
            wherever they lie. On a CPU the parameters come out as those of an uninterrupted run.
        cache: folder to keep the decoded images in, for this run and others; None keeps them in memory.

    Returns:
        The checkpoint's path.

    Raises:
        InputError: `out` has a checkpoint and `resume` is false, or has none that fits and `resume` is true; an image
            cannot be read; fewer than two identities; the model or its batches cannot be made; a file cannot be
            written; a worker fails; or the loss stopped being finite. In each case the last finished epoch's
            checkpoint is kept.
        DeviceError: the device has no room for the model, a step or a validation.
    """
    path = Path(out) / CHECKPOINT
    accelerator = join_processes()
    with shared_errors(accelerator):
        if path.exists() and not resume:
            raise InputError(f"{path} exists already; go on from it with --resume, or name another folder")
        if resume:
            require_file(path, "checkpoint")
        check_folder(path.parent)
        check_log(path.parent)
    run = prepare(recipe, dataset, path, accelerator, start=not resume, cache=cache)
    with shared_errors(accelerator):
        standing = restore(run) if resume else begin(run)
    _announce(run, standing)
    _train(run, standing)
    return path


def _announce(run: Run, standing: Standing) -> None:
    processes = run.accelerator.num_processes
    LOGGER.info(
        "training %s with gate %s on %s: %d images of %d identities, %s, precision %s",
        run.recipe.backbone,
        run.recipe.gate,
        run.dataset.name,
        len(run.images),
        len(run.images.person_ids),
        run.accelerator.device if processes == 1 else f"{processes} processes",
        run.arithmetic,
    )
    if standing.epochs_done == run.recipe.epochs:
        LOGGER.info("all %d epochs are done: nothing is left to train", run.recipe.epochs)
    if run.recipe.validate_every and not can_validate(run):
        LOGGER.info("%s has no query and gallery images: nothing is validated", run.dataset.name)


def _train(run: Run, standing: Standing) -> None:
    """All epochs that are left, and the last one's figures."""
    evaluation: Evaluation | None = None
    with ExitStack() as stack:
        with shared_errors(run.accelerator):
            logs = stack.enter_context(_open_logs(run, standing)) if run.accelerator.is_main_process else None
        for epoch in range(standing.epochs_done, run.recipe.epochs):
            with _failures_explained(run), run.arithmetic.without_tf32():
                record = _train_epoch(run, epoch)
            with shared_errors(run.accelerator):
                if logs is not None:
                    standing, evaluation = _finish_epoch(run, record, standing, logs)
    with shared_errors(run.accelerator):  # so that no process leaves the others before this is through
        if run.accelerator.is_main_process and can_validate(run):
            evaluation = evaluation or validate(run)
            write_metrics(run, evaluation)
            LOGGER.info("%s", evaluation.table())


def _open_logs(run: Run, standing: Standing) -> TrainingLogs:
    remove_unfinished(run.path.parent)
    return TrainingLogs(run.path.parent, standing.epochs_done)


def _finish_epoch(
    run: Run, record: EpochRecord, standing: Standing, logs: TrainingLogs
) -> tuple[Standing, Evaluation | None]:
    """Validate where that is due, log and save."""
    check_finite(run, record.epoch)
    evaluation = validate(run) if is_due(run, record.epoch) else None
    record, standing = record.validated(evaluation), standing.after_epoch(evaluation)
    # The log first: a row without its checkpoint is dropped on resuming, a missing one could not be made again.
    logs.write(record)
    run.path.with_name(METRICS).unlink(missing_ok=True)  # the figures of the checkpoint that is replaced
    save(run, standing)
    LOGGER.info("epoch %d/%d: %s", record.epoch, run.recipe.epochs, record)
    return standing, evaluation


def _train_epoch(run: Run, epoch: int) -> EpochRecord:
    """One pass over the images; `epoch` is counted from 0."""
    # Chance inside the network (dropout) hangs on the epoch and the process alone, so that a resumed run repeats it.
    torch.manual_seed(run.recipe.seed + epoch + 1 + _PROCESS_STRIDE * run.accelerator.process_index)
    run.batches.epoch = epoch
    run.model.train()
    meter, steps = EpochMeter(run.accelerator), len(run.loader)
    started, rate = time.perf_counter(), 0.0
    bar = progress(run.loader, f"epoch {epoch + 1}/{run.recipe.epochs}", total=steps, unit="step")
    for step, (images, labels) in enumerate(bar):
        rate = learning_rate(run.recipe, epoch, step / steps)
        _train_step(run, rate, images, labels, meter)
        if run.average is not None:
            run.average.update(run.classifier.net, epoch * steps + step + 1)
        if (step + 1) % _STEPS_A_LOOK == 0 or step + 1 == steps:
            meter.fetch()
            if meter.diverged is not None:
                raise InputError(_divergence(run, epoch, *meter.diverged))
            elapsed = time.perf_counter() - started
            bar.set_postfix_str(_describe(meter, steps, elapsed, run.recipe.epochs - epoch), refresh=False)
    seconds = time.perf_counter() - started
    return EpochRecord(epoch + 1, rate, meter.loss, meter.accuracy, seconds, meter.images / seconds)


def _train_step(run: Run, rate: float, images: torch.Tensor, labels: torch.Tensor, meter: EpochMeter) -> None:
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    device = run.accelerator.device
    images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
    if not run.recipe.channels_last:
        # The same (N, H, W, 3), laid out in planes: else the layout of the images would be that of the whole network.
        images = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    with run.arithmetic.autocast():
        logits, pooled = run.model(images)
    logits = logits.float()
    loss = run.loss(logits, pooled.float(), labels)
    run.optimiser.zero_grad(set_to_none=True)
    run.accelerator.backward(run.scaler.scale(loss))
    run.scaler.step(run.optimiser)
    run.scaler.update()
    meter.add(loss, logits, labels)


@contextmanager
def _failures_explained(run: Run) -> Iterator[None]:
    if run.accelerator.num_processes > 1:
        yield  # the others do not know of a failure: it is a crash, which says in which process
        return
    room = room_for(f"a step of {run.recipe.batch_size} images", run.accelerator.device)
    with room, loader_failures(run.recipe.workers):
        yield


def _describe(meter: EpochMeter, steps: int, seconds: float, epochs_left: int) -> str:
    """Loss, accuracy and speed so far, and in how long all epochs will be through, validations left out."""
    remaining = timedelta(seconds=round(seconds * steps / meter.steps * epochs_left - seconds))
    return (
        f"loss {meter.loss:.3f}, accuracy {meter.accuracy:.3f}, {meter.images / seconds:.0f} images/s, "
        f"all epochs in {remaining}"
    )


def _divergence(run: Run, epoch: int, step: int, loss: float) -> str:
    rate = learning_rate(run.recipe, epoch, step / len(run.loader))
    return (
        f"the loss is {loss} at step {step + 1} of epoch {epoch + 1} (learning rate {rate:.3g}); "
        f"{describe_kept(run, epoch)}: lower lr, or add warmup_epochs, in the recipe"
    )
