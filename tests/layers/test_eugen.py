"""EUGenLinear against its formula, its special cases and its variance-preserving start."""

import math

import pytest
import torch
from support.pairwise import pairwise

from eugen_fields.layers import EUGenLinear, LowRankLinear
from eugen_fields.layers.activations import get_activation


def values(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def written_out(layer, x):
    """W Phi(concat_{i=1..k} prod_{j<=i} G_ij x+) + b, row by row, with x+ = [x; |x|; 1]."""
    blocks = layer.projection_matrices().split(layer.num_features)
    if layer.share_projections:
        matrices = {(i, j): blocks[j - 1] for i in range(1, layer.order + 1) for j in range(1, i + 1)}
    else:
        pairs = [(i, j) for i in range(1, layer.order + 1) for j in range(1, i + 1)]
        assert len(pairs) == len(blocks)
        matrices = dict(zip(pairs, blocks))
    rows = []
    for row in x:
        plus = torch.cat([row, row.norm()[None]]) if layer.norm else row
        plus = torch.cat([plus, plus.new_ones(1)]) if layer.projection_bias else plus
        orders = []
        for i in range(1, layer.order + 1):
            product = torch.ones(layer.num_features, dtype=x.dtype)
            for j in range(1, i + 1):
                product = product * (matrices[i, j] @ plus)
            orders.append(product)
        features = get_activation(layer.feature_activation)(torch.cat(orders))
        rows.append(layer.weight @ features + layer.bias)
    return torch.stack(rows)


@pytest.mark.parametrize(
    "order, share_projections, norm, projection_bias, activation",
    pairwise([1, 2, 3, 4], [True, False], [True, False], [True, False], ["relu", None, "softplus"]),
)
def test_forward_is_the_formula_written_out(order, share_projections, norm, projection_bias, activation):
    layer = EUGenLinear(
        7,
        5,
        num_features=6,
        order=order,
        feature_activation=activation,
        norm=norm,
        share_projections=share_projections,
        projection_bias=projection_bias,
        seed=2,
    ).double()
    with torch.no_grad():
        layer.bias.copy_(values(5, seed=9))
    x = values(11, 7)
    torch.testing.assert_close(layer(x), written_out(layer, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("share_projections, count", [(True, (1, 2, 3, 4)), (False, (1, 3, 6, 10))])
@pytest.mark.parametrize("norm", [True, False])
def test_parameter_count(share_projections, count, norm):
    for order, projections in zip((1, 2, 3, 4), count):
        layer = EUGenLinear(7, 5, num_features=6, order=order, share_projections=share_projections, norm=norm)
        expected = projections * 6 * (7 + norm) + 5 * order * 6 + 5
        assert sum(parameter.numel() for parameter in layer.parameters()) == expected


def test_identity_features_without_norm_are_a_low_rank_layer():
    layer = EUGenLinear(7, 5, num_features=3, feature_activation=None, norm=False, seed=1)
    low_rank = LowRankLinear(7, 5, rank=3)
    with torch.no_grad():
        low_rank.down.copy_(layer.projections)
        low_rank.up.copy_(layer.weight)
    x = values(9, 7, dtype=torch.float32)
    torch.testing.assert_close(layer(x), low_rank(x))


@pytest.mark.parametrize("activation", ["relu", None])
def test_order_one_is_homogeneous_at_the_start(activation):
    layer = EUGenLinear(7, 5, num_features=6, feature_activation=activation, seed=1).double()
    x = values(9, 7)
    torch.testing.assert_close(layer(10.0 * x), 10.0 * layer(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "order, init, share_projections, activation, norm",
    pairwise(
        [1, 2, 3, 4],
        ["gaussian", "rademacher", "orthogonal"],
        [True, False],
        ["relu", None, "softplus"],
        [True, False],
    ),
)
def test_unit_variance_stays_near_one_at_the_start(order, init, share_projections, activation, norm):
    x = values(256, 48, seed=3, dtype=torch.float32)
    squares = []
    for seed in range(8):
        layer = EUGenLinear(
            48,
            64,
            num_features=128,
            order=order,
            init=init,
            share_projections=share_projections,
            feature_activation=activation,
            norm=norm,
            seed=seed,
        )
        squares.append(float(layer(x).detach().square().mean()))
    assert sum(squares) / len(squares) == pytest.approx(1.0, abs=0.05 * (order + 1))


def test_fixed_projections_are_not_stored_and_not_trained():
    fixed = EUGenLinear(7, 5, num_features=6, train_projections=False, seed=3)
    trained = EUGenLinear(7, 5, num_features=6, train_projections=True, seed=3)
    assert set(fixed.state_dict()) == {"seed", "weight", "bias"}
    assert set(trained.state_dict()) == {"projections", "weight", "bias"}
    assert {name for name, _ in fixed.named_parameters()} == {"weight", "bias"}
    x = values(9, 7, dtype=torch.float32)
    assert torch.equal(fixed(x), trained(x))


def test_loading_another_seed_draws_its_projections():
    source = EUGenLinear(7, 5, num_features=6, order=2, train_projections=False, seed=3)
    target = EUGenLinear(7, 5, num_features=6, order=2, train_projections=False, seed=4)
    x = values(9, 7, dtype=torch.float32)
    assert not torch.equal(source(x), target(x))
    target.load_state_dict(source.state_dict())
    assert int(target.seed) == 3
    assert torch.equal(source(x), target(x))


def test_projections_of_different_orders_differ():
    blocks = EUGenLinear(7, 5, num_features=6, order=3, seed=3).projection_matrices().split(6)
    for a in range(len(blocks)):
        for b in range(a):
            assert not torch.equal(blocks[a], blocks[b])


def test_seed_decides_the_layer_and_none_follows_torch():
    make = lambda seed: EUGenLinear(7, 5, num_features=6, seed=seed)
    assert torch.equal(make(1).projections, make(1).projections) and torch.equal(make(1).weight, make(1).weight)
    assert not torch.equal(make(1).projections, make(2).projections)
    torch.manual_seed(8)
    first = make(None).projections
    torch.manual_seed(8)
    assert torch.equal(first, make(None).projections)
    assert not torch.equal(first, make(None).projections)


def test_projections_keep_the_variance_of_the_input():
    x = values(500, 40, dtype=torch.float32)
    for norm in (True, False):
        layer = EUGenLinear(40, 5, num_features=4000, feature_activation=None, norm=norm, init="gaussian", seed=0)
        projected = layer.features(x)
        # over the draws of G each projection of x is N(0, |x|^2 / 40); 4,000 of them per input
        second_moment = float(projected.detach().square().mean())
        assert second_moment == pytest.approx(float(x.square().mean()), rel=5 * math.sqrt(2 / 4000))


@pytest.mark.parametrize("norm", [True, False])
def test_projection_matrices_can_be_read_and_set(norm):
    layer = EUGenLinear(7, 5, num_features=6, norm=norm, projection_bias=True, seed=0).double()
    other = EUGenLinear(7, 5, num_features=6, norm=norm, projection_bias=True, seed=1).double()
    other.set_projection_matrices(layer.projection_matrices())
    torch.testing.assert_close(other.projections, layer.projections)
    with pytest.raises(ValueError, match="projections are"):
        other.set_projection_matrices(layer.projection_matrices()[:, 1:])
    fixed = EUGenLinear(7, 5, num_features=6, train_projections=False, norm=norm, projection_bias=True)
    with pytest.raises(ValueError, match="drawn from its seed"):
        fixed.set_projection_matrices(layer.projection_matrices())
