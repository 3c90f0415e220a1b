"""Distance and spatial gradient of fused fields in one pass, against folded fields: every layer kind, width and
activation; odd batches; what is not a number."""

import pytest
import torch
from support.kernel_checks import KINDS, gradient_tolerance, isdf, nerf, points

from eugen_fields.kernels import FusedField
from eugen_fields.layers.folding import fold

ACTIVATIONS = ["relu", "gelu", "silu", "softplus", "softplus100", "sine", "tanh", "sigmoid"]


def assert_gradient(field, count, dtype=torch.float32):
    """Distances are those of `sdf`; gradients agree with the folded field's, in float64, to rounding."""
    p = points(count, field.aabb.device)
    fused = FusedField(field, dtype)
    distance, gradient = fused.sdf_and_gradient(p)
    assert distance.shape == (count,) and gradient.shape == (count, 3)
    assert distance.dtype == gradient.dtype == torch.float32
    torch.testing.assert_close(distance, fused.sdf(p), rtol=1e-5, atol=1e-6)
    _, expected = fold(field).double().sdf_and_gradient(p.double(), mode="forward")
    tolerance = 1e-5 if dtype is torch.float32 else gradient_tolerance(field.trunk, dtype)
    assert float((gradient - expected).norm()) <= tolerance * float(expected.norm())


# one tile holds 16 points with their tangents: more say nothing about layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", KINDS)
def test_gradients_of_every_layer_kind(name, dtype, device):
    assert_gradient(isdf(device, **KINDS[name]), 15, dtype)


def test_float16(device):
    assert_gradient(isdf(device, **KINDS["eugen order 2"]), 15, torch.float16)


@pytest.mark.parametrize("count", [1, 16, 33])
def test_any_number_of_points(count, device):
    assert_gradient(isdf(device, **KINDS["eugen order 2"]), count)


def test_no_points(device):
    distance, gradient = FusedField(isdf(device)).sdf_and_gradient(points(0, device))
    assert distance.shape == (0,) and gradient.shape == (0, 3)


@pytest.mark.parametrize("width, num_features, order", [(64, 64, 1), (128, 16, 2), (128, 128, 1), (256, 32, 2)])
def test_widths_and_numbers_of_features(width, num_features, order, device):
    eugen = {"layer": "eugen", "num_features": num_features, "order": order}
    assert_gradient(isdf(device, layer_width=width, **eugen), 15)


@pytest.mark.parametrize("width", [256, 100])
def test_dense_widths(width, device):
    assert_gradient(isdf(device, layer_width=width, layer="dense"), 15)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation, device):
    eugen = {"layer": "eugen", "replace": (1,), "num_features": 16, "feature_activation": activation, "order": 2}
    assert_gradient(isdf(device, activation=activation, **eugen), 15)


@pytest.mark.parametrize("skip_connections", [(), (1,), (1, 3)])
@pytest.mark.parametrize("name", ["dense", "eugen", "prp"])
def test_skip_connections_wherever_they_are(name, skip_connections, device):
    assert_gradient(isdf(device, skip_connections=skip_connections, **KINDS[name]), 15)


@pytest.mark.parametrize("width", [128, 256])
def test_square_hadamard_matrices_are_multiplied_by_factors(width, device):
    assert_gradient(isdf(device, layer="prp", matrix="hadamard", layer_width=width, skip_connections=()), 15)


@pytest.mark.parametrize("octaves", [0, 6])
def test_narrow_and_wide_encodings(octaves, device):
    # 255 columns are computed again for the skip connection
    assert_gradient(isdf(device, position_frequencies=octaves, **KINDS["eugen"]), 15)


def test_folded_fields_have_the_same_gradients(device):
    field, p = isdf(device, **KINDS["prp hadamard"]), points(9, device)
    for got, expected in zip(*(FusedField(f, torch.float32).sdf_and_gradient(p) for f in (field.folded(), field))):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_gradients_are_differences_of_distances(device):
    fused, p = FusedField(isdf(device, **KINDS["eugen order 2"]), torch.float32), points(9, device)
    _, gradient = fused.sdf_and_gradient(p)
    step = 2.0**-7
    ends = (p[:, None, None] + step * torch.stack([torch.eye(3), -torch.eye(3)]).to(device)).view(-1, 3)
    forward, back = fused.sdf(ends).view(9, 2, 3).unbind(1)
    # an error of step^2, and of corners that a step may cross
    torch.testing.assert_close((forward - back) / (2 * step), gradient, rtol=0.02, atol=0.02 * float(gradient.norm()))


@pytest.mark.parametrize(
    "name, bad", [("dense", float("nan")), ("eugen order 2", float("inf")), ("eugen order 2", -float("inf"))]
)
def test_what_is_not_a_number_stays_at_its_point(name, bad, device):
    fused, p = FusedField(isdf(device, **KINDS[name]), torch.bfloat16), points(9, device)
    clean = fused.sdf_and_gradient(p)
    p[3, 1] = bad
    others = torch.arange(9, device=device) != 3
    for got, expected in zip(fused.sdf_and_gradient(p), clean):
        assert bool(got[3].isnan().all())
        assert torch.equal(got[others], expected[others])


def test_what_is_not_a_number_in_a_weight_is_seen(device):
    field = isdf(device, **KINDS["eugen"])
    with torch.no_grad():
        field.trunk.layers[1].weight[5, 7] = float("nan")
    for values in FusedField(field).sdf_and_gradient(points(9, device)):
        assert bool(values.isnan().all())


def test_fields_of_density_have_no_gradient():
    with pytest.raises(TypeError, match="no distance"):
        FusedField(nerf()).sdf_and_gradient(points(3))
