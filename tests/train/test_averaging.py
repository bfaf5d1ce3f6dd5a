import pytest
import torch

from train.averaging import running_average
from train.model import LgeuNet


def test_weights_and_statistics_are_averaged_and_counters_copied() -> None:
    torch.manual_seed(0)
    net = LgeuNet("resnet10t", strips=2, reduction=4, height=64, width=32, neck="bn")
    average = running_average(net, 0.9)
    expected = {}
    for step in range(4):
        with torch.no_grad():
            for value in net.state_dict().values():
                value.add_(1 if not value.is_floating_point() else torch.rand_like(value))
        average.update_parameters(net)
        for name, value in net.state_dict().items():
            now = value.double()
            expected[name] = now if step == 0 else 0.9 * expected[name] + 0.1 * now
    for name, value in average.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6, msg=name)
        else:
            assert value == net.state_dict()[name] == pytest.approx(4), name


def test_training_the_network_leaves_its_average_alone() -> None:
    net = LgeuNet("resnet10t", strips=2, reduction=4, height=64, width=32)
    average = running_average(net, 0.9)
    before = {name: value.clone() for name, value in average.module.state_dict().items()}
    net.train()(torch.zeros(2, 64, 32, 3, dtype=torch.uint8)).sum().backward()
    assert all(parameter.grad is None for parameter in average.parameters())
    assert all(torch.equal(value, before[name]) for name, value in average.module.state_dict().items())
