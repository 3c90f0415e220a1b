"""Closed-form fits: optimal where theory says what the optimum is, exact where the layer can be exact."""

import pytest
import torch
from support.layer_checks import values
from torch import nn

from eugen_fields.layers import EUGenLinear, LowRankLinear, PRPLinear
from eugen_fields.layers.fitting.closed_form import (
    LINEAR_FROM,
    fit_features,
    fit_linear,
    linear_directions,
    mixed_projections,
    neuron_projections,
    principal_projections,
    select_columns,
)
from eugen_fields.layers.fitting.regression import NormalEquations

D, L, SAMPLES = 10, 14, 500
MATRICES = ["gaussian", "ternary", "orthogonal", "hadamard"]


def correlated(seed=0, width=D):
    return values(SAMPLES, width, seed=seed) @ values(width, width, seed=seed + 1) + values(width, seed=seed + 2)


def equations(x, y, bias=True):
    result = NormalEquations(x.shape[1], y.shape[1], bias=bias)
    result.add(x, y.detach())
    return result


def noisy_targets(x):
    return x @ values(D, L, seed=7) + 0.5 * torch.tanh(x) @ values(D, L, seed=8) + values(L, seed=9)


def explained(y, t, columns):
    """Mean squared error of the regression of t on columns of y with a constant."""
    part = torch.cat([y[:, columns], torch.ones(len(y), 1, dtype=y.dtype)], dim=1)
    return float((part @ torch.linalg.lstsq(part, t).solution - t).square().sum() / len(y))


def picks(y, t, count):
    _, _, covariance, cross = equations(y, t).moments()
    return select_columns(covariance, cross, count)


# which columns


def test_columns_that_span_the_targets_are_found():
    y = values(SAMPLES, 20)
    assert set(picks(y, y[:, [3, 11, 17]] @ values(3, 5, seed=1), 3)) == {3, 11, 17}
    assert picks(y, y[:, [4]] @ values(1, 5, seed=1), 1) == [4]


def test_picked_columns_lower_the_error_and_never_below_the_best_subspace():
    y = torch.relu(values(SAMPLES, 6) @ values(6, L, seed=1) + values(L, seed=2))
    order = picks(y, y, L)
    errors = [explained(y, y, order[:count]) for count in range(1, L + 1)]
    assert sorted(order) == list(range(L))
    assert all(after <= before + 1e-9 for before, after in zip(errors, errors[1:])) and errors[-1] < 1e-9
    spectrum = torch.linalg.eigvalsh(torch.cov(y.T, correction=0))
    for count, error in enumerate(errors, start=1):
        assert error >= float(spectrum[: L - count].sum()) - 1e-9


def test_each_pick_is_the_best_next_one():
    y = torch.relu(values(SAMPLES, 6) @ values(6, L, seed=1))
    t = y @ values(L, 3, seed=2)
    order = picks(y, t, 4)
    for count in range(4):
        errors = [explained(y, t, [*order[:count], column]) for column in range(L)]
        assert errors[order[count]] == pytest.approx(min(errors))


def test_dependent_and_constant_columns_are_left_out():
    y = values(SAMPLES, 8)
    y[:, 5] = y[:, 1] - 2 * y[:, 2] + 3
    y[:, 6] = 0.0
    y[:, 7] = 1.7
    order = picks(y, y, 8)
    assert len(order) == 5 and not {6, 7} & set(order)


# where projections come from


def test_neuron_projections_are_neurons():
    linear = nn.Linear(D, L).double()
    layer = EUGenLinear(D, L, num_features=5, projection_bias=True, seed=0).double()
    drawn = layer.projection_matrices().detach().clone()
    layer.set_projection_matrices(neuron_projections(linear, [4, 9, 0], layer))
    x = correlated()
    torch.testing.assert_close(layer.features(x)[:, :3], torch.relu(linear(x))[:, [4, 9, 0]])
    torch.testing.assert_close(layer.projection_matrices()[3:], drawn[3:])


def test_principal_projections_start_with_the_strongest_direction_in_both_signs():
    x = correlated()
    layer = EUGenLinear(
        D, L, num_features=6, norm=False, projection_bias=True, feature_activation=None, seed=0
    ).double()
    mean, _, covariance, _ = equations(x, x).moments()
    layer.set_projection_matrices(principal_projections(mean, covariance, layer))
    f = layer.features(x).detach()
    torch.testing.assert_close(f[:, 0::2], -f[:, 1::2])
    torch.testing.assert_close(f.mean(0), torch.zeros(6, dtype=f.dtype), atol=1e-9, rtol=0)
    largest = torch.linalg.eigvalsh(covariance).flip(0)[:3]
    torch.testing.assert_close(f[:, 0::2].var(0, correction=0), largest)


def test_linear_directions_are_the_reduced_rank_regression_in_the_linear_range():
    x = correlated()
    t = noisy_targets(x)
    mean, _, covariance, cross = equations(x, t).moments()
    rows = linear_directions(mean, covariance, cross, 4)
    f = torch.relu(x @ rows[:, :-1].T + rows[:, -1])
    torch.testing.assert_close(f.mean(0), torch.full((4,), LINEAR_FROM + 4.0, dtype=f.dtype))
    torch.testing.assert_close(f.var(0, correction=0), torch.ones(4, dtype=f.dtype))
    layer = LowRankLinear(D, L, rank=4, seed=0).double()
    fit_linear(layer, equations(x, t), 1e-6)
    best = float((layer(x) - t).detach().square().sum() / len(x))
    assert explained(f, t, [0, 1, 2, 3]) == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_mixed_projections_explain_no_less_than_neurons_or_directions_alone(bias):
    x = correlated()
    linear = nn.Linear(D, L, bias=bias).double()
    neurons = torch.relu(linear(x)).detach()
    t = 5.0 * neurons[:, :3] @ values(3, L, seed=4) + 0.1 * noisy_targets(x)
    layer = EUGenLinear(D, L, num_features=6, norm=False, projection_bias=True, seed=0).double()
    moments = equations(torch.cat([neurons, x], dim=1), t)
    mean, _, covariance, cross = moments.moments()
    matrices, picked = mixed_projections(linear, mean, covariance, cross, layer)
    torch.testing.assert_close(matrices, picked.to(matrices))
    layer.set_projection_matrices(matrices)
    f = layer.features(x).detach()
    rows = linear_directions(mean[L:], covariance[L:, L:], cross[L:], 6)
    directions = x @ rows[:, :-1].T
    of_neurons = select_columns(covariance[:L, :L], cross[:L], 6)
    every = list(range(6))
    mixed = explained(f, t, every)
    assert mixed < 1.05 * min(explained(neurons, t, of_neurons), explained(directions, t, every))
    own = torch.cat([linear.weight, linear.bias[:, None] if bias else torch.zeros(L, 1)], dim=1).detach()
    kinds = [any(torch.allclose(row, neuron) for neuron in own) for row in picked]
    assert any(kinds) and not all(kinds)


# EUGen


@pytest.mark.parametrize("bias", [True, False])
def test_features_are_fitted_by_least_squares(bias):
    x = correlated()
    y = torch.relu(x @ values(D, L, seed=5))
    layer = EUGenLinear(D, L, num_features=8, bias=bias, seed=0).double()
    fit = equations(layer.features(x).detach(), y, bias)
    solver, weight, constant = fit_features(layer, fit, 0.0)
    assert solver == "cholesky" and (layer.bias is not None) == bias
    residual = (layer(x) - y).detach()
    assert fit.relative_error(weight, constant) == pytest.approx(float(residual.norm() / (y - y.mean(0)).norm()))
    torch.testing.assert_close(layer.features(x).T @ residual, torch.zeros(8, L), atol=1e-7, rtol=0, check_dtype=False)


# low-rank


@pytest.mark.parametrize("rank", [1, 4, 9])
@pytest.mark.parametrize("bias", [True, False])
def test_low_rank_is_the_reduced_rank_optimum(rank, bias):
    x = correlated()
    y = noisy_targets(x)
    layer = LowRankLinear(D, L, rank=rank, bias=bias, seed=0).double()
    fit = equations(x, y, bias)
    _, weight, constant = fit_linear(layer, fit, 0.0)
    dense, dense_bias, _ = fit.solve(0.0)
    # Izenman (1975): what rank r loses on top of dense least squares are the smallest eigenvalues of W C W^T
    _, _, covariance, _ = fit.moments()
    lost = SAMPLES * torch.linalg.eigvalsh(dense @ covariance @ dense.T)[:-rank].sum()
    error = fit.squared_error(weight, constant).sum()
    torch.testing.assert_close(error, fit.squared_error(dense, dense_bias).sum() + lost)
    torch.testing.assert_close((layer(x) - y).square().sum(), error)


@pytest.mark.parametrize("kind", [LowRankLinear, PRPLinear])
def test_a_rank_above_the_outputs_is_dense_least_squares(kind):
    x = correlated()
    y = noisy_targets(x)[:, :3]
    layer = kind(D, 3, rank=6, seed=0).double()
    fit = equations(x, y)
    _, weight, bias = fit_linear(layer, fit, 0.0)
    assert fit.relative_error(weight, bias) == pytest.approx(fit.relative_error(*fit.solve(0.0)[:2]), rel=1e-6)
    assert not layer.up[:, 3:].any() and not layer.down[3:].any()


# PRP


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("bias", [True, False])
def test_prp_finds_a_prp_layer_again_from_its_outputs(matrix, bias):
    source = PRPLinear(D, L, matrix=matrix, bias=bias, seed=3).double()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.mul_(1 + 0.5 * values(*parameter.shape, seed=4)).add_(0.1)
    x = correlated()
    layer = PRPLinear(D, L, matrix=matrix, bias=bias, seed=3).double()
    solver, weight, _ = fit_linear(layer, equations(x, source(x), bias), 0.0)
    assert solver == "alternating least squares"
    torch.testing.assert_close(layer.effective_weight(), source.effective_weight(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weight, layer.effective_weight().detach())
    torch.testing.assert_close(layer(x), source(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [0, 3])
def test_prp_rounds_never_raise_the_error(rank, monkeypatch):
    x = correlated()
    fit = equations(x, noisy_targets(x))
    fit_prp, errors = PRPLinear.fit, []
    for rounds in (1, 2, 3, 5, 8, 13, 30):
        monkeypatch.setattr(PRPLinear, "fit", lambda *arguments, n=rounds: fit_prp(*arguments, rounds=n))
        layer = PRPLinear(D, L, rank=rank, seed=1).double()
        _, weight, bias = fit_linear(layer, fit, 0.0)
        errors.append(fit.relative_error(weight, bias))
        residual = (layer(x) - noisy_targets(x)).detach()
        torch.testing.assert_close(residual.square().sum(), fit.squared_error(weight, bias).sum())
    assert all(after <= before * (1 + 1e-9) for before, after in zip(errors, errors[1:])) and errors[-1] < 1.0


def test_a_low_rank_term_helps_prp_and_prp_helps_a_low_rank_term():
    x = correlated()
    fit = equations(x, noisy_targets(x))

    def error(layer):
        _, weight, bias = fit_linear(layer.double(), fit, 0.0)
        return fit.relative_error(weight, bias)

    ranks = [error(PRPLinear(D, L, rank=rank, seed=0)) for rank in (0, 1, 3, 6)]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[2] < 0.98 * error(LowRankLinear(D, L, rank=3, seed=0))


def test_other_layers_are_refused():
    x = correlated()
    with pytest.raises(ValueError, match="Linear cannot be fitted; PRPLinear and LowRankLinear can"):
        fit_linear(nn.Linear(D, L), equations(x, noisy_targets(x)), 0.0)
