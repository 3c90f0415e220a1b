"""Trainings that collapse go back to a healthy state at a smaller rate; others are left alone."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.engine.optimizers import Optimizers
from torch import nn

from eugen_fields.models.radiance import explained_share
from eugen_fields.training.optimizers import FieldOptimizerConfig
from eugen_fields.training.recovery import CHECK_INTERVAL, Recovery
from eugen_fields.training.schedule import WarmupDecayConfig


def training(algorithm: str = "muon") -> tuple[nn.Module, Optimizers, Recovery]:
    torch.manual_seed(0)
    model = nn.Linear(8, 8)
    config = {
        "fields": {
            "optimizer": FieldOptimizerConfig(algorithm=algorithm, lr=0.1, adam_lr=0.05),  # type: ignore[arg-type]
            "scheduler": WarmupDecayConfig(warmup_steps=1, final_factor=1.0, max_steps=1000),
        }
    }
    optimizers = Optimizers(config, {"fields": list(model.parameters())})
    return model, optimizers, Recovery(model, optimizers, 0)  # type: ignore[arg-type]


def steps(model: nn.Module, optimizers: Optimizers, recovery: Recovery, first: int, explained: float, count: int):
    """Trains, tells what is explained, and returns the steps at which a state was restored."""
    restored = []
    for step in range(first, first + count):
        optimizers.zero_grad_all()
        model(torch.randn(4, 8, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizers.optimizer_step_all()
        optimizers.scheduler_step_all(step)
        if recovery.after_step(step, torch.tensor(explained)):
            restored.append(step)
    return restored


@pytest.mark.parametrize("algorithm", ["muon", "adam"])
def test_a_fallen_training_goes_back_to_where_it_was_well(algorithm: str, capsys: pytest.CaptureFixture) -> None:
    model, optimizers, recovery = training(algorithm)
    assert steps(model, optimizers, recovery, 0, 0.8, 2 * CHECK_INTERVAL) == []
    well = {name: value.clone() for name, value in model.state_dict().items()}
    (at,) = steps(model, optimizers, recovery, 100, -1.0, 2 * CHECK_INTERVAL)[:1]
    assert at < 200 and recovery.count == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert f"step {at}" in printed and "its state after step 99" in printed and "0.5 of the learning rate" in printed
    model, optimizers, recovery = training(algorithm)
    steps(model, optimizers, recovery, 0, 0.8, 100)
    restored = steps(model, optimizers, recovery, 100, -1.0, at - 99)
    assert restored == [at] and all(torch.equal(value, well[name]) for name, value in model.state_dict().items())
    rates = [group["lr"] for group in optimizers.optimizers["fields"].param_groups]
    assert rates == pytest.approx([0.05, 0.025] if algorithm == "muon" else [0.05])
    steps(model, optimizers, recovery, at + 1, 0.8, 1)
    assert optimizers.optimizers["fields"].param_groups[0]["lr"] == pytest.approx(0.05), "schedules keep the rate"


def test_a_training_that_never_gets_going_begins_again(capsys: pytest.CaptureFixture) -> None:
    model, optimizers, recovery = training()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    restored = steps(model, optimizers, recovery, 0, 0.0, 300)
    assert restored == [299] and all(torch.equal(value, start[name]) for name, value in model.state_dict().items())
    assert "its beginning" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("explained", [0.2, 0.5, 0.99])
def test_trainings_that_go_on_are_left_alone(explained: float) -> None:
    model, optimizers, recovery = training()
    assert steps(model, optimizers, recovery, 0, 0.0, 150) == []
    assert steps(model, optimizers, recovery, 150, explained, 500) == []
    assert steps(model, optimizers, recovery, 650, max(0.15, explained - 0.3), 200) == []


def test_a_batch_that_is_not_finite_counts_as_nothing() -> None:
    model, optimizers, recovery = training()
    steps(model, optimizers, recovery, 0, 0.8, 100)
    assert steps(model, optimizers, recovery, 100, float("nan"), 100)


def test_recoveries_end_at_some_time() -> None:
    model, optimizers, recovery = training()
    steps(model, optimizers, recovery, 0, 0.0, 3000)
    assert recovery.count == 5


def test_the_explained_share_is_set_against_what_shows_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(200, 4, generator=generator)
    background = torch.rand(200, 3, generator=generator)
    truth = image[:, :3] * image[:, 3:] + (1 - image[:, 3:]) * background
    assert float(explained_share(truth, truth, image, background)) == 1.0
    assert float(explained_share(background, truth, image, background)) == pytest.approx(0.0, abs=1e-6)
    empty = torch.cat([image[:, :3], torch.zeros(200, 1)], dim=1)
    assert float(explained_share(background, background, empty, background)) == 1.0, "there is nothing to explain"
    opaque = image[:, :3]
    mean = opaque.mean(dim=0).expand_as(opaque)
    assert float(explained_share(mean, opaque, opaque, None)) == pytest.approx(0.0, abs=1e-6)
    assert float(explained_share(1 - opaque, opaque, opaque, None)) < 0
