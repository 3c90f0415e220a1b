"""MLP: which layers are replaced, what follows them, and a start that neither fades nor explodes."""

from functools import partial

import pytest
import torch
from torch import nn

from eugen_fields.layers import (
    LAYER_KINDS,
    MLP,
    EUGenLinear,
    LowRankLinear,
    PRPLinear,
    ResidualEUGenLayer,
    SNNKLinear,
    layer_options,
)

KINDS = {
    "dense": (nn.Linear, {}),
    "eugen": (EUGenLinear, {"num_features": 16}),
    "eugen-residual": (ResidualEUGenLayer, {"num_features": 16}),
    "prp": (PRPLinear, {}),
    "low-rank": (LowRankLinear, {"rank": 8}),
    "snnk": (SNNKLinear, {"num_features": 16}),
}
every_kind = pytest.mark.parametrize("layer", KINDS)
as_wide = pytest.mark.parametrize("layer", [layer for layer in KINDS if layer != "eugen-residual"])
"""Kinds whose layers have the MLP's width; those that append are tested in test_residual.py."""


def values(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def remember(outputs, module, inputs, output):
    outputs[module] = output.detach()


def test_all_kinds_are_covered_here():
    assert set(KINDS) == set(LAYER_KINDS)


@every_kind
@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (0,)])
@pytest.mark.parametrize("out_dim", [4, None])
def test_shapes(layer, leading, out_dim):
    mlp = MLP(3, 4, 12, out_dim, layer=layer, skip_connections=(2,), seed=0, **KINDS[layer][1])
    assert mlp.out_dim == (out_dim or (3 + 4 * 16 if layer == "eugen-residual" else 12))
    assert mlp(values(*leading, 3)).shape == (*leading, mlp.out_dim)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(layer, dtype):
    mlp = MLP(3, 4, 12, 2, layer=layer, skip_connections=(2,), seed=0, **KINDS[layer][1]).to(dtype)
    y = mlp(values(5, 3, dtype=dtype))
    assert y.dtype == dtype and bool(torch.isfinite(y).all())


@as_wide
@pytest.mark.parametrize(
    "replace, out_dim, replaced",
    [
        (None, 4, (1, 2, 3, 4)),
        (None, None, (1, 2, 3, 4, 5)),
        ((2, 3), 4, (2, 3)),
        ([3, 2, 3], 4, (2, 3)),
        ((0, 5), 4, (0, 5)),
        ((), 4, ()),
    ],
)
def test_exactly_the_named_layers_are_replaced(layer, replace, out_dim, replaced):
    mlp = MLP(3, 6, 12, out_dim, layer=layer, replace=replace, **KINDS[layer][1])
    assert mlp.replace == replaced
    for index, module in enumerate(mlp.layers):
        assert type(module) is (KINDS[layer][0] if index in replaced else nn.Linear)


@as_wide
def test_forward_written_out(layer):
    mlp = MLP(3, 4, 12, 2, layer=layer, skip_connections=(2, 3), activation="tanh", seed=0, **KINDS[layer][1])
    x = values(5, 3)
    after = (lambda h: h) if layer in ("eugen", "snnk") else torch.tanh  # these hold their own non-linearity
    h = torch.tanh(mlp.layers[0](x))
    h = after(mlp.layers[1](h))
    h = after(mlp.layers[2](torch.cat([x, h], dim=-1)))
    torch.testing.assert_close(mlp(x), mlp.layers[3](torch.cat([x, h], dim=-1)))


@as_wide
@pytest.mark.parametrize("replace", [None, (3,)])
def test_out_activation_follows_the_last_layer_whatever_its_kind(layer, replace):
    options = dict(layer=layer, replace=replace, seed=0, **KINDS[layer][1])
    torch.manual_seed(0)
    bare = MLP(3, 4, 12, 2, **options)
    torch.manual_seed(0)
    squashed = MLP(3, 4, 12, 2, out_activation="sigmoid", **options)
    x = values(5, 3)
    torch.testing.assert_close(squashed(x), torch.sigmoid(bare(x)))


@pytest.mark.parametrize("layer", ["dense", "prp", "low-rank"])
def test_trunk_without_out_dim_ends_in_the_hidden_activation(layer):
    mlp = MLP(3, 3, 12, None, layer=layer, seed=0, **KINDS[layer][1])
    y = mlp(values(50, 3)).detach()
    assert float(y.min()) == 0.0 and float(y.max()) > 0.0


def test_one_layer_is_one_linear_map():
    mlp = MLP(3, 1, 12, 2)
    assert len(mlp.layers) == 1
    x = values(5, 3)
    torch.testing.assert_close(mlp(x), mlp.layers[0](x))


@every_kind
def test_bias_option_reaches_the_replaced_layers(layer):
    mlp = MLP(3, 4, 12, 2, layer=layer, bias=False, **KINDS[layer][1])
    assert all(mlp.layers[index].bias is None for index in mlp.replace)


@every_kind
def test_seed_decides_the_replaced_layers(layer):
    make = lambda seed: MLP(3, 4, 12, 2, layer=layer, seed=seed, **KINDS[layer][1])
    torch.manual_seed(0)
    first = make(None)
    torch.manual_seed(0)
    second = make(None)
    x = values(5, 3)
    assert torch.equal(first(x), second(x))
    if layer != "dense":
        a, b, c = make(5), make(5), make(6)
        same = [torch.equal(p, q) for p, q in zip(a.layers[1].parameters(), b.layers[1].parameters())]
        assert same and all(same)
        assert not torch.equal(next(a.layers[1].parameters()), next(c.layers[1].parameters()))
        assert not torch.equal(next(a.layers[1].parameters()), next(a.layers[2].parameters()))


@pytest.mark.parametrize("layer", KINDS)
@pytest.mark.parametrize("skip_connections", [(), (4,)])
def test_eight_layers_keep_activations_in_a_sane_range(layer, skip_connections):
    sizes = {"eugen": {"num_features": 64}, "low-rank": {"rank": 32}, "snnk": {"num_features": 64}}
    options = sizes.get(layer, {})
    x = values(256, 32)
    squares = []
    for seed in range(4):
        torch.manual_seed(seed)
        mlp = MLP(32, 8, 64, None, layer=layer, skip_connections=skip_connections, seed=seed, **options)
        outputs = {}
        for module in mlp.layers:
            module.register_forward_hook(partial(remember, outputs))
        mlp(x)
        squares.append([float(h.square().mean()) for h in outputs.values()])
    means = torch.tensor(squares).mean(dim=0)
    assert len(means) == 8
    assert float(means.min()) > 0.1 and float(means.max()) < 10.0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"in_dim": 0}, "in_dim is 0"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"layer_width": -4}, "layer_width is -4"),
        ({"out_dim": 0}, "out_dim is 0"),
        ({"layer": "sparse"}, "layer is 'sparse'"),
        ({"activation": "swoosh"}, "activation is 'swoosh'"),
        ({"out_activation": "swoosh"}, "activation is 'swoosh'"),
        ({"replace": (4,)}, "replace names layer 4"),
        ({"replace": (-1,)}, "replace names layer -1"),
        ({"skip_connections": (4,)}, "skip_connections names layer 4"),
        ({"skip_connections": (-1,)}, "skip_connections names layer -1"),
        ({"skip_connections": (0,)}, "skip_connections names layer 0"),
        ({"rank": 3}, "eugen layers have no option 'rank'"),
        ({"layer": "prp", "num_features": 3}, "prp layers have no option 'num_features'"),
        ({"layer": "snnk", "order": 2}, "snnk layers have no option 'order'"),
        ({"layer": "dense", "order": 2}, "dense layers have no option 'order'"),
        ({"num_features": 0}, "num_features is 0"),
        ({"layer": "low-rank", "rank": 0}, "rank is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    arguments = {"in_dim": 3, "num_layers": 4, "layer_width": 12, "out_dim": 2, **options}
    with pytest.raises(ValueError, match=message):
        MLP(**arguments)


def test_layer_options_name_what_a_kind_takes():
    assert layer_options("dense") == ["bias"]
    assert set(layer_options("prp")) == {"matrix", "rank", "bias"}
    assert set(layer_options("low-rank")) == {"rank", "bias"}
    assert set(layer_options("snnk")) == {"num_features", "train_projections", "bias"}
    assert {"num_features", "order", "init", "norm"} < set(layer_options("eugen"))
    with pytest.raises(ValueError, match="layer is 'sparse'"):
        layer_options("sparse")
