"""Polynomials in place of activations: exact on polynomials, with errors that fall as Theorem 3.4 says."""

import math

import pytest
import torch

from eugen_fields.layers import fit_polynomial
from eugen_fields.layers.activations import get_activation
from eugen_fields.layers.theory.polynomials import FIT_METHODS, evaluate_polynomial, exact_coefficients

INTERVALS = [(-3.0, 3.0), (-1.0, 5.0), (0.5, 0.75)]
ACTIVATIONS = ["relu", "gelu", "softplus"]


def points(interval, count=2001):
    return torch.linspace(*interval, count, dtype=torch.float64)


def test_coefficients_are_those_of_the_monomials():
    t = points((-2.0, 2.0))
    torch.testing.assert_close(evaluate_polynomial([0.5, -1.0, 2.0], t), 0.5 - t + 2.0 * t**2)


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("method, exact_degree", [("chebyshev", 4), ("least-squares", 4), ("bernstein", 1)])
def test_polynomials_come_back(method, exact_degree, interval):
    expected = torch.tensor([0.3, -1.0, 0.5, 2.0, -0.7][: exact_degree + 1], dtype=torch.float64)
    coefficients, error = fit_polynomial(lambda t: evaluate_polynomial(expected, t), 4, interval, method)
    assert coefficients.dtype == torch.float64 and coefficients.shape == (5,)
    padded = torch.cat([expected, expected.new_zeros(4 - exact_degree)])
    torch.testing.assert_close(coefficients, padded, rtol=1e-6, atol=1e-6)
    assert error < 1e-9


@pytest.mark.parametrize("order", [1, 2, 5, 9])
def test_bernstein_is_its_definition(order):
    low, high = -1.0, 5.0
    coefficients, _ = fit_polynomial("gelu", order, (low, high), "bernstein")
    t = points((low, high))
    s = (t - low) / (high - low)
    nodes = low + (high - low) * torch.arange(order + 1, dtype=torch.float64) / order
    values = get_activation("gelu")(nodes)
    expected = sum(values[j] * math.comb(order, j) * s**j * (1 - s) ** (order - j) for j in range(order + 1))
    torch.testing.assert_close(evaluate_polynomial(coefficients, t), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_least_squares_residual_is_orthogonal_to_polynomials(order, interval):
    # under the weight of the interval's ends for the Chebyshev series, the even one for least squares
    angles = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    middle, half = sum(interval) / 2, (interval[1] - interval[0]) / 2
    for method, u in (("chebyshev", torch.cos(math.pi * angles)), ("least-squares", 2 * angles - 1)):
        t = middle + half * u
        coefficients, _ = fit_polynomial("gelu", order, interval, method)
        residual = get_activation("gelu")(t) - evaluate_polynomial(coefficients, t)
        for power in range(order + 1):
            assert abs(float((residual * u**power).mean())) < 1e-6


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("method", FIT_METHODS)
@pytest.mark.parametrize("activation", [*ACTIVATIONS, "sine"])
def test_reported_error_is_the_largest(activation, method, interval):
    coefficients, error = fit_polynomial(activation, 3, interval, method)
    t = points(interval, 5003)
    difference = (evaluate_polynomial(coefficients, t) - get_activation(activation)(t)).abs()
    assert float(difference.max()) == pytest.approx(error, rel=1e-2)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("method", FIT_METHODS)
def test_error_falls_as_the_order_grows(activation, method):
    errors = [fit_polynomial(activation, order, (-3.0, 3.0), method)[1] for order in (0, 1, 2, 4, 6, 8)]
    assert all(after < 0.95 * before for before, after in zip(errors, errors[1:]))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bernstein_error_stays_below_its_rate(activation):
    # Theorem 3.4: 5/4 omega((high - low) / sqrt(k)); omega(h) = L h, L the largest slope (1.13 for gelu)
    slope = {"relu": 1.0, "gelu": 1.13, "softplus": 1.0}[activation]
    orders = (1, 2, 4, 8, 16, 32)
    errors = [fit_polynomial(activation, order, (-3.0, 3.0), "bernstein")[1] for order in orders]
    for order, error in zip(orders, errors):
        assert error <= 1.25 * slope * 6.0 / math.sqrt(order)


def test_the_rate_is_reached_by_the_kink_of_relu():
    # at the kink the error is (high - low) / 2 times the mean absolute deviation of a binomial mean: ~ 1 / sqrt(k)
    errors = {k: fit_polynomial("relu", k, (-3.0, 3.0), "bernstein")[1] for k in (8, 32)}
    assert errors[8] / errors[32] == pytest.approx(2.0, rel=0.05)
    assert errors[32] == pytest.approx(3.0 / math.sqrt(2 * math.pi * 32), rel=0.02)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, "sine"])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_fits_beat_bernstein_in_their_own_measure(activation, order):
    t = points((-3.0, 3.0))
    exact = get_activation(activation)(t)
    residuals = {
        method: evaluate_polynomial(fit_polynomial(activation, order, (-3.0, 3.0), method)[0], t) - exact
        for method in FIT_METHODS
    }
    squares = {method: float(residual.square().mean()) for method, residual in residuals.items()}
    assert squares["least-squares"] <= 1.001 * squares["chebyshev"] <= squares["bernstein"]
    assert float(residuals["chebyshev"].abs().max()) < float(residuals["bernstein"].abs().max())


@pytest.mark.parametrize("method", FIT_METHODS)
def test_order_zero_is_a_constant(method):
    coefficients, error = fit_polynomial("sine", 0, (-2.0, 2.0), method)
    assert coefficients.tolist() == pytest.approx([0.0], abs=1e-9)
    assert error == pytest.approx(1.0, abs=1e-6)


def test_high_orders_are_fitted_to_rounding():
    assert fit_polynomial("sine", 20, (-3.0, 3.0))[1] < 1e-10


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("relu", -1, (-1.0, 1.0)), "order is -1"),
        (("relu", 2, (-1.0, 1.0), "taylor"), "method is 'taylor'.*chebyshev"),
        (("relu", 2, (-math.inf, 1.0)), "both ends must be finite"),
        (("relu", 2, (0.0, math.nan)), "both ends must be finite"),
        (("relu", 2, (1.0, 1.0)), "first end must be below"),
        (("relu", 2, (2.0, 1.0)), "first end must be below"),
        (("swoosh", 2, (-1.0, 1.0)), "activation is 'swoosh'"),
        ((torch.log, 2, (-1.0, 1.0)), "not finite at -"),
        ((torch.reciprocal, 2, (-1.0, 1.0), "bernstein"), "not finite at 0"),
        ((torch.sum, 2, (-1.0, 1.0)), "act on each element"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_polynomial(*arguments)


def test_given_coefficients_are_counted_and_finite():
    assert exact_coefficients([1, 2.5], 1).tolist() == [1.0, 2.5]
    with pytest.raises(ValueError, match="3 coefficients are given; order 1 needs a_0..a_1, 2 of them"):
        exact_coefficients([1.0, 2.0, 3.0], 1)
    with pytest.raises(ValueError, match="all must be finite"):
        exact_coefficients([1.0, math.nan], 1)
