"""Residual EUGen networks: both parametrisations are the same functions, and both fold into dense connections."""

import pytest
import torch
from support.layer_checks import assert_derivatives, perturbed, values
from support.pairwise import pairwise
from torch import nn
from torch.func import functional_call

from eugen_fields.layers import MLP, ResidualEUGen, ResidualEUGenLayer, convert, fold, folded_names, transfer
from eugen_fields.layers.activations import get_activation

ACTIVATIONS = ["relu", "softplus", "sine", None]
shapes = pytest.mark.parametrize(
    "num_layers, width, num_features, activation", pairwise([1, 2, 5], [5, 6, 17], [1, 4, 7], ACTIVATIONS)
)


def factors(num_layers=3, width=9, num_features=4, activation="relu", in_dim=5, out_dim=3):
    torch.manual_seed(0)
    options = {"num_features": num_features, "feature_activation": activation, "seed": 1}
    return perturbed(ResidualEUGen(in_dim, num_layers, width, out_dim, **options))


def residual_mlp(num_layers=3, num_features=4, activation="relu", in_dim=5, out_dim=3, **options):
    torch.manual_seed(0)
    features = {"num_features": num_features, "feature_activation": activation, "seed": 2}
    return perturbed(MLP(in_dim, num_layers + 1, 20, out_dim, layer="eugen-residual", **features, **options))


def assert_same_function(found, expected, x):
    """Values and gradients in x, to 1e-12 of their size."""
    results = []
    for network in (found, expected):
        inputs = x.clone().requires_grad_()
        y = network(inputs)
        weights = values(*y.shape, seed=7)
        results.append((y.detach(), *torch.autograd.grad((weights * y).sum(), inputs)))
    for value, reference in zip(*results):
        assert float(reference.abs().max()) > 0
        torch.testing.assert_close(value, reference, rtol=0, atol=1e-12 * max(1.0, float(reference.abs().max())))


# Both parametrisations


@shapes
def test_factors_are_a_densely_connected_network(num_layers, width, num_features, activation):
    network = factors(num_layers, width, num_features, activation)
    mlp = network.folded_parameters()
    assert all(type(layer) is ResidualEUGenLayer for layer in mlp.layers[:-1]) and len(mlp.layers) == num_layers + 1
    assert_same_function(mlp, network, values(9, 5))
    assert_same_function(mlp, network, values(2, 3, 5))


@shapes
def test_a_densely_connected_network_has_factors(num_layers, width, num_features, activation):
    mlp = residual_mlp(num_layers, num_features, activation)
    network = ResidualEUGen.from_folded_parameters(mlp)
    assert network.width == 5 + num_layers * num_features
    assert_same_function(network, mlp, values(9, 5))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_factors_and_back_are_the_same_parameters(activation):
    mlp = residual_mlp(activation=activation)
    again = ResidualEUGen.from_folded_parameters(mlp).folded_parameters()
    for name, value in mlp.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_the_weight_sides_of_those_factors_are_one_hot():
    network = ResidualEUGen.from_folded_parameters(residual_mlp())
    written = [layer.weight for layer in network.layers]
    assert all(torch.equal(weight.sum(dim=0), torch.ones(4)) and int(weight.count_nonzero()) == 4 for weight in written)
    assert torch.equal(torch.cat(written, dim=1)[5:], torch.eye(12)) and not bool(torch.cat(written)[:5].any())
    assert not any(bool(layer.bias.any()) for layer in network.layers)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_gradients_of_factors_are_those_of_the_folded_parameters_they_make(activation):
    network, x = factors(activation=activation), values(9, 5)
    mlp, weights = network.folded_parameters(), values(9, 3, seed=7)
    named = {}
    for index, linear in enumerate(network.folded_maps()):
        named |= {f"layers.{index}.weight": linear.weight, f"layers.{index}.bias": linear.bias}
    outputs = [network(x), functional_call(mlp, named, (x,))]
    found, expected = (torch.autograd.grad((weights * y).sum(), list(network.parameters())) for y in outputs)
    for value, reference in zip(found, expected):
        torch.testing.assert_close(value, reference, rtol=0, atol=1e-12 * max(1.0, float(reference.abs().max())))


def test_factors_written_out():
    network, x = factors(), values(9, 5)
    h = torch.cat([x, torch.zeros(9, 4, dtype=torch.float64)], dim=-1)
    for layer in network.layers:
        read = torch.cat([h, x, torch.ones(9, 1, dtype=torch.float64)], dim=-1)
        h = h + torch.relu(read @ layer.projections.T) @ layer.weight.T + layer.bias
    torch.testing.assert_close(network(x), h @ network.output.weight.T + network.output.bias)


def test_dtype_and_mode_are_kept():
    network = factors().to(torch.bfloat16).eval()
    mlp = network.folded_parameters()
    again = ResidualEUGen.from_folded_parameters(mlp)
    for module in (mlp, again):
        assert not module.training and all(value.dtype is torch.bfloat16 for value in module.parameters())


def test_factors_have_more_parameters_for_the_same_multiplications():
    network = factors(num_layers=4, width=128, num_features=28, in_dim=63, out_dim=33)
    mlp = network.folded_parameters()
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count > 2 * sum(parameter.numel() for parameter in mlp.parameters())
    assert fold(network).multiplications() == fold(mlp).multiplications() == 28 * (4 * 63 + 6 * 28) + 33 * 175


# The MLP


def test_the_mlp_written_out():
    mlp, x = residual_mlp(skip_connections=(2,)), values(9, 5)
    features = [x]
    for layer in mlp.layers[:-1]:
        features.append(torch.relu(torch.cat(features, dim=-1) @ layer.weight.T + layer.bias))
    torch.testing.assert_close(mlp(x), mlp.layers[-1](torch.cat(features, dim=-1)))
    assert [layer.in_features for layer in mlp.layers] == [5, 9, 13, 17]
    assert mlp.replace == (0, 1, 2) and mlp.out_dim == 3


def test_hooks_see_whole_inputs_and_outputs_and_change_no_value():
    mlp, x = residual_mlp(), values(9, 5)
    plain, seen = mlp(x), []
    for layer in mlp.layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].shape[1], output.shape[1])))
    torch.testing.assert_close(mlp(x), plain, rtol=1e-12, atol=1e-12)
    assert seen == [(5, 9), (9, 13), (13, 17), (17, 3)]


def test_skip_connections_change_nothing_as_every_layer_reads_the_input():
    x = values(9, 5)
    assert torch.equal(residual_mlp(skip_connections=(1, 3))(x), residual_mlp()(x))


def test_without_an_output_layer_everything_appended_is_the_output():
    mlp, x = residual_mlp(out_dim=None), values(9, 5)
    y = mlp(x)
    assert mlp.replace == (0, 1, 2, 3) and y.shape == (9, mlp.out_dim) == (9, 5 + 4 * 4)
    assert torch.equal(y[:, :5], x)
    assert_same_function(fold(mlp), mlp, x)


def test_layers_that_are_not_replaced_stay_dense_and_the_next_one_reads_the_input_again():
    mlp, x = residual_mlp(num_layers=5, replace=(1, 2, 4)), values(9, 5)
    assert [type(layer) for layer in mlp.layers] == [
        nn.Linear,
        *[ResidualEUGenLayer] * 2,
        nn.Linear,
        ResidualEUGenLayer,
        nn.Linear,
    ]
    h = torch.cat([x, torch.relu(mlp.layers[0](x))], dim=-1)
    h = torch.relu(mlp.layers[3](mlp.layers[2](mlp.layers[1](h))))
    torch.testing.assert_close(mlp(x), mlp.layers[5](mlp.layers[4](torch.cat([x, h], dim=-1))))
    assert_same_function(fold(mlp), mlp, x)


@pytest.mark.parametrize("num_layers, activation", pairwise([1, 3], ["softplus", "sine"]))
def test_second_derivatives(num_layers, activation):
    assert_derivatives(factors(num_layers, 4, 2, activation, in_dim=3, out_dim=1), values(2, 3))
    assert_derivatives(residual_mlp(num_layers, 2, activation, in_dim=3, out_dim=1), values(2, 3))


@pytest.mark.parametrize("activation", ["relu", "softplus100", None])
def test_features_start_with_the_mean_square_of_the_input(activation):
    layer = ResidualEUGenLayer(40, num_features=400, feature_activation=activation, init="gaussian", seed=0)
    x = 3.0 * values(2000, 40).float()
    assert float(layer.features(x).detach().square().mean()) == pytest.approx(9.0, rel=0.1)


# Folding


@shapes
def test_both_forms_fold_into_stages_that_read_everything_before(num_layers, width, num_features, activation):
    network = factors(num_layers, width, num_features, activation)
    for module in (network, network.folded_parameters()):
        folded = fold(module)
        expected = [{"x", *(f"f{i}" for i in range(1, index + 1))} for index in range(num_layers + 1)]
        assert [set(stage.reads) for stage in folded.stages] == expected
        assert list(folded.parameters()) == []
        assert_same_function(folded, network, values(9, 5))
        assert_same_function(fold(folded), network, values(2, 3, 5))


@pytest.mark.parametrize("make", [factors, residual_mlp])
def test_folded_entries_change_exactly_with_those_they_name(make):
    module = make()
    folded, original = fold(module), {name: value.clone() for name, value in module.state_dict().items()}
    names, before = folded_names(folded), folded.state_dict()
    assert set(names) == set(before)
    for entry, value in original.items():
        module.load_state_dict({**original, entry: 1.1 * value})
        after = fold(module).state_dict()
        moved = {name for name in before if not torch.allclose(after[name], before[name], rtol=1e-9, atol=1e-12)}
        assert moved == {name for name, sources in names.items() if entry in sources}


@pytest.mark.parametrize("make", [factors, residual_mlp])
def test_what_is_folded_reloads(make, tmp_path):
    folded, other = fold(make()), fold(make())
    torch.save(folded.state_dict(), tmp_path / "folded.pt")
    with torch.no_grad():
        for value in other.buffers():
            value.zero_()
    other.load_state_dict(torch.load(tmp_path / "folded.pt", weights_only=True))
    assert torch.equal(other(values(9, 5)), folded(values(9, 5)))


def test_layers_fold_in_modules_of_others():
    network = perturbed(
        nn.Sequential(
            ResidualEUGenLayer(5, num_features=4, seed=1),
            ResidualEUGenLayer(9, num_features=3, seed=2),
            nn.Linear(12, 2),
        )
    )
    folded = fold(network)
    assert [set(stage.reads) for stage in folded.stages] == [{"x"}, {"x", "f1"}, {"x", "f1", "f2"}]
    assert_same_function(folded, network, values(9, 5))
    assert_same_function(fold(network[0]), network[0], values(9, 5))


# Refusals


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: residual_mlp(replace=(3,)), "replace names layer 3, the last one"),
        (lambda: residual_mlp(order=2), "eugen-residual layers have no option 'order'"),
        (lambda: residual_mlp(norm=True), "eugen-residual layers have no option 'norm'"),
        (lambda: residual_mlp(num_features=0), "num_features is 0"),
        (lambda: ResidualEUGenLayer(4, init="sparse"), "init is 'sparse'"),
        (lambda: ResidualEUGen(5, 2, 4, 3), "width is 4; it must be at least in_dim, 5"),
        (lambda: ResidualEUGen(5, 0, 6, 3), "num_layers is 0"),
        (lambda: ResidualEUGen.from_folded_parameters(residual_mlp(replace=(0, 2))), "only an MLP of residual"),
        (lambda: ResidualEUGen.from_folded_parameters(residual_mlp(out_dim=None)), "only an MLP of residual"),
        (lambda: ResidualEUGen.from_folded_parameters(residual_mlp(out_activation="tanh")), "only an MLP of residual"),
        (lambda: ResidualEUGen.from_folded_parameters(residual_mlp(bias=False)), "a layer has no bias"),
        (lambda: residual_mlp().with_layers("eugen", num_features=3), "has layers of eugen-residual"),
    ],
)
def test_wrong_options_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_no_dense_layer_is_fitted_or_swapped():
    refused = "layer is 'eugen-residual', whose layers append .* choose eugen, prp, low-rank or snnk"
    dense = MLP(5, 4, 12, 3, layer="dense")
    with pytest.raises(ValueError, match=refused):
        transfer(dense, values(99, 5).float(), layer="eugen-residual", num_features=4)
    with pytest.raises(ValueError, match=refused):
        convert(nn.Sequential(nn.Linear(5, 5)), layer="eugen-residual", where="0", num_features=4)
    with pytest.raises(ValueError, match=refused):
        dense.with_layers("eugen-residual", num_features=4)
    with pytest.raises(ValueError, match="has layers of eugen-residual, which cannot be replaced"):
        transfer(residual_mlp(), values(99, 5), layer="eugen", num_features=4)


def test_activations_of_the_features_are_any_function():
    layer = ResidualEUGenLayer(4, num_features=3, feature_activation=torch.cos, seed=0)
    x = values(5, 4).float()
    assert torch.equal(layer(x), torch.cat([x, torch.cos(x @ layer.weight.T + layer.bias)], dim=-1))
    assert get_activation(None)(x) is x
