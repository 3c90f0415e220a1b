"""The narrow dense form of EUGen networks: the same function both ways, trained or not, and nothing dropped."""

import copy

import pytest
import torch

from eugen_fields.layers import MLP, fold
from eugen_fields.layers.fitting.narrow import NarrowMLP, is_narrow

OPTIONS = {"num_features": 5, "norm": False, "projection_bias": True}


def network(replace=None, out_dim=3, skips=(2,), **options):
    torch.manual_seed(0)
    mlp = MLP(
        4, 5, 12, out_dim, layer="eugen", replace=replace, skip_connections=skips, seed=1, **(OPTIONS | options)
    ).double()
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # biases too
    return mlp


def points(mlp):
    return torch.randn(50, mlp.in_dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


CASES = pytest.mark.parametrize(
    "options",
    [
        {},
        {"replace": (0, 1, 2, 3)},
        {"replace": (2,), "skips": ()},
        {"replace": (0, 3), "skips": (1, 3)},
        {"replace": (1, 4), "out_dim": None},
        {"replace": (1, 4), "feature_activation": "silu"},
        {"num_features": 12},
    ],
)


@CASES
def test_it_is_the_same_function_with_the_multiplications_of_the_folded_one(options) -> None:
    mlp = network(**options)
    narrow, x = NarrowMLP(mlp), points(mlp)
    torch.testing.assert_close(narrow(x), mlp(x), rtol=0, atol=1e-12)
    folded = fold(mlp)
    products = sum(layer.weight.numel() for layer in narrow.layers)  # type: ignore[operator, union-attr]
    assert products == folded.multiplications() or "feature_activation" in options  # type: ignore[operator]


@CASES
def test_what_it_is_trained_to_goes_back_exactly(options) -> None:
    mlp = network(**options)
    before = copy.deepcopy(mlp.state_dict())
    narrow, x = NarrowMLP(mlp), points(mlp)
    with torch.no_grad():
        for parameter in narrow.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    assert all(torch.equal(value, before[name]) for name, value in mlp.state_dict().items())
    wanted = narrow(x)
    assert float((mlp(x) - wanted).detach().abs().max()) > 1e-2
    narrow.write_to(mlp)
    torch.testing.assert_close(mlp(x), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(fold(mlp)(x), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(NarrowMLP(mlp)(x), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"norm": True},
        {"projection_bias": False},
        {"order": 2},
        {"train_projections": False},
        {"bias": False},
        {"num_features": 13},  # W = [I; 0] has no more columns than rows
    ],
)
def test_other_layers_have_no_such_form(options) -> None:
    mlp = network(**options)
    assert not is_narrow(mlp)
    with pytest.raises(ValueError, match="narrow dense form"):
        NarrowMLP(mlp)


def test_neither_have_other_networks() -> None:
    assert not is_narrow(MLP(4, 3, 8, 2, layer="dense"))
    assert not is_narrow(MLP(4, 3, 8, 2, layer="low-rank", rank=2))
    assert not is_narrow(torch.nn.Linear(3, 3))
