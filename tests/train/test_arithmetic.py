import pytest
import torch

from runtime.errors import InputError
from train.arithmetic import Arithmetic


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
