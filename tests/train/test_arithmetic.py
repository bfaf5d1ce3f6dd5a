from pathlib import Path
from typing import Any

import pytest
import torch

import train.fit
from eval.datasets import ReidDataset
from runtime.errors import InputError
from train.arithmetic import Arithmetic
from train.fit import fit
from train.recipe import Recipe, TrainingPrecision


@pytest.fixture
def gpu_that_emulates_bfloat16(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Before Ampere (a T4, a Xavier): torch has bfloat16 there, computed slowly in float32."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    return torch.device("cuda")


def test_a_gpu_that_only_emulates_bfloat16_trains_in_float16(gpu_that_emulates_bfloat16: torch.device) -> None:
    assert Arithmetic.choose("auto", gpu_that_emulates_bfloat16).dtype == torch.float16
    with pytest.raises(InputError, match="Tesla T4 has no bfloat16"):
        Arithmetic.choose("bf16", gpu_that_emulates_bfloat16)


def test_on_a_cpu() -> None:
    cpu = torch.device("cpu")
    assert str(Arithmetic.choose("auto", cpu)) == "float32"
    assert Arithmetic.choose("bf16", cpu).dtype == torch.bfloat16
    assert not Arithmetic.choose("bf16", cpu).scaler().is_enabled()
    with pytest.raises(InputError, match="'fp16' needs a GPU"):
        Arithmetic.choose("fp16", cpu)


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("bf16", True)])
def test_fp32_multiplies_as_float32_in_the_whole_step(
    toy: ReidDataset,
    toy_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: TrainingPrecision,
    tf32: bool,
) -> None:
    """Torch lets GPUs convolve float32 in TF32, with 10 bits of 23, unless told otherwise."""
    step, seen = train.fit._train_step, []

    def looking(*arguments: Any) -> None:
        hook = arguments[0].classifier.head.weight.register_hook(lambda _: seen.append(torch.backends.cudnn.allow_tf32))
        seen.append(torch.backends.cudnn.allow_tf32)
        step(*arguments)
        hook.remove()

    monkeypatch.setattr(train.fit, "_train_step", looking)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    fit(toy_recipe.model_copy(update={"backbone": "test_resnet", "epochs": 1, "precision": precision}), toy, tmp_path)
    assert seen == [tf32] * 6  # three steps, there and back
    assert torch.backends.cudnn.allow_tf32
