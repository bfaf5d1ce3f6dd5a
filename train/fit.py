"""The training loop: from a recipe and a data set to a checkpoint."""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from eval.datasets import ReidDataset
from eval.evaluation import evaluate_model
from runtime.errors import InputError
from runtime.files import require_file, write_json
from runtime.progress import progress

from .augmentation import Augmentation
from .batches import Batches, batches
from .checkpoint import load_checkpoint, save_checkpoint
from .data import TrainingImages
from .embedder import open_checkpoint
from .logs import EpochRecord, TrainingLogs
from .model import LgeuNet
from .recipe import Recipe

LOGGER = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.json"


class LgeuClassifier(nn.Module):
    """The network with the softmax head that only training needs: images to a logit for each identity."""

    def __init__(self, net: LgeuNet, identities: int) -> None:
        """Put a linear head with small weights on the network's descriptor."""
        super().__init__()
        self.net = net
        self.head = nn.Linear(net.manifest.embedding_size, identities)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB to (N, identities)."""
        logits: Tensor = self.head(self.net(images))
        return logits


@dataclass(frozen=True)
class _Run:
    """What a run works on."""

    recipe: Recipe
    images: TrainingImages
    sampler: Batches
    loader: Any
    model: Any
    optimiser: Any
    accelerator: Accelerator
    path: Path


def fit(recipe: Recipe, dataset: ReidDataset, out: Path, resume: bool = False) -> Path:
    """Train a model.

    Writes `checkpoint.pt` after every epoch, `log.csv` and TensorBoard events as it goes, and, where the data set has
    query and gallery images, `metrics.json` at the end.

    Args:
        recipe: how.
        dataset: its `train` half is learnt; its query and gallery images are measured on at the end, no more.
        out: folder for the results.
        resume: go on from the last epoch in `out`'s checkpoint, which must be of the same recipe (only `epochs` and
            `workers` may differ) and identities. On a CPU the parameters come out as those of an uninterrupted run.

    Returns:
        The checkpoint's path.

    Raises:
        InputError: `out` has a checkpoint and `resume` is false, or has none that fits and `resume` is true; an image
            cannot be read; fewer than two identities; the model cannot be made; or the loss stopped being finite, in
            which case the last epoch's checkpoint is kept.
    """
    path = Path(out) / CHECKPOINT
    if path.exists() and not resume:
        raise InputError(f"{path} exists already; go on from it with --resume, or name another folder")
    if resume:
        require_file(path, "checkpoint")
    run = _prepare(recipe, dataset, path, resume)
    first = _restore(run) if resume else 0
    _announce(run, dataset)
    with TrainingLogs(path.parent, first) as logs:
        for epoch in range(first, recipe.epochs):
            record = _train_epoch(run, epoch)
            # The log first: a row without its checkpoint is dropped on resuming, a missing one could not be made again.
            logs.write(record)
            _save(run, dataset.name, epoch + 1)
            LOGGER.info("epoch %d/%d: %s", record.epoch, recipe.epochs, record)
    if dataset.query and dataset.gallery:
        _evaluate(path, dataset)
    return path


def _prepare(recipe: Recipe, dataset: ReidDataset, path: Path, resume: bool) -> _Run:
    torch.manual_seed(recipe.seed)
    # What a checkpoint overwrites anyway need not be downloaded.
    start: dict[str, Any] = {} if resume else {"pretrained": recipe.pretrained, "weights": recipe.weights}
    net = LgeuNet(**recipe.architecture(), **start)
    augmentation = Augmentation(recipe.flip, recipe.crop_padding, random_erasing=0)
    images = TrainingImages(dataset, recipe.height, recipe.width, augmentation, recipe.seed)
    # The images arrive channels-last: with weights in that format no convolution has to reorder its input.
    model = LgeuClassifier(net, len(images.person_ids)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    sampler = batches(images.labels, recipe.batch_size, images_per_identity=0, seed=recipe.seed)
    loader = DataLoader(images, batch_sampler=sampler, num_workers=recipe.workers)
    accelerator = Accelerator(mixed_precision=_precision(recipe))
    if accelerator.num_processes > 1:
        raise InputError(
            f"training was started in {accelerator.num_processes} processes; one process on one device is expected: "
            "start it without `accelerate launch`"
        )
    loader, model, optimiser = accelerator.prepare(loader, model, optimiser)
    return _Run(recipe, images, sampler, loader, model, optimiser, accelerator, path)


def _precision(recipe: Recipe) -> str:
    if not (recipe.mixed_precision and torch.cuda.is_available()):
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _announce(run: _Run, dataset: ReidDataset) -> None:
    LOGGER.info(
        "training %s with gate %s on %s: %d images of %d identities, %s",
        run.recipe.backbone,
        run.recipe.gate,
        dataset.name,
        len(run.images),
        len(run.images.person_ids),
        f"{run.accelerator.device}, precision {_precision(run.recipe)}".replace("precision no", "float32"),
    )


def _train_epoch(run: _Run, epoch: int) -> EpochRecord:
    """One pass over the images; `epoch` is counted from 0."""
    loss_of = nn.CrossEntropyLoss(label_smoothing=run.recipe.label_smoothing)
    # Chance inside the network (dropout) hangs on the epoch alone, so that a resumed run repeats it.
    torch.manual_seed(run.recipe.seed + epoch + 1)
    run.sampler.epoch = epoch
    run.model.train()
    started, rate, loss_sum, hits, seen = time.perf_counter(), 0.0, 0.0, 0, 0
    steps = progress(run.loader, f"epoch {epoch + 1}/{run.recipe.epochs}", total=len(run.loader), unit="step")
    for step, (images, labels) in enumerate(steps):
        rate = run.recipe.learning_rate(epoch, step / len(run.loader))
        for group in run.optimiser.param_groups:
            group["lr"] = rate
        logits = run.model(images)
        loss = loss_of(logits, labels)
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(_divergence(run.path, value, epoch, step, rate))
        run.optimiser.zero_grad()
        run.accelerator.backward(loss)
        run.optimiser.step()
        loss_sum += value * len(labels)
        hits += int((logits.argmax(1) == labels).sum())
        seen += len(labels)
    seconds = time.perf_counter() - started
    return EpochRecord(epoch + 1, rate, loss_sum / seen, hits / seen, seconds, seen / seconds)


def _divergence(path: Path, loss: float, epoch: int, step: int, rate: float) -> str:
    kept = f"{path} keeps epoch {epoch}" if path.exists() else "no epoch was finished, so there is no checkpoint"
    return (
        f"the loss is {loss} at step {step + 1} of epoch {epoch + 1} (learning rate {rate:.3g}); {kept}: lower lr, or "
        "add warmup_epochs, in the recipe"
    )


def _save(run: _Run, trained_on: str, epochs_done: int) -> None:
    model = run.accelerator.unwrap_model(run.model)
    scaler = run.accelerator.scaler
    training = {
        "epochs_done": epochs_done,
        "person_ids": run.images.person_ids,
        "head": model.head.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "scaler": scaler.state_dict() if scaler else {},
        "recipe": run.recipe.model_dump(),
    }
    save_checkpoint(run.path, model.net, trained_on, training)


def _evaluate(path: Path, dataset: ReidDataset) -> None:
    with open_checkpoint(path) as embedder:
        evaluation = evaluate_model(embedder, dataset, model=path.name)
    write_json(path.with_name(METRICS), evaluation.to_json())
    LOGGER.info("%s", evaluation.table())


def _restore(run: _Run) -> int:
    """Put a checkpoint's state into the run; returns the number of epochs it has behind it."""
    checkpoint = load_checkpoint(run.path)
    training = checkpoint.training
    if not {"epochs_done", "person_ids", "head", "optimiser", "scaler", "recipe"} <= training.keys():
        raise InputError(f"{run.path} holds nothing to go on from; train into another folder")
    for name, value in run.recipe.model_dump(exclude={"epochs", "workers"}).items():
        if training["recipe"].get(name) != value:
            raise InputError(
                f"{run.path} was trained with {name} {training['recipe'].get(name)!r}, the recipe says {value!r}; "
                "give the recipe it was trained with, or train into another folder"
            )
    if training["person_ids"] != run.images.person_ids:
        raise InputError(
            f"{run.path} was trained on {len(training['person_ids'])} other identities than the "
            f"{len(run.images.person_ids)} given; give the data it was trained on, or train into another folder"
        )
    model = run.accelerator.unwrap_model(run.model)
    model.net.load_state_dict(checkpoint.model.state_dict())
    model.head.load_state_dict(training["head"])
    run.optimiser.load_state_dict(training["optimiser"])
    if run.accelerator.scaler:
        run.accelerator.scaler.load_state_dict(training["scaler"])
    return int(training["epochs_done"])
