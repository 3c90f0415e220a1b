"""What every layer keeps: shapes, dtypes, clear refusals, and first and second derivatives."""

import pytest
import torch
from support.layer_checks import assert_derivatives, perturbed, values
from support.pairwise import pairwise

from eugen_fields.layers import MLP, EUGenLinear, LowRankLinear, PRPLinear, ResidualEUGenLayer, SNNKLinear

LAYERS = {
    "eugen": lambda i, o, **k: EUGenLinear(i, o, num_features=5, seed=1, **k),
    "eugen order 3": lambda i, o, **k: EUGenLinear(i, o, num_features=5, order=3, seed=1, **k),
    "eugen projection bias": lambda i, o, **k: EUGenLinear(i, o, num_features=5, projection_bias=True, seed=1, **k),
    "eugen fixed": lambda i, o, **k: EUGenLinear(i, o, num_features=5, train_projections=False, seed=1, **k),
    "eugen-residual": lambda i, o, **k: ResidualEUGenLayer(i, num_features=o, seed=1, **k),
    "prp": lambda i, o, **k: PRPLinear(i, o, **k),
    "prp rank": lambda i, o, **k: PRPLinear(i, o, rank=2, **k),
    "low-rank": lambda i, o, **k: LowRankLinear(i, o, rank=2, **k),
    "snnk": lambda i, o, **k: SNNKLinear(i, o, num_features=5, seed=1, **k),
    "snnk fixed": lambda i, o, **k: SNNKLinear(i, o, num_features=5, train_projections=False, seed=1, **k),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@every_layer
def test_leading_dimensions_are_kept_and_rows_are_independent(make):
    torch.manual_seed(0)
    layer = make(6, 3)
    for leading in ((), (4,), (2, 3), (2, 1, 3), (0,), (2, 0)):
        x = values(*leading, 6, dtype=torch.float32)
        y = layer(x)
        assert y.shape == (*leading, layer.out_features)
        assert layer.out_features == 3 + (6 if isinstance(layer, ResidualEUGenLayer) else 0)
        rows = [layer(row) for row in x.reshape(-1, 6)]
        if rows:
            torch.testing.assert_close(y.reshape(-1, layer.out_features), torch.stack(rows))


@every_layer
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-5), (torch.float32, 0.0), (torch.bfloat16, 5e-2)])
def test_dtype_of_the_module_is_the_dtype_of_the_output(make, dtype, tolerance):
    torch.manual_seed(0)
    layer = make(16, 8)
    x = values(50, 16, dtype=torch.float32)
    expected = layer(x)
    y = layer.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(
        y.float(), expected, rtol=tolerance, atol=tolerance * float(expected.detach().abs().max())
    )


@every_layer
def test_default_dtype_is_taken(make):
    torch.set_default_dtype(torch.float64)
    try:
        layer = make(4, 3)
    finally:
        torch.set_default_dtype(torch.float32)
    floating = [value for value in (*layer.parameters(), *layer.buffers()) if value.is_floating_point()]
    assert floating and all(value.dtype == torch.float64 for value in floating)


@every_layer
def test_bias_is_added_or_absent(make):
    torch.manual_seed(0)
    layer = make(4, 3)
    x = values(5, 4, dtype=torch.float32)
    without = layer(x)
    assert torch.equal(layer.bias, torch.zeros(3))
    if not isinstance(layer, ResidualEUGenLayer):  # there it is inside of the activation
        with torch.no_grad():
            layer.bias.copy_(torch.tensor([1.0, -2.0, 3.0]))
        torch.testing.assert_close(layer(x), without + torch.tensor([1.0, -2.0, 3.0]))
    torch.manual_seed(0)
    plain = make(4, 3, bias=False)
    assert plain.bias is None and "bias" not in plain.state_dict()
    torch.testing.assert_close(plain(x), without)


@every_layer
def test_every_parameter_gets_a_gradient(make):
    torch.manual_seed(0)
    layer = perturbed(make(6, 3))
    layer(values(8, 6)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.abs().max() > 0), name


@pytest.mark.parametrize(
    "order_and_activation, share_projections, norm",
    pairwise([(1, "softplus"), (2, "sine"), (3, "tanh"), (4, "softplus"), (2, None)], [True, False], [True, False]),
)
def test_eugen_derivatives(order_and_activation, share_projections, norm):
    order, activation = order_and_activation
    layer = EUGenLinear(
        3,
        2,
        num_features=2,
        order=order,
        feature_activation=activation,
        norm=norm,
        share_projections=share_projections,
        seed=4,
    )
    assert_derivatives(perturbed(layer), values(2, 3, seed=order))


def test_eugen_derivatives_with_relu_away_from_kinks():
    layer = perturbed(EUGenLinear(3, 2, num_features=4, feature_activation="relu", seed=4))
    x = values(3, 3, seed=2)
    plus = torch.cat([x, x.norm(dim=-1, keepdim=True)], dim=-1)
    assert float((plus @ layer.projection_matrices().T).detach().abs().min()) > 1e-3
    assert_derivatives(layer, x)


def test_eugen_derivatives_with_fixed_projections():
    layer = EUGenLinear(3, 2, num_features=3, order=2, train_projections=False, feature_activation="sine", seed=4)
    assert_derivatives(perturbed(layer), values(2, 3))


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("matrix", ["gaussian", "ternary", "orthogonal", "hadamard"])
def test_prp_derivatives(matrix, rank):
    assert_derivatives(perturbed(PRPLinear(4, 3, matrix=matrix, rank=rank, seed=2)), values(2, 4))


def test_low_rank_derivatives():
    torch.manual_seed(0)
    assert_derivatives(perturbed(LowRankLinear(4, 3, rank=2)), values(2, 4))


@pytest.mark.parametrize("train_projections", [True, False])
def test_snnk_derivatives(train_projections):
    layer = SNNKLinear(3, 2, num_features=3, train_projections=train_projections, seed=4)
    assert_derivatives(perturbed(layer), values(2, 3))


@pytest.mark.parametrize(
    "layer, options",
    [
        ("dense", {}),
        ("eugen", {"num_features": 2, "feature_activation": "softplus"}),
        ("eugen", {"num_features": 2, "order": 2, "feature_activation": "sine"}),
        ("eugen-residual", {"num_features": 2, "feature_activation": "softplus"}),
        ("eugen-residual", {"num_features": 2, "feature_activation": "softplus", "replace": (1, 2)}),
        ("prp", {"rank": 1}),
        ("low-rank", {"rank": 2}),
        ("snnk", {"num_features": 2}),
    ],
)
def test_mlp_derivatives_with_a_skip_connection(layer, options):
    torch.manual_seed(0)
    mlp = MLP(2, 4, 3, 2, layer=layer, skip_connections=(2,), activation="softplus", seed=3, **options)
    assert_derivatives(perturbed(mlp), values(2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_norm_column_has_finite_first_and_second_derivatives_at_zero(order, dtype):
    layer = EUGenLinear(3, 2, num_features=4, order=order, feature_activation="softplus", seed=0).to(dtype)
    x = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
    inputs = [x, *layer.parameters()]
    first = torch.autograd.grad(layer(x).sum(), inputs, create_graph=True)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in first)
    second = torch.autograd.grad(sum(gradient.sum() for gradient in first), inputs, allow_unused=True)
    assert all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in second)
    assert second[0] is not None


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_features": 0}, "num_features is 0"),
        ({"num_features": -3}, "num_features is -3"),
        ({"in_features": 0}, "in_features is 0"),
        ({"out_features": -1}, "out_features is -1"),
        ({"order": 0}, "order is 0"),
        ({"order": 5}, "order is 5"),
        ({"init": "sparse"}, "init is 'sparse'"),
        ({"feature_activation": "swoosh"}, "activation is 'swoosh'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_eugen_refuses_wrong_options_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        EUGenLinear(**{"in_features": 4, "out_features": 3, **options})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"in_features": 0}, "0 and 3"),
        ({"out_features": -2}, "4 and -2"),
        ({"matrix": "fourier"}, "matrix is 'fourier'"),
        ({"rank": -1}, "rank is -1"),
        ({"seed": -5}, "seed is -5"),
    ],
)
def test_prp_refuses_wrong_options_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        PRPLinear(**{"in_features": 4, "out_features": 3, **options})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"in_features": 0}, "in_features is 0"),
        ({"out_features": -2}, "out_features is -2"),
        ({"num_features": 0}, "num_features is 0"),
        ({"activation": "swoosh"}, "activation is 'swoosh'"),
        ({"activation": torch.zeros_like}, "constant"),
        ({"seed": -5}, "seed is -5"),
    ],
)
def test_snnk_refuses_wrong_options_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        SNNKLinear(**{"in_features": 4, "out_features": 3, **options})


@pytest.mark.parametrize("rank", [0, -2])
def test_low_rank_refuses_ranks_below_one(rank):
    with pytest.raises(ValueError, match=f"rank is {rank}"):
        LowRankLinear(4, 3, rank=rank)
