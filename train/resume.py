"""How far a run is, in its checkpoint: written after every epoch, and read to go on."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from eval.evaluation import Evaluation
from runtime.errors import InputError
from runtime.files import sha256

from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .failures import room_for_model
from .recipe import Recipe
from .run import Run

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"

_REQUIRED = {"epochs_done", "person_ids", "head", "optimiser", "scaler", "recipe"}
# What may differ between a run and its continuation: it does not change what an epoch does.
_FREE = {"epochs", "workers", "validate_every"}


@dataclass(frozen=True)
class Best:
    """The epoch, counted from 1, with the highest validation mAP, and that mAP in 0..1."""

    epoch: int
    mAP: float  # noqa: N815 - as in all figures


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Attributes:
        epochs_done: finished epochs.
        best: of those that were validated.
        weights_sha256: of the file of first weights; None without one, and in checkpoints of earlier versions.
    """

    epochs_done: int = 0
    best: Best | None = None
    weights_sha256: str | None = None

    def after_epoch(self, evaluation: Evaluation | None) -> "Standing":
        """One epoch on, with its validation if there was one; of equal epochs the earlier is the best."""
        done = replace(self, epochs_done=self.epochs_done + 1)
        if evaluation is None or (self.best is not None and evaluation.metrics.mAP <= self.best.mAP):
            return done
        return replace(done, best=Best(done.epochs_done, evaluation.metrics.mAP))


def save(run: Run, standing: Standing) -> None:
    """Write the checkpoint, and `best.pt` beside it before that where this epoch is the best so far.

    Raises:
        InputError: a file cannot be written; what was there is kept.
    """
    best = standing.best
    # Before the checkpoint: a run killed in between repeats the epoch and writes the same file again.
    if best is not None and best.epoch == standing.epochs_done:
        chosen = (
            f"{run.dataset.name}; epoch {best.epoch} of {run.recipe.epochs}, chosen by validation mAP {best.mAP:.4f}"
        )
        save_checkpoint(run.path.with_name(BEST), run.deployed, chosen)
    training = {
        "epochs_done": standing.epochs_done,
        "best": asdict(best) if best else None,
        "person_ids": run.images.person_ids,
        "images_sha256": run.images.sha256,
        "weights_sha256": standing.weights_sha256,
        "head": run.classifier.head.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "scaler": run.scaler.state_dict(),
        "recipe": run.recipe.model_dump(),
    }
    if run.average is not None:
        # The checkpoint's model is the average; training goes on from the weights themselves.
        training["net"] = run.classifier.net.state_dict()
    save_checkpoint(run.path, run.deployed, run.dataset.name, training)


def check_finite(run: Run, epoch: int) -> None:
    """A last step can spoil the weights though its loss was finite.

    Raises:
        InputError: they are not finite after this epoch, counted from 1.
    """
    values = [value for value in run.classifier.state_dict().values() if value.is_floating_point()]
    if not torch.stack([value.isfinite().all() for value in values]).all():
        raise InputError(
            f"the weights are not finite after epoch {epoch}; {describe_kept(run, epoch - 1)}: lower lr, or add "
            "warmup_epochs, in the recipe"
        )


def describe_kept(run: Run, epochs_done: int) -> str:
    """What is left of a run that ends after so many saved epochs."""
    return (
        f"{run.path} keeps epoch {epochs_done}" if epochs_done else "no epoch was finished, so there is no checkpoint"
    )


def remove_unfinished(folder: Path) -> None:
    """Remove the checkpoints that a killed run left half written."""
    for stem in (Path(CHECKPOINT).stem, Path(BEST).stem):
        for path in folder.glob(f".{stem}.*.pt"):
            path.unlink(missing_ok=True)


def begin(run: Run) -> Standing:
    """How far a run is that has not begun."""
    return Standing(weights_sha256=_weights_sha256(run.recipe))


def restore(run: Run) -> Standing:
    """Put the checkpoint's state into the run; returns how far it is.

    Raises:
        InputError: there is nothing to go on from, or it is of another recipe, other images or more epochs.
    """
    checkpoint = load_checkpoint(run.path)
    training = checkpoint.training
    if not training.keys() >= _REQUIRED:
        raise InputError(f"{run.path} holds nothing to go on from; train into another folder")
    weights_sha256 = training.get("weights_sha256")
    _check_recipe(run, training["recipe"], weights_sha256)
    _check_images(run, checkpoint)
    done = int(training["epochs_done"])
    if done > run.recipe.epochs:
        raise InputError(
            f"{run.path} was trained for {done} epochs, the recipe says {run.recipe.epochs}; raise epochs, or train "
            "into another folder"
        )
    with room_for_model(run.accelerator.device):
        _restore_weights(run, checkpoint)
        run.classifier.head.load_state_dict(training["head"])
        _restore_optimiser(run, training["optimiser"])
    if run.scaler.is_enabled() and training["scaler"]:  # empty from a device that trained in another precision
        run.scaler.load_state_dict(training["scaler"])
    best = training.get("best")
    return Standing(done, Best(**best) if best else None, weights_sha256)


def _restore_weights(run: Run, checkpoint: Checkpoint) -> None:
    if run.average is None:
        run.classifier.net.load_state_dict(checkpoint.model.state_dict())
        return
    run.deployed.load_state_dict(checkpoint.model.state_dict())
    run.classifier.net.load_state_dict(checkpoint.training["net"])


def _restore_optimiser(run: Run, state: dict[str, Any]) -> None:
    """How steps are computed is this machine's choice, whichever wrote the checkpoint."""
    pairs = zip(state["param_groups"], run.optimiser.param_groups, strict=True)
    groups = [{**group, "fused": own["fused"]} for group, own in pairs]
    run.optimiser.load_state_dict({**state, "param_groups": groups})


def _check_recipe(run: Run, recorded: Any, weights_sha256: str | None) -> None:
    """Refuse to go on with another recipe; what a checkpoint's recipe does not say yet is at its default."""
    try:
        former = Recipe.model_validate(recorded)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{run.path} was trained with a recipe that this version does not know ({first['loc']}: {first['msg']}); "
            "use the version that wrote it, or train into another folder"
        ) from error
    # The cosine ends with the last epoch, so that another number of epochs is another schedule.
    free = _FREE - ({"epochs"} if run.recipe.schedule == "cosine" else set())
    now = _weights_sha256(run.recipe)
    if weights_sha256 and now == weights_sha256:
        free |= {"weights"}  # whatever the file is called by now
    elif weights_sha256 and now:
        raise InputError(
            f"{run.path} began with other weights than those in {run.recipe.weights}; give the file it began with, or "
            "train into another folder"
        )
    for name, value in run.recipe.model_dump(exclude=free).items():
        if _comparable(name, getattr(former, name)) != _comparable(name, value):
            raise InputError(
                f"{run.path} was trained with {name} {getattr(former, name)!r}, the recipe says {value!r}; "
                "give the recipe it was trained with, or train into another folder"
            )


def _check_images(run: Run, checkpoint: Checkpoint) -> None:
    """Refuse to go on with other people or images; which images they were is not in checkpoints of earlier versions."""
    former, images = checkpoint.training, run.images
    remedy = "give the data it was trained on, or train into another folder"
    if former["person_ids"] != images.person_ids:
        raise InputError(
            f"{run.path} was trained on {len(former['person_ids'])} other identities than the "
            f"{len(images.person_ids)} given; {remedy}"
        )
    if former.get("images_sha256", images.sha256) != images.sha256:
        raise InputError(
            f"{run.path} was trained on other images ({checkpoint.manifest.trained_on}) than the {len(images)} given "
            f"({run.dataset.name}); {remedy}"
        )


def _comparable(name: str, value: Any) -> Any:
    """The file of first weights is known by its name: where it lies depends on where the recipe is read from."""
    return Path(value).name if name == "weights" and value is not None else value


def _weights_sha256(recipe: Recipe) -> str | None:
    """Of the file of first weights; a resumed run does without it, so that it need not be there."""
    return sha256(Path(recipe.weights)) if recipe.weights and Path(recipe.weights).is_file() else None
