"""Measuring a run on the data set's query and gallery images."""

import copy

from eval.evaluation import Evaluation, evaluate_model
from runtime.embedder import Embedder
from runtime.files import write_json

from .embedder import TorchBackend
from .failures import room_for
from .run import Run

METRICS = "metrics.json"


def can_validate(run: Run) -> bool:
    """Whether the data set has a test half or a validation split."""
    return bool(run.dataset.query and run.dataset.gallery)


def is_due(run: Run, epochs_done: int) -> bool:
    """Whether to validate now: every so many epochs and after the last, where the recipe asks for validation at all."""
    every = run.recipe.validate_every
    return can_validate(run) and every > 0 and (epochs_done % every == 0 or epochs_done == run.recipe.epochs)


def validate(run: Run) -> Evaluation:
    """Measure the network that would be deployed, in float32.

    Raises:
        InputError: an image cannot be read.
        DeviceError: the device has no room for it.
    """
    # A copy: the backend changes the mode and the memory format of what it is given.
    with room_for("a validation", run.accelerator.device):
        net = copy.deepcopy(run.deployed)
        with Embedder(TorchBackend(net, net.manifest, run.accelerator.device)) as embedder:
            return evaluate_model(embedder, run.dataset, model=run.path.name)


def write_metrics(run: Run, evaluation: Evaluation) -> None:
    """Write `metrics.json` beside the checkpoint: its epoch, and the figures."""
    write_json(run.path.with_name(METRICS), {"epoch": run.recipe.epochs, **evaluation.to_json()})
