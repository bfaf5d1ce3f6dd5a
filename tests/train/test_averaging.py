import pytest
import torch
from torch import Tensor

from train.averaging import running_average
from train.model import LgeuNet


@pytest.mark.parametrize("decay", [0.2, 0.9])  # the first is reached after three steps, the other not in four
def test_weights_and_statistics_are_averaged_and_counters_copied(decay: float) -> None:
    torch.manual_seed(0)
    net = LgeuNet("test_resnet", strips=2, reduction=4, height=64, width=32, neck="bn")
    average = running_average(net, decay)
    expected: dict[str, Tensor] = {}
    for step in range(1, 5):
        with torch.no_grad():
            for value in net.state_dict().values():
                value.add_(1 if not value.is_floating_point() else torch.rand_like(value))
        average.update(net, step)
        left = min(decay, (step - 1) / (step + 9))
        for name, value in net.state_dict().items():
            now = value.double()
            expected[name] = now if step == 1 else left * expected[name] + (1 - left) * now
    for name, value in average.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6, msg=name)
        else:
            assert value == net.state_dict()[name] == pytest.approx(4), name


def test_the_average_of_a_short_run_is_not_where_it_began() -> None:
    """A plain average with this decay would have moved by less than a tenth after 100 steps."""
    net = LgeuNet("test_resnet", strips=2, reduction=4, height=64, width=32, neck="bn")
    average = running_average(net, 0.999)
    with torch.no_grad():
        for step in range(1, 101):
            net.neck.weight.fill_(step)
            average.update(net, step)
    assert 85 < average.module.neck.weight.mean() < 95


def test_training_the_network_leaves_its_average_alone() -> None:
    net = LgeuNet("test_resnet", strips=2, reduction=4, height=64, width=32)
    average = running_average(net, 0.9)
    before = {name: value.clone() for name, value in average.module.state_dict().items()}
    net.train()(torch.zeros(2, 64, 32, 3, dtype=torch.uint8)).sum().backward()
    assert all(parameter.grad is None for parameter in average.parameters())
    assert all(torch.equal(value, before[name]) for name, value in average.module.state_dict().items())
