"""Tiled inference equals the folded network it stands for, whatever the network, the batch and the tile."""

import copy

import pytest
import torch
from support.fold_checks import KINDS, build, values
from torch import nn

from eugen_fields.kernels import TiledMLP, tiled
from eugen_fields.layers import MLP, fold
from eugen_fields.layers.folding.folded import FoldedMLP


def assert_equal(found, expected, share):
    assert found.shape == expected.shape and found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=share * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("skip", [(), (3,)])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_in_float64(name, skip):
    folded = fold(build(name, skip_connections=skip))
    x = values(23, 5)
    with torch.no_grad():
        assert_equal(TiledMLP(folded, 7)(x), folded(x), 1e-13)


@pytest.mark.parametrize("width", [64, 256])
@pytest.mark.parametrize(
    "layer, options",
    [
        ("dense", {}),
        ("prp", {"rank": 4}),
        ("low-rank", {"rank": 16}),
        ("snnk", {"num_features": 32}),
        ("eugen-residual", {"num_features": 28}),
        ("eugen", {"num_features": 16}),
        ("eugen", {"num_features": 128}),
        ("eugen", {"num_features": 16, "order": 2}),
        ("eugen", {"num_features": 32, "order": 2, "share_projections": True}),
        ("eugen", {"num_features": 8, "order": 4, "feature_activation": "tanh"}),
    ],
)
def test_fields_sized_networks_in_float32(layer, options, width):
    mlp = MLP(63, 4, width, 5, layer=layer, skip_connections=(2,), out_activation="sigmoid", seed=3, **options)
    folded, x = fold(mlp), torch.randn(61, 63, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert_equal(TiledMLP(folded, 16)(x), folded(x), 1e-5)


def test_everything_appended_is_an_output_of_its_own():
    folded, x = fold(build("eugen-residual", None)), values(23, 5)
    with torch.no_grad():
        found = TiledMLP(folded, 7)(x)
        assert found.shape == (23, 5 + 6 * 4)
        assert_equal(found, folded(x), 1e-13)


@pytest.mark.parametrize("activation", ["identity", "relu", "gelu", "silu", "softplus", "softplus100", "sine", "tanh"])
def test_activations(activation):
    folded = fold(MLP(5, 3, 12, 2, layer="dense", activation=activation).double())
    x = values(9, 5)
    with torch.no_grad():
        assert_equal(TiledMLP(folded, 4)(x), folded(x), 1e-14)


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9])
def test_batches_of_any_length_and_shape(rows):
    folded = fold(build("eugen"))
    x = values(rows, 2, 5)
    with torch.no_grad():
        found, one = TiledMLP(folded, 8)(x), TiledMLP(folded, 8)(x[:1, 0])
        assert found.shape == (rows, 2, 3)
        if rows:
            assert_equal(found, folded(x), 1e-13)
            assert_equal(one, found[:1, 0], 1e-13)


def test_rows_that_are_not_contiguous():
    folded = fold(build("prp"))
    x = values(5, 11).t()
    with torch.no_grad():
        assert_equal(TiledMLP(folded, 4)(x), folded(x), 1e-13)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["dense", "eugen", "eugen order 2", "snnk", "prp"])
def test_nan_and_infinity_come_through_and_stay_in_their_row(name, bad):
    folded = fold(build(name, skip_connections=(3,)))
    x = values(12, 5)
    x[5, 2] = bad
    with torch.no_grad():
        found, expected = TiledMLP(folded, 4)(x), folded(x)
    assert torch.equal(found.isfinite(), expected.isfinite())
    assert torch.equal(found.isnan(), expected.isnan())
    assert bool(found[torch.arange(12) != 5].isfinite().all())


def test_fixed_matrices_that_are_not_stored_are_served_too():
    folded = fold(build("prp rank", skip_connections=(3,)), materialise=False)
    x = values(11, 5)
    with torch.no_grad():
        assert_equal(TiledMLP(folded, 4)(x), folded(x), 1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_that_of_the_folded_network(dtype):
    folded = fold(build("dense").to(dtype))
    x = values(9, 5).to(dtype)
    with torch.no_grad():
        assert torch.equal(TiledMLP(folded, 4)(x), folded(x))


def test_gradients_and_forward_mode_are_those_of_the_folded_network():
    folded = fold(build("eugen"))
    network, x = TiledMLP(folded, 4), values(9, 5)
    gradients = []
    for module in (network, folded):
        inputs = x.clone().requires_grad_()
        gradients.append(torch.autograd.grad(module(inputs).sum(), inputs)[0])
    assert torch.equal(*gradients)
    tangents = [torch.func.jvp(module, (x,), (torch.ones_like(x),))[1] for module in (network, folded)]
    assert torch.equal(*tangents)


def test_inputs_and_weights_are_left_alone():
    folded = fold(build("eugen order 2", skip_connections=(3,)))
    before, x = copy.deepcopy(folded.state_dict()), values(9, 5)
    kept = x.clone()
    with torch.no_grad():
        first, second = (TiledMLP(folded, 4)(x) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(x, kept)
    assert all(torch.equal(value, before[name]) for name, value in folded.state_dict().items())


def test_weights_that_are_loaded_later_count():
    network, other = tiled(build("eugen"), 4), fold(build("eugen", seed=6))
    network.folded.load_state_dict(other.state_dict())
    x = values(9, 5)
    with torch.no_grad():
        assert_equal(network(x), other(x), 1e-13)


def test_every_mlp_of_a_module_gets_tiles_and_the_module_is_left_alone():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = build("eugen"), build("dense", in_dim=3)

        def forward(self, x):
            return self.second(torch.tanh(self.first(x)))

    module, x = Two().eval(), values(9, 5)
    found = tiled(module, 4)
    assert isinstance(found.first, TiledMLP) and isinstance(found.second, TiledMLP)
    assert isinstance(module.first, MLP) and isinstance(found.first.folded, FoldedMLP)
    with torch.no_grad():
        assert_equal(found(x), module(x), 1e-12)
    assert found.first.multiplications() == found.first.folded.multiplications() > 0


@pytest.mark.parametrize("tile", [0, -4])
def test_a_tile_without_rows_is_refused(tile):
    with pytest.raises(ValueError, match=f"tile is {tile}"):
        tiled(build("dense"), tile)
