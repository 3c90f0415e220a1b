"""Muon and Adam as one optimiser: against torch's own, against an exact decomposition, saved and resumed."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from eugen_fields.layers.kinds import layer_kind
from eugen_fields.methods import METHODS
from eugen_fields.training.optimizers import (
    FieldOptimizerConfig,
    Muon,
    MuonWithAdam,
    StepScaler,
    algorithm_of,
    is_matrix,
    orthogonalise,
)

SHAPES = [(24, 7), (7, 24), (16, 16), (16, 16), (5, 64)]


def matrices(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(parameters: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("shape", [(3, 20, 8), (3, 8, 20), (2, 12, 12)])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_singular_vectors_stay_and_values_become_one(shape: tuple[int, ...], scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    y = orthogonalise(x)
    inner = u.mT @ y @ vh.mT
    values = torch.diagonal(inner, dim1=1, dim2=2)
    off = inner - torch.diag_embed(values)
    torch.testing.assert_close(off, torch.zeros_like(off), atol=1e-9, rtol=0)
    torch.testing.assert_close(u @ inner @ vh, y, atol=1e-9, rtol=0)
    large = s > 0.02 * s.norm(dim=1, keepdim=True)  # where five iterations suffice
    assert bool(((values > 0.6) & (values < 1.25))[large].all())


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert not orthogonalise(torch.zeros(2, 4, 3)).any()


def test_steps_are_those_of_torch() -> None:
    """To bfloat16's rounding, in which torch orthogonalises: a few percent of a step."""
    ours, theirs = matrices(), matrices()
    start = [parameter.detach().clone() for parameter in ours]
    mine = Muon(ours, lr=0.1, momentum=0.9, weight_decay=0.02)
    reference = torch.optim.Muon(theirs, lr=0.1, momentum=0.9, weight_decay=0.02, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        for parameters, optimizer in ((ours, mine), (theirs, reference)):
            give_gradients(parameters, step)
            optimizer.step()
    for before, one, other in zip(start, ours, theirs):
        assert float((one - other).detach().norm() / (other - before).detach().norm()) < 0.03


def test_matrices_of_one_shape_do_not_mix() -> None:
    """Each moves as it does alone."""
    together, alone = matrices(), matrices()
    give_gradients(together, 0)
    Muon(together, lr=0.1).step()
    give_gradients(alone, 0)
    for parameter in alone:
        Muon([parameter], lr=0.1).step()
    for one, other in zip(together, alone):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_size_of_a_step_is_the_rate() -> None:
    """Root mean square of 0.2 times the rate, but for what the iterations leave (0.7 to 1.2)."""
    parameter = nn.Parameter(torch.zeros(64, 64))
    parameter.grad = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)))[0]
    Muon([parameter], lr=0.5).step()
    assert float(parameter.detach().square().mean().sqrt()) == pytest.approx(0.5 * 0.2, rel=0.35)


def test_vectors_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> Tensor:
    loss = torch.zeros(())
    for step in steps:
        x = torch.randn(64, 6, generator=torch.Generator().manual_seed(step))
        loss = (model(x) - torch.sin(2 * x[:, :3])).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.detach()


def test_each_parameter_has_its_algorithm() -> None:
    model = network()
    optimizer = MuonWithAdam(model.parameters(), lr=0.02, adam_lr=0.01)
    muon, adam = (part.param_groups[0]["params"] for part in optimizer.parts.values())
    assert {id(p) for p in muon} == {id(model[0].weight), id(model[2].weight)}, "the last layer has three rows"
    assert len(adam) == 4 and not any(is_matrix(parameter) for parameter in adam)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.01]


@pytest.mark.parametrize("algorithm", ["muon", "adam"])
def test_training_learns_and_resumes_exactly(algorithm: str) -> None:
    config = FieldOptimizerConfig(algorithm=algorithm, lr=0.02, adam_lr=0.01)  # type: ignore[arg-type]
    model = network()
    optimizer = config.setup(model.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.99**step)
    before = train(model, optimizer, range(1))
    train(model, optimizer, range(1, 40))
    schedule.step()
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), schedule.state_dict()))
    after = train(model, optimizer, range(40, 60))
    assert after < 0.75 * before

    resumed = network()
    resumed.load_state_dict(saved[0])
    again = config.setup(resumed.parameters())
    other = torch.optim.lr_scheduler.LambdaLR(again, lambda step: 0.99**step)
    again.load_state_dict(saved[1])
    other.load_state_dict(saved[2])
    assert algorithm_of(saved[1]) == algorithm
    assert [group["lr"] for group in again.param_groups] == [group["lr"] for group in optimizer.param_groups]
    assert train(resumed, again, range(40, 60)) == after
    for one, two in zip(model.parameters(), resumed.parameters()):
        assert torch.equal(one, two)
    other.step()
    assert again.param_groups[0]["lr"] == pytest.approx(0.99**2 * 0.02), "schedules reach the groups after a resume"


def test_a_state_of_other_parts_is_refused() -> None:
    vectors = MuonWithAdam([nn.Parameter(torch.zeros(3))], lr=0.1)
    with pytest.raises(ValueError, match="adam; this optimiser has muon, adam"):
        MuonWithAdam(network().parameters(), lr=0.1).load_state_dict(vectors.state_dict())


@pytest.mark.parametrize(
    "method, regime, algorithm",
    [
        ("eugen-nerf-tiny", None, "muon"),
        ("eugen-mipnerf-tiny", "bounded", "muon"),
        ("eugen-mipnerf-tiny", "unbounded", "muon"),
        ("prp-nerf", None, "adam"),
    ],
)
def test_methods_train_by_muon_where_its_rates_are_tuned(method: str, regime: str | None, algorithm: str) -> None:
    config = copy.deepcopy(METHODS[method])
    if regime is not None:
        config.pipeline.model.regime = regime  # type: ignore[attr-defined]
    config.rate_factor = 0.5
    config.max_num_iterations = 600
    config.fill_in_optimizers()
    optimizer = config.optimizers["fields"]["optimizer"]
    kind = layer_kind(config.pipeline.model.layer)  # type: ignore[attr-defined]
    family = config.unbounded_rate_family if regime == "unbounded" else config.rate_family
    assert optimizer.algorithm == algorithm
    if algorithm == "muon":
        assert optimizer.lr == 0.5 * kind.muon_rate(family, 600) and optimizer.adam_lr == 0.5 * kind.rate(family)
    else:
        assert optimizer.lr == 0.5 * kind.rate(family)


def test_rates_that_are_given_are_kept() -> None:
    config = copy.deepcopy(METHODS["eugen-nerf-tiny"])
    config.optimizers["fields"]["optimizer"].lr, config.rate_factor = 0.007, 0.5
    config.fill_in_optimizers()
    assert config.optimizers["fields"]["optimizer"].lr == 0.007


def scaled_steps(scaler: GradScaler, fused: bool, faults: tuple[int, ...]) -> tuple[list[Tensor], float]:
    """Parameters after four steps with scaled gradients, those of `faults` infinite, and the scale at the end."""
    parameters = [*matrices(), nn.Parameter(torch.ones(9))]
    optimizer = MuonWithAdam(parameters, lr=0.1, adam_lr=0.01, weight_decay=0.1, fused=fused)
    for step in range(4):
        give_gradients(parameters, step)
        scaler.scale(torch.ones(()))
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad *= scaler.get_scale()
        if step in faults:
            assert parameters[0].grad is not None
            parameters[0].grad[0, 0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
    return [parameter.detach() for parameter in parameters], scaler.get_scale()


@pytest.mark.parametrize("faults", [(), (0,), (1, 3)])
def test_steps_with_scaled_gradients_need_no_answer_of_the_device(faults: tuple[int, ...]) -> None:
    """The fused form is told of the scale and of infinities by tensors; the other one is not stepped by the scaler."""
    asked, plain_scale = scaled_steps(GradScaler("cpu", init_scale=2.0**10), False, faults)
    told, scale = scaled_steps(StepScaler("cpu", init_scale=2.0**10), True, faults)
    assert scale == plain_scale == 2.0 ** (10 - len(faults))
    for mine, other in zip(told, asked):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


def test_the_scale_is_read_once_a_step() -> None:
    scaler, reads = StepScaler("cpu", init_scale=4.0, growth_interval=1), []
    scaler.scale(torch.ones(()))
    with mock.patch.object(
        GradScaler, "get_scale", autospec=True, side_effect=lambda self: reads.append(1) or float(self._scale)
    ):
        for step in range(3):
            assert scaler.get_scale() == scaler.get_scale() == 4.0 * 2.0**step
            parameter = nn.Parameter(torch.ones(3))
            parameter.grad = torch.ones(3)
            scaler.step(torch.optim.SGD([parameter], lr=0.1))
            scaler.update()
        assert scaler.get_scale() == 32.0 and len(reads) == 4
        scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0})
        assert scaler.get_scale() == 2.0
