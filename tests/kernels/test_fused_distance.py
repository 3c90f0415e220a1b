"""Fields of signed distance trained by fused kernels against torch in float64: distance, spatial gradient, and the
gradients of every parameter under a loss on both."""

import copy

import pytest
import torch
from support.kernel_checks import KINDS, gradient_tolerance, isdf, nerf, points

from eugen_fields.fields import SDFField
from eugen_fields.kernels import FusedDistance, FusedField, Unsupported
from eugen_fields.kernels.run import training
from eugen_fields.kernels.stages.live import DIFFERENTIABLE

EXACT = 5e-5
"""Largest error relative to the norm, in float32. Curvatures of softplus100 reach 25: torch in float32 is off by half
of this itself."""


def loss_weights(count, device, dtype=torch.float32):
    """What a loss on distances (N,) and gradients (N, 3) multiplies them with."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(count, 4, generator=generator, dtype=torch.float64).to(device, dtype)
    return weights[:, 0], weights[:, 1:]


def outputs_and_gradients(call, field, p):
    """Distance, gradient, and the gradients of a loss on them in the field's parameters."""
    outputs = call(p)
    loss = sum((weight * y).sum() for weight, y in zip(loss_weights(len(p), p.device, p.dtype), outputs))
    return [*(y.detach() for y in outputs), *torch.autograd.grad(loss, list(field.parameters()))]


def reference(field, p):
    field = copy.deepcopy(field).double()
    return outputs_and_gradients(field.sdf_and_gradient, field, p.double())


def assert_same(field, count, dtype=torch.float32):
    p = points(count, field.aabb.device)
    tolerance = EXACT if dtype is torch.float32 else gradient_tolerance(field.trunk, dtype)
    for got, expected in zip(outputs_and_gradients(FusedDistance(field, dtype), field, p), reference(field, p)):
        assert got.shape == expected.shape and got.dtype == torch.float32
        assert float((got - expected).norm()) <= tolerance * float(expected.norm()) + 1e-9


@pytest.mark.parametrize("name", KINDS)
def test_every_layer_kind(name, device):
    assert_same(isdf(device, **KINDS[name]), 15)


@pytest.mark.parametrize(
    "name, dtype", [("eugen", torch.float16), ("eugen order 2", torch.bfloat16), ("prp rank", torch.bfloat16)]
)
def test_operands_of_two_bytes(name, dtype, device):
    assert_same(isdf(device, **KINDS[name]), 15, dtype)


def test_without_corners_gradients_are_off_by_rounding_alone(device):
    smooth = {"layer": "eugen", "num_features": 16, "order": 2, "replace": (1,)}
    assert_same(isdf(device, activation="tanh", feature_activation="softplus", **smooth), 15, torch.bfloat16)


@pytest.mark.parametrize("count", [1, 16, 33])
def test_any_number_of_points(count, device):
    assert_same(isdf(device, num_layers=2, skip_connections=(1,), **KINDS["eugen"]), count)


def test_no_points(device):
    field = isdf(device, **KINDS["eugen"])
    distance, gradient, *rest = outputs_and_gradients(FusedDistance(field), field, points(0, device))
    assert distance.shape == (0,) and gradient.shape == (0, 3)
    assert all(int(value.count_nonzero()) == 0 for value in rest)


@pytest.mark.parametrize("width, num_features, order", [(64, 128, 1), (128, 32, 2), (256, 64, 1)])
def test_widths_and_numbers_of_features(width, num_features, order, device):
    eugen = {"layer": "eugen", "num_features": num_features, "order": order, "replace": (1,)}
    assert_same(isdf(device, num_layers=2, skip_connections=(), layer_width=width, **eugen), 5)


@pytest.mark.parametrize("activation", [name for name in DIFFERENTIABLE if name != "softplus100"])
def test_every_activation_with_a_gradient(activation, device):
    eugen = {"layer": "eugen", "replace": (1,), "num_features": 16, "feature_activation": activation, "order": 2}
    assert_same(isdf(device, num_layers=2, skip_connections=(), activation=activation, **eugen), 15)


@pytest.mark.parametrize("skip_connections", [(), (1, 3)])
def test_skip_connections_wherever_they_are(skip_connections, device):
    assert_same(isdf(device, skip_connections=skip_connections, **KINDS["eugen in some"]), 15)


def test_wide_encodings(device):
    # at iSDF's own scale: with finer waves what float32 leaves of a phase is the larger error
    assert_same(isdf(device, num_layers=2, position_frequencies=6, scale=0.0189, **KINDS["eugen"]), 9)


def test_chunks_of_the_backward_pass_add_up(device, monkeypatch):
    monkeypatch.setattr(training, "CHUNK", 52)
    monkeypatch.setattr(training, "ROWS_PER_SPLIT", 16)
    assert_same(isdf(device, num_layers=2, **KINDS["eugen"]), 33)


def test_gradients_are_differences_of_losses(device):
    field = isdf(device, num_layers=2, activation="tanh", layer="dense")
    fused, p = FusedDistance(field, torch.float32), points(9, device)
    weight, step, losses = field.trunk.layers[0].weight, 1e-2, []
    gradient = outputs_and_gradients(fused, field, p)[2]
    for move in (step, -2 * step):
        with torch.no_grad():
            weight[5, 2] += move
        losses.append(sum(float((w * y).sum()) for w, y in zip(loss_weights(9, device), fused(p))))
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(float(gradient[5, 2]), rel=1e-2)


def test_forward_values_are_those_of_inference_and_follow_the_optimiser(device):
    field = isdf(device, **KINDS["prp"])
    fused, p = FusedDistance(field, torch.float32), points(9, device)
    for _ in range(2):
        for got, expected in zip(fused(p), FusedField(field, torch.float32).sdf_and_gradient(p)):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        with torch.no_grad():
            field.trunk.layers[1].alpha.mul_(1.5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_stays_at_its_point_and_goes_where_autograd_lets_it_go(bad, device):
    field, p = isdf(device, num_layers=2, **KINDS["eugen order 2"]), points(9, device)
    p[4, 2] = bad
    got = outputs_and_gradients(FusedDistance(field, torch.float32), field, p)
    others = torch.arange(9, device=device) != 4
    for value in got[:2]:
        assert bool(value[4].isnan().all()) and bool(value[others].isfinite().all())
    assert any(bool(value.isnan().any()) for value in got[2:])
    for value, expected in zip(got, reference(field, p)):
        assert bool((expected.isfinite() | ~value.isfinite()).all())


def test_points_that_require_a_gradient_are_refused(device):
    with pytest.raises(ValueError, match="detach"):
        FusedDistance(isdf(device))(points(3, device).requires_grad_())


@pytest.mark.parametrize(
    "field, reason",
    [
        (torch.nn.Linear(3, 1), "no trunk and encoding"),
        (nerf(), "no field of signed distance"),
        (isdf().folded(), "trunk: a TiledMLP is no MLP"),
        (isdf(layer="snnk", num_features=16), "SNNK"),
        (isdf(num_features=16, order=3), "order 3; up to 2"),
        (isdf(layer="dense", activation="gelu"), "gradients of gelu"),
        (isdf(layer="dense", layer_width=300), "300 wide; 16 to 256"),
        (isdf(layer="dense", position_frequencies=13), "549 wide; up to 512"),
    ],
)
def test_reasons_against_fusing(field, reason):
    with pytest.raises(Unsupported, match=reason):
        FusedDistance(field)


def test_fields_of_every_kind_of_layer_and_of_the_default_size_are_taken():
    for field in (
        *(isdf(**options) for options in KINDS.values()),
        SDFField(torch.tensor([[-1.0, -1, -1], [1, 1, 1]])),
    ):
        assert FusedDistance(field)


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="float64"):
        FusedDistance(isdf(), torch.float64)
