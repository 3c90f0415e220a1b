"""The explicit weight side: the definition written out, its precomputed form, folding, derivatives and refusals."""

import pytest
import torch
from support.layer_checks import assert_derivatives, perturbed, values
from torch import nn

from eugen_fields.layers import EUGenLinear, ExplicitEUGenLinear, fold
from eugen_fields.layers.activations import get_activation
from eugen_fields.layers.folding import FoldedMLP

VARIANTS = {
    "plain": {},
    "order 2": {"order": 2, "norm": False},
    "order 3 shared": {"order": 3, "share_projections": True, "bias": False},
    "order 4": {"order": 4, "coefficients": (0.5, -1.0, 0.25, 2.0, -0.125)},
    "activations": {"order": 2, "feature_activation": "softplus", "weight_activation": "tanh"},
    "callables": {"feature_activation": torch.cos, "weight_activation": torch.sin, "norm": False, "bias": False},
    "separate": {"order": 2, "separate_projections": True},
    "separate shared": {"order": 2, "separate_projections": True, "share_projections": True},
    "gaussian": {"order": 2, "init": "gaussian"},
    "rademacher": {"order": 2, "init": "rademacher"},
}
every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def build(options, in_features=6, out_features=4, num_features=5, seed=3):
    layer = ExplicitEUGenLinear(in_features, out_features, num_features=num_features, seed=seed, **options)
    return perturbed(layer)


def written_out(layer, x):
    """a_0 + sum_i (a_i / m) Psi(prod_j G_ij w+) . Phi(prod_j G_ij x+), for each row of x and of W by itself."""
    m, one = layer.num_features, torch.ones(1, dtype=x.dtype)
    left = layer.projections if layer.weight_projections is None else layer.weight_projections
    result = torch.zeros(len(x), layer.out_features, dtype=x.dtype)
    for n, row in enumerate(x):
        for r, w in enumerate(layer.weight):
            x_plus = torch.cat([row, *([row.norm()[None]] if layer.norm else [])])
            w_plus = torch.cat([w, *([one] if layer.norm else [])])
            if layer.bias is not None:
                x_plus, w_plus = torch.cat([x_plus, one]), torch.cat([w_plus, layer.bias[r : r + 1]])
            total, block = layer.coefficients[0], 0
            for i in range(1, layer.order + 1):
                block = 0 if layer.share_projections else block
                x_product, w_product = torch.ones(m, dtype=x.dtype), torch.ones(m, dtype=x.dtype)
                for _ in range(i):
                    rows = slice(block * m, (block + 1) * m)
                    x_product, w_product = (
                        x_product * (layer.projections[rows] @ x_plus),
                        w_product * (left[rows] @ w_plus),
                    )
                    block += 1
                psi = get_activation(layer.weight_activation)(w_product)
                phi = get_activation(layer.feature_activation)(x_product)
                total = total + layer.coefficients[i] / m * (psi @ phi)
            result[n, r] = total
    return result


@every_variant
def test_forward_is_the_definition(options):
    layer = build(options)
    x = values(3, 6)
    torch.testing.assert_close(layer(x), written_out(layer, x), rtol=1e-10, atol=1e-10)


@every_variant
def test_precomputed_form_has_the_same_outputs_and_gradients(options):
    layer = build(options)
    implicit = layer.precompute()
    assert isinstance(implicit, EUGenLinear) and implicit.weight.dtype == torch.float64
    x = values(2, 7, 6)
    torch.testing.assert_close(implicit(x), layer(x), rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.functional.jacobian(module, x[0, :2]) for module in (layer, implicit)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_precomputed_form_is_a_layer_of_its_own():
    layer = build({"order": 2})
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    implicit = layer.precompute()
    with torch.no_grad():
        for parameter in implicit.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert all(parameter.requires_grad for parameter in implicit.parameters())


@every_variant
def test_folding_precomputes(options):
    layer = build(options)
    x = values(9, 6)
    folded = fold(layer)
    assert isinstance(folded, FoldedMLP)
    torch.testing.assert_close(folded(x), layer(x), rtol=1e-10, atol=1e-10)
    # Remark IV: the Linear behind it disappears into the weight side
    network = perturbed(nn.Sequential(layer, nn.Linear(4, 3)))
    merged = fold(network)
    assert isinstance(merged, FoldedMLP)
    torch.testing.assert_close(merged(x), network(x), rtol=1e-10, atol=1e-10)


def test_folding_merges_the_linear_behind():
    network = nn.Sequential(ExplicitEUGenLinear(30, 30, num_features=8, seed=1), nn.Linear(30, 12))
    assert fold(network).multiplications() == 8 * 30 + 8 * 12


@every_variant
def test_first_and_second_derivatives(options):
    layer = build(options, in_features=3, out_features=2, num_features=2)
    assert_derivatives(layer, values(2, 3))


def test_derivatives_are_finite_at_zero():
    layer = build({"order": 2, "feature_activation": "softplus"})
    x = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert bool(torch.isfinite(first).all()) and bool(torch.isfinite(second).all())


@every_variant
def test_every_parameter_gets_a_gradient(options):
    layer = build(options)
    layer(values(8, 6)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.abs().max() > 0), name


@every_variant
@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (0,)])
def test_leading_dimensions_are_kept(options, leading):
    assert build(options)(values(*leading, 6)).shape == (*leading, 4)


@every_variant
def test_state_dict_round_trip(options):
    source, target = build(options, seed=3), ExplicitEUGenLinear(6, 4, num_features=5, seed=4, **options).double()
    x = values(5, 6)
    assert not torch.equal(source(x), target(x))
    target.load_state_dict(source.state_dict())
    assert torch.equal(source(x), target(x))


def test_separate_projections_differ_and_are_trained():
    layer = ExplicitEUGenLinear(6, 4, num_features=5, order=2, separate_projections=True, seed=0)
    shared = ExplicitEUGenLinear(6, 4, num_features=5, order=2, seed=0)
    own = layer.weight_projections
    assert own is not None and own.shape == layer.projections.shape and shared.weight_projections is None
    assert torch.equal(layer.projections, shared.projections)
    for a in own.split(5):
        assert all(not torch.equal(a, b) for b in layer.projections.split(5))
    assert "weight_projections" in dict(layer.named_parameters())


def test_seed_decides_the_layer_and_none_follows_torch():
    make = lambda seed: ExplicitEUGenLinear(6, 4, num_features=5, seed=seed)
    assert torch.equal(make(1).weight, make(1).weight) and torch.equal(make(1).projections, make(1).projections)
    assert not torch.equal(make(1).weight, make(2).weight)
    torch.manual_seed(8)
    first = make(None).projections
    torch.manual_seed(8)
    assert torch.equal(first, make(None).projections)


def test_dtype_of_the_module_is_the_dtype_of_the_output():
    layer = ExplicitEUGenLinear(6, 4, num_features=5, order=2, seed=1)
    x = values(5, 6, dtype=torch.float32)
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.bfloat16, 1e-1)):
        y = ExplicitEUGenLinear(6, 4, num_features=5, order=2, seed=1).to(dtype)(x.to(dtype))
        assert y.dtype == dtype
        scale = float(layer(x).detach().abs().max())
        torch.testing.assert_close(y.float(), layer(x), rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_features": 0}, "num_features is 0"),
        ({"in_features": 0}, "in_features is 0"),
        ({"out_features": -1}, "out_features is -1"),
        ({"order": 0}, "order is 0"),
        ({"order": 5}, "order is 5"),
        ({"init": "sparse"}, "init is 'sparse'"),
        ({"feature_activation": "swoosh"}, "activation is 'swoosh'"),
        ({"weight_activation": "swish"}, "activation is 'swish'"),
        ({"coefficients": (1.0,)}, "1 coefficients are given; order 1 needs a_0..a_1"),
        ({"coefficients": (1.0, float("inf"))}, "all must be finite"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        ExplicitEUGenLinear(**{"in_features": 4, "out_features": 3, **options})
