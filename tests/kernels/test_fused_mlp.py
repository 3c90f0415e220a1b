"""MLPs trained by fused kernels against torch autograd: values, and gradients of the input and of every parameter."""

import pytest
import torch
from support.kernel_checks import gradient_tolerance, moved

from eugen_fields.kernels import FusedMLP, Unsupported
from eugen_fields.kernels.run import training
from eugen_fields.layers import MLP

IN_DIM, OUT_DIM = 21, 5
KINDS = {
    "dense": {"layer": "dense"},
    "eugen": {"layer": "eugen", "num_features": 16},
    "eugen without norm": {"layer": "eugen", "num_features": 20, "norm": False},
    "eugen order 2": {"layer": "eugen", "num_features": 16, "order": 2},
    "eugen shared order 2": {"layer": "eugen", "num_features": 20, "order": 2, "share_projections": True},
    "eugen projection bias": {"layer": "eugen", "num_features": 16, "projection_bias": True},
    "eugen fixed": {"layer": "eugen", "num_features": 16, "train_projections": False},
    "eugen-residual": {"layer": "eugen-residual", "num_features": 20},
    "eugen-residual in some": {"layer": "eugen-residual", "num_features": 16, "replace": (1, 2)},
    "prp": {"layer": "prp"},
    "prp rank": {"layer": "prp", "rank": 2},
    "low-rank": {"layer": "low-rank", "rank": 16},
}


def network(name, device, width=48, **options):
    torch.manual_seed(0)
    skip = {"skip_connections": (2,)}
    return moved(MLP(IN_DIM, 4, width, OUT_DIM, seed=3, **(skip | KINDS[name] | options)), device, size=0.05)


def values_and_gradients(call, mlp, x, weights, input_gradient=True):
    """Output of a call on x, and the gradients of (weights * output).sum() in x and in the MLP's parameters."""
    x = x.clone().requires_grad_(input_gradient)
    y = call(x)
    inputs = [*([x] if input_gradient else []), *mlp.parameters()]
    return [y.detach(), *torch.autograd.grad((weights * y).sum(), inputs)]


def assert_same(mlp, count, dtype, device, **options):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, IN_DIM, generator=generator).to(device)
    weights = torch.randn(count, OUT_DIM, generator=generator).to(device)
    expected = values_and_gradients(mlp, mlp, x, weights, **options)
    got = values_and_gradients(FusedMLP(mlp, dtype), mlp, x, weights, **options)
    tolerance = gradient_tolerance(mlp, dtype)
    for value, reference in zip(got, expected):
        assert value.shape == reference.shape and value.dtype == reference.dtype
        assert float((value - reference).norm()) <= tolerance * float(reference.norm()) + 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", KINDS)
def test_values_and_gradients_of_every_layer_kind(name, dtype, device):
    assert_same(network(name, device), 33, dtype, device)


@pytest.mark.parametrize(
    "name, dtype",
    [
        ("dense", torch.float16),
        ("eugen", torch.bfloat16),
        ("eugen order 2", torch.float16),
        ("eugen order 2", torch.bfloat16),
        ("eugen-residual", torch.bfloat16),
        ("prp rank", torch.float16),
    ],
)
def test_without_corners_gradients_are_off_by_rounding_alone(name, dtype, device):
    smooth = {"feature_activation": "softplus"} if "eugen" in name else {}
    assert_same(network(name, device, activation="softplus", **smooth), 33, dtype, device)


@pytest.mark.parametrize("count", [1, 63, 65])
def test_any_number_of_points(count, device):
    assert_same(network("eugen order 2", device), count, torch.float32, device)


def test_an_empty_batch_has_gradients_of_zero(device):
    mlp = network("eugen", device)
    x, weights = torch.zeros(0, IN_DIM, device=device), torch.zeros(0, OUT_DIM, device=device)
    y, *gradients = values_and_gradients(FusedMLP(mlp), mlp, x, weights)
    assert y.shape == (0, OUT_DIM)
    assert all(int(gradient.count_nonzero()) == 0 for gradient in gradients)


@pytest.mark.parametrize("width, num_features", [(64, 64), (128, 32), (256, 128)])
def test_widths_and_numbers_of_features(width, num_features, device):
    mlp = network("eugen", device, width=width, num_features=num_features, replace=(1,))
    assert_same(mlp, 33, torch.float32, device)


@pytest.mark.parametrize("activation", ["softplus100", "softplus", "tanh", "sigmoid"])
def test_every_activation_with_a_gradient(activation, device):
    mlp = network("eugen order 2", device, activation=activation, feature_activation=activation, replace=(1,))
    assert_same(mlp, 33, torch.float32, device)
    assert_same(network("dense", device, out_activation=activation), 33, torch.float32, device)


@pytest.mark.parametrize("skip_connections", [(), (1, 3)])
def test_skip_connections_wherever_they_are(skip_connections, device):
    assert_same(network("eugen", device, skip_connections=skip_connections), 33, torch.float32, device)
    assert_same(network("prp", device, skip_connections=skip_connections), 33, torch.float32, device)


@pytest.mark.parametrize("name", ["eugen", "eugen-residual"])
def test_without_a_gradient_of_the_input(name, device):
    assert_same(network(name, device), 33, torch.float32, device, input_gradient=False)


@pytest.mark.parametrize("num_features", [64, 100])
def test_residual_layers_of_several_pieces_read_everything_before_them(num_features, device):
    # 64 columns are a piece: the input has one, the features of a layer up to two
    assert_same(network("eugen-residual", device, num_features=num_features), 33, torch.float32, device)


def test_chunks_of_the_backward_pass_add_up(device, monkeypatch):
    monkeypatch.setattr(training, "CHUNK", 50)
    monkeypatch.setattr(training, "ROWS_PER_SPLIT", 16)
    assert_same(network("eugen", device), 129, torch.float32, device)


def test_equal_calls_give_equal_gradients(device):
    mlp = network("eugen", device)
    fused = FusedMLP(mlp)
    x, weights = torch.ones(65, IN_DIM, device=device), torch.ones(65, OUT_DIM, device=device)
    first, second = (values_and_gradients(fused, mlp, x, weights) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_steps_of_an_optimiser_are_seen(device):
    mlp = network("prp", device)
    fused, x = FusedMLP(mlp, torch.float32), torch.ones(3, IN_DIM, device=device)
    optimiser = torch.optim.SGD(mlp.parameters(), lr=1e-4)
    before = fused(x).square().sum()
    before.backward()
    optimiser.step()
    after = fused(x)
    torch.testing.assert_close(after, mlp(x), rtol=1e-5, atol=1e-5)
    assert float(after.square().sum()) < float(before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["dense", "eugen order 2"])
def test_what_is_not_a_number_goes_where_autograd_lets_it_go(name, bad, device):
    mlp = network(name, device)
    x, weights = torch.ones(9, IN_DIM, device=device), torch.ones(9, OUT_DIM, device=device)
    x[4, 2] = bad
    expected = values_and_gradients(mlp, mlp, x, weights)
    got = values_and_gradients(FusedMLP(mlp, torch.float32), mlp, x, weights)
    assert not bool(got[0][4].isfinite().any()) and bool(got[0][5].isfinite().all())
    assert any(bool(value.isnan().any()) for value in got[1:])
    for value, reference in zip(got, expected):
        assert bool((reference.isfinite() | ~value.isfinite()).all())


def test_more_axes_are_kept(device):
    mlp = network("eugen", device)
    x = torch.randn(2, 3, IN_DIM, generator=torch.Generator().manual_seed(0)).to(device)
    torch.testing.assert_close(FusedMLP(mlp, torch.float32)(x), mlp(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "mlp, reason",
    [
        (torch.nn.Linear(3, 4), "is no MLP"),
        (MLP(8, 3, 32, 4, layer="snnk", num_features=16), "SNNKLinear"),
        (MLP(8, 3, 32, 4, num_features=16, order=3), "order 3; up to 2"),
        (MLP(8, 3, 32, 4, layer="eugen-residual", num_features=8), "8 wide; 16 to 256"),
        (MLP(8, 3, 32, None, layer="eugen-residual", num_features=16), "several values side by side"),
        (MLP(8, 3, 32, 4, layer="dense", activation="gelu"), "gradients of gelu"),
        (MLP(8, 3, 32, 4, layer="dense", activation=torch.cos), "gradients of unknown"),
        (MLP(8, 3, 300, 4, layer="dense"), "300 wide; 16 to 256"),
        (MLP(600, 3, 32, 4, layer="dense"), "600 wide; up to 512"),
    ],
)
def test_reasons_against_fusing(mlp, reason):
    with pytest.raises(Unsupported, match=reason):
        FusedMLP(mlp)
