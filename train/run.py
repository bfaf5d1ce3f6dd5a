"""What a training run works on: made from a recipe and a data set, before the first step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader

from eval.datasets import ReidDataset
from runtime.errors import InputError

from .arithmetic import Arithmetic
from .augmentation import Augmentation
from .averaging import running_average
from .batches import Batches, batches
from .classifier import LgeuClassifier
from .data import TrainingImages
from .failures import room_for_model
from .losses import Loss, training_loss
from .model import LgeuNet
from .processes import shared_errors
from .recipe import Recipe

# With fewer than a vector register holds (8 with AVX2, 16 with AVX-512), oneDNN 3.13 writes beside its memory in the
# backward pass of a channels-last 1x1 convolution with a stride.
_CHANNELS_THAT_ONEDNN_NEEDS = 16


@dataclass(frozen=True)
class Run:
    """What a run works on.

    Attributes:
        recipe: how to train.
        dataset: on what.
        path: of the checkpoint.
        accelerator: this process's place among several.
        images: all that is learnt from, augmented.
        batches: this process's share of every step; its `epoch` is to be set.
        loader: makes them.
        classifier: what is trained: network and softmax head.
        model: the same, as it is called in a step; several processes average their gradients in it.
        average: of the network's weights; None without `ema`.
        loss: of a step.
        optimiser: of the classifier.
        arithmetic: number format of convolutions and products.
        scaler: of float16's gradients.
    """

    recipe: Recipe
    dataset: ReidDataset
    path: Path
    accelerator: Accelerator
    images: TrainingImages
    batches: Batches
    loader: "DataLoader[Any]"
    classifier: LgeuClassifier
    model: nn.Module
    average: ModelEmaV3 | None
    loss: Loss
    optimiser: torch.optim.Optimizer
    arithmetic: Arithmetic
    scaler: torch.amp.GradScaler

    @property
    def deployed(self) -> LgeuNet:
        """The network that is validated and written: the running average where there is one."""
        return self.classifier.net if self.average is None else cast("LgeuNet", self.average.module)


def prepare(
    recipe: Recipe, dataset: ReidDataset, path: Path, accelerator: Accelerator, *, start: bool, cache: Path | None
) -> Run:
    """Make everything that a run needs.

    Args:
        recipe: how to train.
        dataset: its `train` half is learnt.
        path: of the checkpoint.
        accelerator: this process's place among several.
        start: whether to load the recipe's first weights, which a resumed run does without.
        cache: folder of decoded images; None keeps them in memory.

    Raises:
        InputError: as `train.fit.fit`.
        DeviceError: likewise.
    """
    device = accelerator.device
    with shared_errors(accelerator):
        arithmetic = Arithmetic.choose(recipe.precision, device)
        torch.manual_seed(recipe.seed)
        weights: dict[str, Any] = {"pretrained": recipe.pretrained, "weights": recipe.weights} if start else {}
        net = LgeuNet(**recipe.architecture(), **weights)
        _check_layout(recipe, net, device)
        augmentation = Augmentation(recipe.flip, recipe.crop_padding, recipe.random_erasing)
        images = TrainingImages(dataset, recipe.height, recipe.width, augmentation, recipe.seed, cache)
        share = _share(recipe, images, accelerator)
        with room_for_model(device):
            classifier = LgeuClassifier(net, len(images.person_ids)).to(device)
            if recipe.channels_last:
                # So are the images: no convolution has to reorder its input.
                classifier = classifier.to(memory_format=torch.channels_last)
            average = running_average(net, recipe.ema) if recipe.ema else None
    if recipe.compile:
        net.backbone.compile()
    return Run(
        recipe=recipe,
        dataset=dataset,
        path=path,
        accelerator=accelerator,
        images=images,
        batches=share,
        loader=_loader(images, share, recipe.workers, device),
        classifier=classifier,
        model=accelerator.prepare_model(classifier),
        average=average,
        loss=training_loss(recipe),
        optimiser=_optimiser(recipe, classifier),
        arithmetic=arithmetic,
        scaler=arithmetic.scaler(),
    )


def _check_layout(recipe: Recipe, net: LgeuNet, device: torch.device) -> None:
    """Refuse what would end the process without a message; such stems are those of RepVGG and MobileOne."""
    if device.type != "cpu" or not recipe.channels_last:
        return
    for name, layer in net.backbone.named_modules():
        strided = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and max(layer.stride) > 1
        if strided and layer.in_channels < _CHANNELS_THAT_ONEDNN_NEEDS:
            raise InputError(
                f"{recipe.backbone} cannot be trained on a CPU with channels_last: oneDNN, which computes there, dies "
                f"on the way back through {name} (1x1, stride {layer.stride[0]}, {layer.in_channels} channels); "
                "set channels_last to false"
            )


def _share(recipe: Recipe, images: TrainingImages, accelerator: Accelerator) -> Batches:
    return batches(
        images.labels,
        recipe.batch_size,
        images_per_identity=recipe.images_per_identity,
        seed=recipe.seed,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
    )


def _loader(images: TrainingImages, share: Batches, workers: int, device: torch.device) -> "DataLoader[Any]":
    return DataLoader(
        images,
        batch_sampler=share,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        # Its own: the workers' seeds would be drawn from the one that dropout draws from.
        generator=torch.Generator(),
    )


def _optimiser(recipe: Recipe, classifier: LgeuClassifier) -> torch.optim.Optimizer:
    fused = True if next(classifier.parameters()).is_cuda else None
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(classifier.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        classifier.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )
