"""The learning rate over the steps of a training, and the optimiser's steps."""

import copy
import math

import pytest
import torch

from eugen_fields.methods import METHODS
from eugen_fields.training.schedule import LayerAdamConfig, LayerAdamWConfig, PlaneAdamConfig, WarmupDecayConfig


def rates(steps, **options):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    config = WarmupDecayConfig(max_steps=steps, **options)
    schedule = config.setup().get_scheduler(optimizer, 2.0)
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_warms_up_and_decays_to_its_share():
    found = rates(100, warmup_steps=10, final_factor=0.01)
    assert found[0] == pytest.approx(0.2) and found[100] == pytest.approx(0.02)
    assert found[50] == pytest.approx(2.0 * math.sqrt(0.01))
    assert found[9:] == sorted(found[9:], reverse=True)


def test_the_rate_can_be_held_before_it_decays():
    found = rates(100, warmup_steps=1, final_factor=0.04, hold=0.6)
    assert found[:61] == [2.0] * 61
    assert found[80] == pytest.approx(2.0 * 0.2) and found[100] == pytest.approx(0.08)


def test_weights_decay_apart_from_the_gradient():
    """AdamW: a weight without gradient loses rate times decay of itself a step."""
    weight = torch.nn.Parameter(torch.full((3,), 5.0))
    optimizer = LayerAdamWConfig(lr=0.1, weight_decay=0.02).setup(params=[weight])
    weight.grad = torch.zeros(3)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 5.0 * (1 - 0.1 * 0.02)))


@pytest.mark.parametrize("config", [LayerAdamConfig, LayerAdamWConfig])
def test_a_fused_optimiser_takes_the_same_steps(config):
    """From any state, also one that was saved by the other."""
    torch.manual_seed(0)
    plain, fused = (torch.nn.Parameter(torch.arange(6.0)) for _ in range(2))
    optimizers = [
        config(lr=0.1, fused=choice).setup(params=[weight]) for choice, weight in ((False, plain), (True, fused))
    ]
    for step in range(20):
        gradient = torch.randn(6)
        for weight, optimizer in zip((plain, fused), optimizers):
            weight.grad = gradient.clone()
            optimizer.step()
        if step == 10:
            optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    torch.testing.assert_close(plain, fused)
    assert not torch.equal(plain.detach(), torch.arange(6.0))


@pytest.mark.parametrize("device, fused", [("cpu", True), ("cuda", True), ("mps", False)])
def test_the_optimiser_is_fused_where_torch_can(device, fused):
    config = copy.deepcopy(METHODS["eugen-nerf-tiny"])
    config.machine.device_type = device
    config.fill_in_optimizers()
    assert config.optimizers["fields"]["optimizer"].fused is fused


def channels_last(seed: int = 0) -> torch.nn.Parameter:
    values = torch.rand(3, 8, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.Parameter(values.contiguous(memory_format=torch.channels_last))


def steps(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, seeds: range) -> None:
    for seed in seeds:
        gradient = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
        optimizer.step()


def test_adam_of_planes_is_adam_in_whatever_order_they_lie() -> None:
    mine, plain = channels_last(), torch.nn.Parameter(channels_last().detach().contiguous())
    optimizer = PlaneAdamConfig(lr=0.1, fused=True).setup([mine])
    reference = torch.optim.Adam([plain], 0.1, (0.9, 0.99), 1e-15)
    for each, parameter in ((optimizer, mine), (reference, plain)):
        steps(each, parameter, range(4))
    torch.testing.assert_close(mine, plain)
    assert mine.stride() != plain.stride()


def test_means_of_a_checkpoint_in_another_order_are_those_of_the_same_entries() -> None:
    plain = torch.nn.Parameter(channels_last().detach().contiguous())
    reference = torch.optim.Adam([plain], 0.1, (0.9, 0.99), 1e-15)
    steps(reference, plain, range(3))
    mine = channels_last()
    with torch.no_grad():
        mine.copy_(plain)
    optimizer = PlaneAdamConfig(lr=0.1, fused=True).setup([mine])
    optimizer.load_state_dict(copy.deepcopy(reference.state_dict()))
    for each, parameter in ((optimizer, mine), (reference, plain)):
        steps(each, parameter, range(3, 6))
    torch.testing.assert_close(mine, plain)
