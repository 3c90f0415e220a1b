"""The learning rate over the steps of a training."""

import math

import pytest
import torch

from eugen_fields.training.schedule import LayerAdamWConfig, WarmupDecayConfig


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
