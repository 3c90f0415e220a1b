"""SNNKLinear: its formula, the series behind it, the unbiased estimator, and its place among EUGen layers."""

import math

import pytest
import torch
from torch import nn

from eugen_fields.layers import SNNKLinear
from eugen_fields.layers.activations import get_activation
from eugen_fields.layers.snnk import cosine_series, evaluate_series


def values(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense(in_features, out_features, size, seed=0):
    """A float64 linear layer whose rows have norms about `size`."""
    linear = nn.Linear(in_features, out_features).double()
    with torch.no_grad():
        linear.weight.copy_(size / math.sqrt(in_features) * values(out_features, in_features, seed=seed))
        linear.bias.copy_(0.3 * values(out_features, seed=seed + 1))
    return linear


def test_forward_is_the_formula_written_out():
    layer = SNNKLinear(7, 5, num_features=6, seed=2).double()
    with torch.no_grad():
        layer.bias.copy_(values(5, seed=9))
    x = values(11, 7)
    rows = []
    for row in x:
        features = []
        for projection in layer.projections:
            alpha = projection[-1] / math.sqrt(7)
            features.append(torch.exp(projection[:-1] @ row - alpha**2 * (row @ row) / 2))
        rows.append(layer.weight @ torch.stack(features) + layer.bias)
    torch.testing.assert_close(layer(x), torch.stack(rows), rtol=1e-10, atol=1e-10)


def test_parameter_count_and_state():
    trained = SNNKLinear(7, 5, num_features=6, seed=3)
    fixed = SNNKLinear(7, 5, num_features=6, train_projections=False, seed=3)
    assert sum(parameter.numel() for parameter in trained.parameters()) == 6 * (7 + 1) + 5 * 6 + 5
    assert set(trained.state_dict()) == {"projections", "weight", "bias"}
    assert set(fixed.state_dict()) == {"seed", "weight", "bias"}
    x = values(4, 7, dtype=torch.float32)
    assert torch.equal(fixed(x), trained(x))
    other = SNNKLinear(7, 5, num_features=6, train_projections=False, seed=4)
    other.load_state_dict(fixed.state_dict())
    assert torch.equal(other(x), fixed(x))


@pytest.mark.parametrize("activation", ["relu", "softplus", "sine"])
@pytest.mark.parametrize("in_features", [16, 96])
def test_unit_variance_stays_near_one_at_the_start(in_features, activation):
    x = values(512, in_features, seed=3, dtype=torch.float32)
    squares = []
    for seed in range(8):
        layer = SNNKLinear(in_features, 64, num_features=128, activation=activation, seed=seed)
        squares.append(float(layer(x).detach().square().mean()))
    assert sum(squares) / len(squares) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("activation", ["relu", "sine"])
def test_frequencies_follow_the_fourier_series_of_the_activation(activation):
    # at the start beta_j^2 is proportional to the drawn harmonic, with mean 1/2
    beta = SNNKLinear(8, 4, num_features=4000, activation=activation, seed=0).projections[:, -1].detach().double()
    assert float(beta.square().mean()) == pytest.approx(0.5, abs=1e-5)
    sizes = cosine_series(get_activation(activation), (-4.0, 4.0), 8)[1:].abs()
    harmonics = torch.arange(1, 9, dtype=torch.float64)
    scale = float((sizes * harmonics).sum() / sizes.sum()) / 0.5
    counts = torch.tensor([float(((beta.square() * scale - n).abs() < 0.3).sum()) for n in harmonics])
    assert float((counts / 4000 - sizes / sizes.sum()).abs().max()) < 5 * math.sqrt(0.25 / 4000)


@pytest.mark.parametrize("activation", ["relu", "softplus", "gelu", "sine"])
def test_series_converges_to_the_activation_on_its_interval(activation):
    interval = (-2.0, 3.0)
    t = torch.linspace(*interval, 501, dtype=torch.float64)
    truth = get_activation(activation)(t)
    errors = []
    for count in (8, 32, 128):
        series = evaluate_series(cosine_series(get_activation(activation), interval, count), interval, t)
        errors.append(float((series - truth).abs().max()))
    assert errors[0] < 0.2 and errors[2] < errors[0] / 8 and errors == sorted(errors, reverse=True)


def test_series_of_one_of_its_waves_is_that_wave():
    interval = (-1.0, 2.0)
    wave = lambda t: 0.7 + torch.cos(3 * math.pi * (t + 1.0) / 3.0)
    expected = torch.tensor([0.7, 0, 0, 1, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(cosine_series(wave, interval, 5), expected, rtol=0, atol=1e-12)
    layer = SNNKLinear.from_linear(dense(4, 3, 0.5), wave, num_features=6, interval=interval, seed=0)
    assert layer.series_error is not None and layer.series_error < 1e-12


def estimates(layer, x, draws):
    """The `draws` independent estimators that one layer of draws * m features holds (rows of its projections are
    independent but for blocks of in_features of them), shape (draws, inputs, out_features)."""
    with torch.no_grad():
        features = layer.features(x).unflatten(-1, (draws, -1))
        return draws * torch.einsum("rnm,onm->nro", features, layer.weight.unflatten(-1, (draws, -1))) + layer.bias


@pytest.mark.parametrize("activation, bias", [("relu", True), ("relu", False), ("softplus", True), ("gelu", True)])
def test_estimator_is_unbiased_for_the_series(activation, bias):
    d, interval = 8, (-2.0, 2.0)
    linear = dense(d, 4, 0.5)
    if not bias:
        linear.bias = None
    x = 0.8 / math.sqrt(d) * values(5, d, seed=7)
    coefficients = cosine_series(get_activation(activation), interval, 6)
    expected = evaluate_series(coefficients, interval, linear(x).detach())
    options = {"num_features": 120 * 150, "interval": interval, "num_frequencies": 6, "input_norm": 0.8}
    layer = SNNKLinear.from_linear(linear, activation, seed=0, **options)
    draws = estimates(layer, x, 150)
    torch.testing.assert_close(draws.mean(dim=0), layer(x).detach(), rtol=1e-9, atol=1e-9)
    standard_error = draws.std(dim=0) / math.sqrt(len(draws))
    assert float(standard_error.max()) < 0.05  # else the comparison would say nothing
    assert bool(((draws.mean(dim=0) - expected).abs() < 4 * standard_error).all())
    assert float((expected - get_activation(activation)(linear(x).detach())).abs().max()) <= layer.series_error + 1e-6


def test_estimator_is_unbiased_over_many_seeds():
    linear, x, interval = dense(8, 3, 0.5), 0.25 * values(4, 8, seed=7), (-2.0, 2.0)
    expected = evaluate_series(cosine_series(torch.relu, interval, 4), interval, linear(x).detach())
    options = {"num_features": 64, "interval": interval, "num_frequencies": 4, "input_norm": 0.7}
    draws = [SNNKLinear.from_linear(linear, "relu", seed=seed, **options)(x).detach() for seed in range(60)]
    standard_error = torch.stack(draws).std(dim=0) / math.sqrt(len(draws))
    assert float(standard_error.max()) < 0.05
    assert bool(((torch.stack(draws).mean(dim=0) - expected).abs() < 4 * standard_error).all())


def test_error_of_the_estimator_falls_with_the_number_of_features():
    linear, x, interval = dense(8, 4, 0.5), 0.28 * values(5, 8, seed=7), (-2.0, 2.0)
    expected = evaluate_series(cosine_series(torch.relu, interval, 4), interval, linear(x).detach())
    errors = []
    for num_features in (16, 256):
        options = {"num_features": 100 * num_features, "interval": interval, "num_frequencies": 4, "input_norm": 0.8}
        layer = SNNKLinear.from_linear(linear, "relu", seed=0, **options)
        errors.append(float((estimates(layer, x, 100) - expected).square().mean().sqrt()))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.3)


def test_snnk_is_eugen_with_exponential_phi_trigonometric_psi_and_one_projection_for_both_sides():
    """EUGen of order 1, Psi(G w+) . Phi(G x+), with G the same on both sides, Phi = exp, Psi(z) = cos(k z + theta).

    What holds exactly: (1) on inputs of one norm r, Phi(G x+) with norm column -alpha^2 r / 2 is SNNK's input side,
    since alpha^2 |x|^2 / 2 = (alpha^2 r / 2) |x|; for other inputs SNNK needs |x|^2 where EUGen has |x|. (2) The weight
    side is Psi of the same G on w (its norm column meets the 1 of w+, a constant that theta takes back), times factors
    of |w| and of the frequency, which are no function of G w+ and stay outside Psi.
    """
    d, m, r, interval = 6, 40, 1.3, (-2.0, 2.0)
    linear = dense(d, 3, 0.6)
    layer = SNNKLinear.from_linear(linear, "relu", num_features=m, interval=interval, num_frequencies=5, seed=1)
    body, alpha = layer.projections.detach()[:, :-1], layer.projections.detach()[:, -1] / math.sqrt(d)
    x = nn.functional.normalize(values(9, d), dim=-1) * r

    projections = torch.cat([body, -alpha[:, None].square() * r / 2], dim=1)  # G of both sides
    x_plus = torch.cat([x, x.norm(dim=-1, keepdim=True)], dim=1)
    w_plus = torch.cat([linear.weight.detach(), torch.ones(3, 1).double()], dim=1)
    phi = torch.exp(x_plus @ projections.T)
    torch.testing.assert_close(layer.features(x).detach(), phi, rtol=1e-10, atol=1e-10)

    squares = linear.weight.detach().square().sum(dim=1)
    balance = math.sqrt(d / float(squares.mean()))
    omega = balance * alpha.square()
    theta = omega * (linear.bias.detach()[:, None] - interval[0]) + balance * alpha.square() * r / 2
    psi = torch.cos(balance * (w_plus @ projections.T) + theta)
    harmonics = (omega * (interval[1] - interval[0]) / math.pi).round().long()
    coefficients = cosine_series(torch.relu, interval, 5)
    probabilities = coefficients[1:].abs() / coefficients[1:].abs().sum()
    outside = (
        coefficients[harmonics] / probabilities[harmonics - 1] / m * torch.exp(balance * omega * squares[:, None] / 2)
    )
    expected = coefficients[0] + phi @ (outside * psi).T
    torch.testing.assert_close(layer(x).detach(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_inputs_of_any_norm_give_finite_outputs_and_derivatives(dtype):
    layer = SNNKLinear(16, 4, num_features=8, seed=0)
    with torch.no_grad():
        layer.projections[0, :-1] *= 50.0  # a projection that training has made large
        layer.projections[1, -1] = 0.0
    layer = layer.to(dtype)
    aligned = layer.projections.detach()[:, :-1]
    for size in (0.0, 1.0, 30.0, 300.0 if dtype == torch.float16 else 1e16):
        x = (size * nn.functional.normalize(torch.cat([aligned, -aligned]).double(), dim=-1)).to(dtype)
        x.requires_grad_()
        y = layer(x)
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        for tensor in (y, first, second):
            assert bool(torch.isfinite(tensor).all()), (size, dtype)
    far = torch.full((1, 16), 60.0, dtype=dtype)
    clean = SNNKLinear(16, 4, num_features=8, seed=0).to(dtype)
    assert float(clean(far).detach().abs().max()) < 1e-6  # every feature has faded


@pytest.mark.parametrize(
    "options, message",
    [
        ({"interval": (1.0, -1.0)}, r"interval is \(1.0, -1.0\)"),
        ({"num_frequencies": 0}, "num_frequencies is 0"),
        ({"input_norm": 0.0}, "input_norm is 0.0"),
        ({"interval": (-0.01, 0.01)}, "take a wider interval"),
        ({"activation": "swoosh"}, "activation is 'swoosh'"),
        ({"num_features": 0}, "num_features is 0"),
    ],
)
def test_from_linear_refuses_by_name(options, message):
    arguments = {"activation": "relu", "num_features": 8, "interval": (-2.0, 2.0), "seed": 0, **options}
    with pytest.raises(ValueError, match=message):
        SNNKLinear.from_linear(dense(6, 4, 1.0), arguments.pop("activation"), **arguments)


def test_from_linear_keeps_the_dtype_and_follows_the_seed():
    linear = dense(6, 4, 0.5)
    make = lambda seed, like: SNNKLinear.from_linear(like, "relu", num_features=8, interval=(-2.0, 2.0), seed=seed)
    assert make(0, linear).weight.dtype == torch.float64 and make(0, linear.float()).weight.dtype == torch.float32
    assert torch.equal(make(0, linear).weight, make(0, linear).weight)
    assert not torch.equal(make(0, linear).weight, make(1, linear).weight)
