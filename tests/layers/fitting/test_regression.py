"""Normal equations: the least-squares solution whatever the batches, from a state of fixed size."""

import pytest
import torch
from support.layer_checks import values

from eugen_fields.layers.fitting.regression import NormalEquations

FEATURES, OUTPUTS, SAMPLES = 7, 3, 200


def data(seed=0):
    """Correlated features of different sizes, and targets that they explain only partly."""
    f = (
        values(SAMPLES, FEATURES, seed=seed) @ values(FEATURES, FEATURES, seed=1) * torch.logspace(-2, 2, FEATURES)
        + 1.0
    )
    return f, torch.sin(f) @ values(FEATURES, OUTPUTS, seed=2) + 5.0


def equations(f, y, weights=None, splits=(SAMPLES,), **options):
    result = NormalEquations(f.shape[1], y.shape[1], **options)
    parts = zip(f.split(splits), y.split(splits), [None] * len(splits) if weights is None else weights.split(splits))
    for part in parts:
        result.add(*part)
    return result


def least_squares(f, y, weights=None, bias=True):
    """Weight (outputs, F + 1) of torch's own solver."""
    columns = torch.cat([f, torch.ones(len(f), 1, dtype=f.dtype)], dim=1) if bias else f
    root = torch.ones(len(f), dtype=f.dtype) if weights is None else weights.sqrt()
    return torch.linalg.lstsq(columns * root[:, None], y * root[:, None]).solution.T


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_least_squares(weighted, bias):
    f, y = data()
    weights = values(SAMPLES, seed=3).square() * (values(SAMPLES, seed=4) > -1) if weighted else None
    weight, constant, solver = equations(f, y, weights, bias=bias).solve(ridge=0.0)
    expected = least_squares(f, y, weights, bias)
    torch.testing.assert_close(weight, expected[:, :FEATURES], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(constant, expected[:, -1] if bias else torch.zeros_like(constant), rtol=1e-8, atol=1e-8)
    assert solver == "cholesky"


def test_batches_make_no_difference_and_the_state_does_not_grow():
    f, y = data()
    whole, parts = equations(f, y), equations(f, y, splits=(1, 0, 99, 60, 40))
    for name in ("gram", "cross", "target_squares"):
        torch.testing.assert_close(getattr(whole, name), getattr(parts, name), rtol=1e-13, atol=1e-12)
        assert getattr(whole, name).shape == getattr(equations(f[:1], y[:1], splits=(1,)), name).shape
    assert whole.count == parts.count == SAMPLES
    for one, other in zip(whole.solve()[:2], parts.solve()[:2]):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_weights_are_repetitions():
    f, y = data()
    times = torch.arange(SAMPLES) % 3
    once = equations(f, y, times.double())
    repeated = equations(f.repeat_interleave(times, 0), y.repeat_interleave(times, 0), splits=(int(times.sum()),))
    torch.testing.assert_close(once.solve()[0], repeated.solve()[0], rtol=1e-9, atol=1e-9)
    assert once.count == int((times > 0).sum())


def test_ridge_is_relative_to_the_mean_square_of_the_features_and_spares_the_bias():
    f, y = data()
    penalty = 0.3 * float(f.square().mean() * SAMPLES)
    rows = torch.eye(FEATURES, dtype=f.dtype) * penalty**0.5  # samples of target 0 that see no bias
    columns = torch.cat([torch.cat([f, torch.ones(SAMPLES, 1)], 1), torch.cat([rows, torch.zeros(FEATURES, 1)], 1)])
    expected = torch.linalg.lstsq(columns, torch.cat([y, torch.zeros(FEATURES, OUTPUTS)])).solution.T
    weight, bias, _ = equations(f, y).solve(ridge=0.3)
    torch.testing.assert_close(torch.cat([weight, bias[:, None]], 1), expected, rtol=1e-8, atol=1e-8)
    scaled, _, _ = equations(100 * f, y).solve(ridge=0.3)
    torch.testing.assert_close(100 * scaled, weight)


@pytest.mark.parametrize("extra", ["duplicate", "zero", "constant"])
def test_singular_equations_give_the_same_fitted_values(extra):
    f, y = data()
    column = {"duplicate": f[:, :1], "zero": torch.zeros(SAMPLES, 1), "constant": torch.full((SAMPLES, 1), 3.0)}[extra]
    singular = torch.cat([f, column], dim=1)
    weight, bias, solver = equations(singular, y).solve(ridge=0.0)
    assert solver == "pseudo-inverse"
    expected = least_squares(f, y)
    fitted = f @ expected[:, :-1].T + expected[:, -1]
    torch.testing.assert_close(singular @ weight.T + bias, fitted, rtol=1e-7, atol=1e-7)


def test_errors_are_those_of_the_samples():
    f, y = data()
    weights = values(SAMPLES, seed=3).square()
    fit = equations(f, y, weights)
    weight, bias, _ = fit.solve(1e-3)
    residual = f @ weight.T + bias - y
    torch.testing.assert_close(fit.squared_error(weight, bias), (weights[:, None] * residual.square()).sum(0))
    mean = (weights[:, None] * y).sum(0) / weights.sum()
    deviation = (weights[:, None] * (y - mean).square()).sum()
    direct = ((weights[:, None] * residual.square()).sum() / deviation).sqrt()
    assert fit.relative_error(weight, bias) == pytest.approx(float(direct), rel=1e-8)
    assert fit.relative_error(torch.zeros_like(weight), mean) == pytest.approx(1.0)
    assert float(fit.target_variance().sum() * weights.sum()) == pytest.approx(float(deviation))


def test_constant_targets_have_no_error_to_speak_of():
    f, _ = data()
    for constant in (0.0, 0.1):
        fit = equations(f, torch.full((SAMPLES, 1), constant, dtype=f.dtype))
        assert fit.relative_error(*fit.solve()[:2]) < 1e-2


def test_moments_are_those_of_the_samples():
    f, y = data()
    mean, target_mean, covariance, cross = equations(f, y).moments()
    torch.testing.assert_close(mean, f.mean(0))
    torch.testing.assert_close(target_mean, y.mean(0))
    torch.testing.assert_close(covariance, torch.cov(f.T, correction=0))
    torch.testing.assert_close(cross, (f - f.mean(0)).T @ (y - y.mean(0)) / SAMPLES)
    mean, target_mean, covariance, cross = equations(f, y, bias=False).moments()
    assert not mean.any() and not target_mean.any()
    torch.testing.assert_close(covariance, f.T @ f / SAMPLES)
    torch.testing.assert_close(cross, f.T @ y / SAMPLES)


def test_unusable_samples_are_refused():
    f, y = data()
    few = equations(f[:FEATURES], y[:FEATURES], splits=(FEATURES,), name="layers.3")
    with pytest.raises(ValueError, match="layers.3: 7 samples cannot determine 7 features and a bias: give at least 8"):
        few.solve()
    equations(f[:FEATURES], y[:FEATURES], splits=(FEATURES,), bias=False).solve()
    with pytest.raises(ValueError, match="0 samples"):
        equations(f, y, torch.zeros(SAMPLES)).solve()
    with pytest.raises(ValueError, match="no samples of positive weight"):
        equations(f, y, torch.zeros(SAMPLES)).moments()
    for value in (float("nan"), float("inf")):
        broken = torch.where(torch.arange(SAMPLES)[:, None] == 5, value, f)
        with pytest.raises(ValueError, match="features of layers.3 hold NaN or infinity"):
            equations(broken, y, name="layers.3")
        with pytest.raises(ValueError, match="targets of layers.3 hold NaN or infinity"):
            equations(f, broken[:, :OUTPUTS], name="layers.3")
    for ridge in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"ridge is {ridge}; it must be 0 or more"):
            equations(f, y).solve(ridge)
