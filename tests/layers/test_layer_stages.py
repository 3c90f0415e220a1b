"""What layers answer for themselves: stages that are the layer, and the registry that everything derives from."""

import pytest
import torch
from support.layer_checks import perturbed, values
from torch import nn

from eugen_fields.layers import (
    LAYER_KINDS,
    EUGenLinear,
    ExplicitEUGenLinear,
    LowRankLinear,
    PRPLinear,
    ResidualEUGenLayer,
    SNNKLinear,
)
from eugen_fields.layers.activations import safe_norm
from eugen_fields.layers.eugen import product_features
from eugen_fields.layers.kinds import (
    DEFAULT_MUON_RATES,
    DEFAULT_RATES,
    MUON_STEPS,
    LayerKind,
    options_from,
    replacements,
)
from eugen_fields.layers.layer import layer_multiplications, layer_stages

LAYERS = {
    "dense": lambda: nn.Linear(6, 4),
    "dense without bias": lambda: nn.Linear(6, 4, bias=False),
    "eugen": lambda: EUGenLinear(6, 4, num_features=5, seed=1),
    "eugen order 3": lambda: EUGenLinear(6, 4, num_features=5, order=3, norm=False, projection_bias=True, seed=1),
    "eugen fixed": lambda: EUGenLinear(6, 4, num_features=5, train_projections=False, bias=False, seed=1),
    "explicit": lambda: ExplicitEUGenLinear(6, 4, num_features=5, order=2, seed=1),
    "eugen-residual": lambda: ResidualEUGenLayer(6, num_features=4, seed=1),
    "prp": lambda: PRPLinear(6, 4),
    "prp rank": lambda: PRPLinear(6, 4, rank=2),
    "low-rank": lambda: LowRankLinear(6, 4, rank=2, seed=1),
    "snnk": lambda: SNNKLinear(6, 4, num_features=5, seed=1),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@every_layer
def test_stages_one_behind_the_other_are_the_layer(make):
    layer = perturbed(make())
    x = y = values(9, 6)
    for stage in layer_stages(layer):
        z = y @ stage.linear.weight.T + stage.linear.bias
        if stage.norm_column is not None:
            term = safe_norm(y) * stage.norm_column
            z = z - term.square() if stage.squared_norm else z + term
        y = stage.activation(product_features(z, *stage.products) if stage.products else z)
    y = torch.cat([x, y], dim=-1) if isinstance(layer, ResidualEUGenLayer) else y
    torch.testing.assert_close(y, layer(x), rtol=1e-10, atol=1e-10)


@every_layer
def test_stages_lead_back_to_every_parameter_and_name_their_entries(make):
    layer = perturbed(make())
    if not isinstance(layer, ExplicitEUGenLinear):  # whose stages are those of its precomputed form
        tensors = [t for stage in layer_stages(layer) for t in (*stage.linear[:2], stage.norm_column) if t is not None]
        total = sum(tensor.sum() for tensor in tensors if tensor.requires_grad)
        gradients = torch.autograd.grad(total, list(layer.parameters()), allow_unused=True)
        assert all(gradient is not None for gradient in gradients)
    named = {name for stage in layer_stages(layer) for names in stage.linear[2:] for name in names}
    assert named == set(layer.state_dict())


def test_multiplications_are_those_of_the_matrices():
    counts = {
        name: layer_multiplications(LAYERS[name]())
        for name in ("dense", "eugen", "eugen-residual", "prp rank", "low-rank", "snnk")
    }
    assert counts == {
        "dense": 24,
        "eugen": 5 * 6 + 4 * 5,
        "eugen-residual": 4 * 6,
        "prp rank": 24 + 2 * (6 + 4),
        "low-rank": 2 * (6 + 4),
        "snnk": 5 * 6 + 4 * 5,
    }


def test_other_modules_have_no_stages():
    with pytest.raises(ValueError, match="a Tanh is no layer"):
        layer_stages(nn.Tanh())


def test_the_registry_says_what_each_kind_is():
    assert list(LAYER_KINDS) == ["dense", "eugen", "eugen-residual", "prp", "low-rank", "snnk"]
    assert all(kind.name == name for name, kind in LAYER_KINDS.items())
    assert [name for name, kind in LAYER_KINDS.items() if kind.holds_activation] == ["eugen", "eugen-residual", "snnk"]
    assert [name for name, kind in LAYER_KINDS.items() if kind.appends] == ["eugen-residual"]
    assert replacements() == ["eugen", "prp", "low-rank", "snnk"]


@pytest.mark.parametrize("name", LAYER_KINDS)
def test_every_kind_is_built_with_what_it_takes(name):
    kind = LAYER_KINDS[name]
    options = {} if kind.size is None else {kind.size: 3}
    torch.manual_seed(0)
    layer = kind.build(6, 4, gain=1.0, activation="tanh", seed=2, bias=False, **options)
    assert type(layer) is kind.cls and layer.bias is None
    assert layer(values(3, 6).float()).shape == (3, 6 + 3 if kind.appends else 4)


def test_kinds_without_rates_of_their_own_get_the_default_ones():
    for family, rate in DEFAULT_RATES.items():
        new = LayerKind("new", nn.Linear)
        assert new.rate(family) == rate
        assert new.muon_rate(family, MUON_STEPS) == DEFAULT_MUON_RATES[family]
    assert LAYER_KINDS["dense"].rate("nerf") == 1e-3 and LAYER_KINDS["prp"].rate("nerf") == 5e-3


def test_muon_rates_fall_with_the_length_of_the_training():
    """At 300 steps four times the rate at 2,400; never more."""
    rates = [LAYER_KINDS["dense"].muon_rate("nerf tiny", steps) for steps in (1, 300, 600, 2400, 30_000)]
    assert rates[0] == rates[1] == pytest.approx(4 * rates[3])
    assert rates[1] > rates[2] > rates[3] > rates[4] > 0


def test_num_features_sets_the_size_of_every_kind_that_has_one():
    class Flags:
        num_features, rank, matrix, order, unrelated = 32, 0, "ternary", 2, 7

    assert options_from(Flags(), "eugen") == {"num_features": 32, "order": 2}
    assert options_from(Flags(), "prp") == {"matrix": "ternary", "rank": 0}
    assert options_from(Flags(), "low-rank") == {"rank": 32}
    assert options_from(Flags(), "dense") == {}
    Flags.rank = 5
    assert options_from(Flags(), "low-rank") == {"rank": 5}
