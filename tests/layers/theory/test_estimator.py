"""Theorems 3.1 to 3.4 on EUGenLinear.from_linear, by Monte Carlo with independent draws of G.

One layer with draws * m features holds `draws` independent estimators of m features each: rows of G are independent
(gaussian, rademacher), or blocks of as many rows as G has columns are (orthogonal).
"""

import math

import pytest
import torch
from support.layer_checks import values
from support.pairwise import pairwise
from torch import nn

from eugen_fields.layers import EUGenLinear, ExplicitEUGenLinear, estimator_variance, fold
from eugen_fields.layers.activations import ACTIVATIONS, get_activation
from eugen_fields.layers.theory.estimator import deviation_bound, output_interval
from eugen_fields.layers.theory.polynomials import evaluate_polynomial

COEFFICIENTS = (0.5, 1.0, -0.6, 0.25, -0.1)
FOURTH_MOMENT = {"gaussian": 3.0, "rademacher": 1.0, "orthogonal": 3.0}


def make_linear(in_features, out_features, seed=0, bias=True, size=1.0):
    linear = nn.Linear(in_features, out_features, bias=bias).double()
    with torch.no_grad():
        linear.weight.copy_(size * values(out_features, in_features, seed=seed) / math.sqrt(in_features))
        if linear.bias is not None:
            linear.bias.copy_(0.3 * values(out_features, seed=seed + 1))
    return linear


def absorbed(linear, x):
    """W and x with the bias and the 1 appended."""
    if linear.bias is None:
        return linear.weight.detach(), x
    weight = torch.cat([linear.weight, linear.bias[:, None]], dim=1).detach()
    return weight, torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)


def estimates(layer, x, draws, used=None):
    """Every one of `draws` estimators inside the layer, shape (draws, inputs, out_features); the first `used` features
    of each draw only. With all of them their mean is the layer's output."""
    with torch.no_grad():
        share = layer.num_features // draws
        used = share if used is None else used
        features = layer.features(x).view(len(x), layer.order, draws, share)[..., :used]
        weight = layer.weight.view(layer.out_features, layer.order, draws, share)[..., :used] * (
            layer.num_features / used
        )
        return torch.einsum("nirm,oirm->rno", features, weight) + layer.bias


def assert_unbiased(draws, expected, standard_errors=4.0):
    error = draws.std(dim=0) / math.sqrt(len(draws))
    assert bool(((draws.mean(dim=0) - expected).abs() <= standard_errors * error + 1e-9).all())


# --- Theorem 3.1


@pytest.mark.parametrize(
    "order, init, share_projections",
    pairwise([1, 2, 3, 4], ["gaussian", "rademacher", "orthogonal"], [False, True]),
)
def test_theorem_3_1_the_mean_is_the_polynomial_of_the_layer(order, init, share_projections):
    linear, x, draws = make_linear(3, 2, seed=order), values(3, 3, seed=9), 250
    coefficients = COEFFICIENTS[: order + 1]
    layer = EUGenLinear.from_linear(
        linear,
        coefficients,
        num_features=4 * draws,  # blocks of 4 rows: 3 inputs and the constant
        order=order,
        init=init,
        share_projections=share_projections,
        seed=17,
    )
    expected = evaluate_polynomial(coefficients, linear(x).detach())
    each = estimates(layer, x, draws)
    torch.testing.assert_close(each.mean(dim=0), layer(x).detach(), rtol=1e-9, atol=1e-9)
    assert_unbiased(each, expected)
    assert float(each.std(dim=0).min()) > 0.05  # the bars are wide enough to mean something ...
    # ... and narrow enough to tell a polynomial without its last term
    shortened = evaluate_polynomial(coefficients[:-1], linear(x).detach())
    if order <= 2:
        with pytest.raises(AssertionError):
            assert_unbiased(each, shortened)


@pytest.mark.parametrize(
    "order, init, share_projections", [(1, "gaussian", False), (2, "orthogonal", False), (3, "rademacher", True)]
)
def test_theorem_3_1_over_many_seeds(order, init, share_projections):
    linear, x = make_linear(3, 2, seed=4), values(3, 3, seed=5)
    coefficients = COEFFICIENTS[: order + 1]
    options = {"num_features": 7, "order": order, "init": init, "share_projections": share_projections}
    layers = [EUGenLinear.from_linear(linear, coefficients, seed=seed, **options) for seed in range(60)]
    each = torch.stack([layer(x).detach() for layer in layers])
    assert_unbiased(each, evaluate_polynomial(coefficients, linear(x).detach()))


def test_theorem_3_1_holds_for_the_explicit_layer():
    draws, coefficients = 2000, COEFFICIENTS[:4]
    layer = ExplicitEUGenLinear(
        5, 3, num_features=4 * draws, order=3, coefficients=coefficients, norm=False, init="gaussian", seed=2
    ).double()
    with torch.no_grad():
        layer.bias.copy_(values(3))
    x = values(4, 5, seed=1)
    expected = evaluate_polynomial(coefficients, x @ layer.weight.T + layer.bias).detach()
    assert_unbiased(estimates(layer.precompute(), x, draws), expected)


# --- Theorem 3.2


def relative_variance_error(order, init, share_projections=False, rows=200_000, features=16):
    """Measured over predicted variance, minus 1, averaged over inputs and outputs."""
    linear, x = make_linear(5, 4, seed=order), values(8, 5, seed=3)
    layer = EUGenLinear.from_linear(
        linear,
        COEFFICIENTS[: order + 1],
        num_features=rows,
        order=order,
        init=init,
        share_projections=share_projections,
        seed=5,
    )
    each = estimates(layer, x, rows // features)
    predicted = estimator_variance(
        *absorbed(linear, x), COEFFICIENTS[: order + 1], features, FOURTH_MOMENT[init], share_projections
    )
    return each.var(dim=0) / predicted - 1


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("init", ["gaussian", "rademacher"])
def test_theorem_3_2_gives_the_variance(order, init):
    error = relative_variance_error(order, init, rows=200_000)
    assert abs(float(error.mean())) < 0.1
    if order < 3:  # every input and output by itself
        assert float(error.abs().max()) < 0.1


@pytest.mark.parametrize("order", [2, 3])
def test_shared_projections_add_their_covariance(order):
    error = relative_variance_error(order, "rademacher", share_projections=True)
    assert float(error.abs().max()) < 0.1


def test_variance_is_the_formula_written_out():
    w, x, tau, m = [0.5, -1.0, 2.0], [1.5, 0.25, -0.5], 1.7, 6
    s = sum(a * b for a, b in zip(w, x))
    second = 2 * s**2 + sum(a * a for a in w) * sum(b * b for b in x)
    second += (tau - 3) * sum(a * a * b * b for a, b in zip(w, x))
    expected = sum(a**2 * (second**i - s ** (2 * i)) for i, a in ((1, 2.0), (2, -3.0))) / m
    result = estimator_variance(torch.tensor([w]).double(), torch.tensor(x).double(), (9.0, 2.0, -3.0), m, tau)
    assert result.shape == (1,) and float(result) == pytest.approx(expected)


# --- orthogonal projections (quasi Monte Carlo)


@pytest.mark.parametrize("used, factor", [(12, 1.7), (24, 10.0)])
def test_orthogonal_projections_lower_the_variance_at_order_one(used, factor):
    d, draws = 24, 600
    linear, x = make_linear(d, 8, bias=False), values(8, d, seed=1)
    layer = EUGenLinear.from_linear(linear, (0.0, 1.0), num_features=d * draws, order=1, init="orthogonal", seed=3)
    measured = estimates(layer, x, draws, used).var(dim=0)
    independent = estimator_variance(*absorbed(linear, x), (0.0, 1.0), used)
    assert float(independent.mean() / measured.mean()) >= factor
    # exactly, for rows that are Haar distributed with independent Gaussian norms:
    # (|w|^2 |x|^2 + s^2 - (m - 1) (d |w|^2 |x|^2 + (d - 2) s^2) / ((d - 1) (d + 2))) / m
    weight, inputs = absorbed(linear, x)
    s = (inputs @ weight.T).square()
    norms = inputs.square().sum(-1, keepdim=True) * weight.square().sum(-1)
    exact = (norms + s - (used - 1) * (d * norms + (d - 2) * s) / ((d - 1) * (d + 2))) / used
    assert float((measured / exact).mean()) == pytest.approx(1.0, abs=0.1)


# --- Theorem 3.3


@pytest.mark.parametrize("order, d, share_projections", pairwise([1, 2, 3], [2, 4], [False, True]))
def test_theorem_3_3_bounds_the_tail(order, d, share_projections):
    features, draws = 32, 4000
    linear, x = make_linear(d, 4, seed=d, bias=False), values(4, d, seed=order)
    if d == 2:  # orthogonal to its weight: the bound is at its tightest
        x[0] = torch.stack([-linear.weight[0, 1], linear.weight[0, 0]]).detach()
        with torch.no_grad():
            linear.weight[0] = torch.tensor([1.0, 0.0])
            x[0] = torch.tensor([0.0, 1.0])
    coefficients = (0.5, 1.0, -0.6, 0.25)[: order + 1]
    layer = EUGenLinear.from_linear(
        linear,
        coefficients,
        num_features=features * draws,
        order=order,
        init="rademacher",
        share_projections=share_projections,
        seed=1,
    )
    error = (estimates(layer, x, draws) - evaluate_polynomial(coefficients, linear(x).detach())).abs()
    told = 0
    for deviations in torch.linspace(0.2, 10.0, 50).tolist():  # in standard deviations of the first estimator
        epsilon = deviations * float(error[:, 0, 0].square().mean().sqrt())
        tail = (error >= epsilon).double().mean(dim=0)
        bound = deviation_bound(linear.weight.detach(), x, coefficients, features, epsilon)
        assert bound.shape == tail.shape and bool((tail <= bound).all())
        told += int(((bound < 1) & (tail > 0)).sum())
    if d == 2 and order == 1:
        assert told > 0  # the bound is below 1 where something is left to bound


def test_bound_is_the_formula_written_out():
    weight, x = torch.tensor([[0.5, -1.0]]).double(), torch.tensor([1.5, 0.25]).double()
    s, largest = 0.5 * 1.5 - 0.25, 1.2**2 * 2 * math.sqrt(1.25) * math.sqrt(1.5**2 + 0.25**2)
    reach = max(2 * abs(s), 3 * s**2) + max(2 * largest, 3 * largest**2)
    expected = 2 * math.exp(-200_000 * 0.7**2 / (2 * reach**2 * 4))
    result = deviation_bound(weight, x, (9.0, 2.0, -3.0), 200_000, 0.7, entry_bound=1.2)
    assert expected < 1 and result.shape == (1,) and float(result) == pytest.approx(expected)


def test_bound_is_a_probability_that_falls_with_features_and_deviation():
    weight, x = values(3, 4), values(5, 4, seed=1)
    bounds = [deviation_bound(weight, x, (0.0, 1.0), m, 1.0) for m in (1, 100, 10_000)]
    assert bool((bounds[0] <= 1).all())
    assert bool((bounds[1] <= bounds[0]).all()) and bool((bounds[2] < bounds[1]).all())
    tighter = deviation_bound(weight, x, (0.0, 1.0), 10_000, 2.0)
    assert bool((tighter < bounds[2]).all())


# --- Theorem 3.4


@pytest.mark.parametrize(
    "activation, fit",
    [("relu", "chebyshev"), ("gelu", "least-squares"), ("softplus", "bernstein"), ("relu", "bernstein")],
)
def test_theorem_3_4_the_mean_approaches_the_activation(activation, fit):
    # small norms keep the Monte Carlo error below the error of the fit
    linear, x, draws = make_linear(2, 4, seed=2), 0.8 * values(12, 2, seed=3), 25_000
    exact = get_activation(activation)(linear(x)).detach()
    assert float(exact.abs().max()) > 0.5
    distances = []
    for order in (1, 2, 4):
        layer = EUGenLinear.from_linear(
            linear,
            activation,
            num_features=2 * draws,
            order=order,
            init="rademacher",
            interval=(-2.0, 2.0),
            fit=fit,
            seed=order,
        )
        each = estimates(layer, x, draws)
        assert_unbiased(each, evaluate_polynomial(layer.coefficients, linear(x).detach()), standard_errors=4.5)
        noise = float((each.var(dim=0) / draws).mean())
        squared = float((each.mean(dim=0) - exact).square().mean()) - noise
        distances.append(math.sqrt(max(squared, 0.0)))
        assert distances[-1] <= layer.fit_error + 4 * math.sqrt(noise)
    assert distances[0] > distances[1] > distances[2]


# --- from_linear


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("bias", [True, False])
def test_every_activation_of_a_layer_with_bias(activation, bias):
    linear, x, draws = make_linear(3, 2, seed=6, bias=bias), values(4, 3, seed=7), 1000
    layer = EUGenLinear.from_linear(linear, activation, num_features=4 * draws, order=2, init="gaussian", seed=8)
    assert layer.projection_bias is bias and not layer.norm and layer.fit_error >= 0.0
    low, high = output_interval(linear.weight, linear.bias)
    t = torch.linspace(low, high, 101, dtype=torch.float64)
    difference = evaluate_polynomial(layer.coefficients, t) - get_activation(activation)(t)
    assert float(difference.abs().max()) <= layer.fit_error + 1e-9
    assert_unbiased(estimates(layer, x, draws), evaluate_polynomial(layer.coefficients, linear(x).detach()))


def test_default_interval_holds_three_standard_deviations_of_every_output():
    weight = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert output_interval(weight, None) == (-15.0, 15.0)
    assert output_interval(weight, torch.tensor([1.0, 20.0])) == (-14.0, 23.0)
    linear = make_linear(6, 5)
    outputs = linear(values(20_000, 6, seed=4))
    low, high = output_interval(linear.weight, linear.bias)
    inside = ((outputs >= low) & (outputs <= high)).double().mean(dim=0)
    assert float(inside.min()) > 0.995


def test_coefficients_and_callables_are_taken_as_they_are():
    linear = make_linear(3, 2)
    given = EUGenLinear.from_linear(linear, (1, 2, 3), num_features=4, order=2, seed=1)
    assert given.coefficients == (1.0, 2.0, 3.0) and given.fit_error == 0.0
    named = EUGenLinear.from_linear(linear, "sine", num_features=4, order=2, seed=1)
    called = EUGenLinear.from_linear(linear, torch.sin, num_features=4, order=2, seed=1)
    torch.testing.assert_close(named.weight, called.weight)
    assert EUGenLinear(3, 2).coefficients is None and EUGenLinear(3, 2).fit_error is None


@pytest.mark.parametrize("train_projections", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_training_and_state_dict(dtype, train_projections):
    linear = make_linear(3, 2).to(dtype)
    before = linear.weight.detach().clone()
    options = {"num_features": 8, "order": 3, "train_projections": train_projections}
    source = EUGenLinear.from_linear(linear, "gelu", seed=1, **options)
    target = EUGenLinear.from_linear(linear, "relu", seed=2, **options)
    x = values(5, 3, dtype=dtype)
    assert source(x).dtype == dtype and not torch.equal(source(x), target(x))
    target.load_state_dict(source.state_dict())
    assert torch.equal(source(x), target(x))
    assert ("projections" in source.state_dict()) is train_projections
    source(x).sum().backward()
    assert all(parameter.grad is not None for parameter in source.parameters())
    assert torch.equal(linear.weight, before) and linear.weight.grad is None


def test_fixed_and_trained_projections_start_as_the_same_estimator():
    linear, x = make_linear(3, 2), values(5, 3)
    make = lambda train: EUGenLinear.from_linear(
        linear, "gelu", num_features=8, order=3, seed=1, train_projections=train
    )
    torch.testing.assert_close(make(True)(x), make(False)(x), rtol=1e-12, atol=1e-12)


def test_explicit_layer_with_the_same_matrices_is_the_same_estimator():
    linear, x = make_linear(3, 2), values(5, 3)
    layer = EUGenLinear.from_linear(linear, COEFFICIENTS[:4], num_features=8, order=3, seed=1)
    explicit = ExplicitEUGenLinear(
        3, 2, num_features=8, order=3, coefficients=COEFFICIENTS[:4], norm=False, seed=1
    ).double()
    with torch.no_grad():
        explicit.projections.copy_(2.0 * layer.projection_matrices())  # sqrt(3 inputs and the constant)
        explicit.weight.copy_(linear.weight)
        explicit.bias.copy_(linear.bias)
        explicit.coefficients.copy_(torch.tensor(COEFFICIENTS[:4], dtype=torch.float64))
    torch.testing.assert_close(explicit(x), layer(x), rtol=1e-10, atol=1e-10)


def test_estimators_fold_into_the_linear_behind():
    linear = make_linear(6, 7)
    network = nn.Sequential(
        EUGenLinear.from_linear(linear, "gelu", num_features=4, order=2, seed=1), make_linear(7, 3, seed=5)
    )
    x = values(5, 6)
    torch.testing.assert_close(fold(network)(x), network(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"linear": nn.ReLU()}, "linear is a ReLU"),
        ({"activation": "swoosh"}, "activation is 'swoosh'"),
        ({"activation": (1.0, 2.0)}, "2 coefficients are given; order 2"),
        ({"activation": (1.0, math.nan, 2.0)}, "all must be finite"),
        ({"activation": (1.0, 2.0, 3.0), "interval": (0.0, 1.0)}, "nothing is fitted"),
        ({"activation": torch.log}, "not finite at"),
        ({"interval": (1.0, -1.0)}, "first end must be below"),
        ({"interval": (0.0, math.inf)}, "both ends must be finite"),
        ({"fit": "taylor"}, "method is 'taylor'"),
        ({"order": 0}, "order is 0"),
        ({"order": 5}, "order is 5"),
        ({"num_features": 0}, "num_features is 0"),
        ({"init": "sparse"}, "init is 'sparse'"),
        ({"seed": -2}, "seed is -2"),
    ],
)
def test_from_linear_refuses_wrong_options_by_name(changes, message):
    options = {"linear": make_linear(3, 2), "activation": "relu", "num_features": 4, "order": 2, **changes}
    with pytest.raises(ValueError, match=message):
        EUGenLinear.from_linear(**options)


@pytest.mark.parametrize(
    "function, changes, message",
    [
        (estimator_variance, {"x": values(4)}, "they must be"),
        (estimator_variance, {"weight": values(3)}, "they must be"),
        (estimator_variance, {"num_features": 0}, "num_features is 0"),
        (deviation_bound, {"x": values(4), "epsilon": 1.0}, "they must be"),
        (deviation_bound, {"num_features": -1, "epsilon": 1.0}, "num_features is -1"),
        (deviation_bound, {"epsilon": 0.0}, "epsilon is 0.0"),
        (deviation_bound, {"epsilon": 1.0, "entry_bound": -1.0}, "entry_bound is -1.0"),
    ],
)
def test_formulas_refuse_wrong_input_by_name(function, changes, message):
    options = {"weight": values(2, 3), "x": values(3), "coefficients": (0.0, 1.0), "num_features": 4, **changes}
    with pytest.raises(ValueError, match=message):
        function(**options)
