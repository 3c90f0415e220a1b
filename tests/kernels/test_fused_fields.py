"""Fused fields against folded ones: every layer kind, size and type of operand; odd batches; what is not a number."""

import pytest
import torch
from support.kernel_checks import KINDS, assert_distance, assert_radiance, directions, isdf, nerf, points
from support.pairwise import pairwise
from torch import nn

from eugen_fields.fields import MipNeRFField, VanillaField
from eugen_fields.kernels import FusedField, Unsupported
from eugen_fields.layers.folding import fold

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


# one tile holds 64 rows: more points than that say nothing about layers


@pytest.mark.parametrize("name, dtype, make", pairwise(list(KINDS), DTYPES, [nerf, isdf]))
def test_every_layer_kind(name, dtype, make, device):
    check = assert_radiance if make is nerf else assert_distance
    check(make(device, **KINDS[name]), 33, dtype)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 130])
def test_any_number_of_points(count, device):
    field = nerf(device, **KINDS["eugen"])
    density, color = FusedField(field, torch.float32).density_and_color(
        points(count, device), directions(count, device)
    )
    assert density.shape == (count,) and color.shape == (count, 3)
    if count:
        assert_radiance(field, count)
        assert_distance(isdf(device, **KINDS["eugen"]), count)


SIZES = [(64, 64), (128, 16), (128, 32), (128, 128), (256, 32), (256, 64)]


@pytest.mark.parametrize("size, order, dtype", pairwise(SIZES, [1, 2], [torch.float32, torch.bfloat16]))
def test_widths_and_numbers_of_features(size, order, dtype, device):
    width, num_features = size
    options = {"num_layers": 3, "layer_width": width, "feature_dim": width, "color_width": width // 2}
    eugen = {"layer": "eugen", "num_features": num_features, "order": order}
    assert_radiance(nerf(device, **options, **eugen), 33, dtype)


@pytest.mark.parametrize("width", [128, 256, 100, 48])
def test_dense_widths(width, device):
    options = {"num_layers": 3, "layer_width": width, "layer": "dense"}
    assert_radiance(nerf(device, **options, feature_dim=width, color_width=width // 2), 33)
    assert_distance(isdf(device, **options), 33)


@pytest.mark.parametrize("skip_connections", [(), (1,), (2, 4), (4,)])
@pytest.mark.parametrize("name", ["dense", "eugen", "prp"])
def test_skip_connections_wherever_they_are(name, skip_connections, device):
    # layer 4 is the last: density and features read the encoding themselves
    assert_radiance(nerf(device, skip_connections=skip_connections, **KINDS[name]), 17)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "softplus", "softplus100", "sine", "tanh", "sigmoid"])
def test_every_activation(activation, device):
    eugen = {"layer": "eugen", "replace": (1,), "num_features": 16, "feature_activation": activation}
    assert_distance(isdf(device, activation=activation, **eugen), 33)


def test_narrow_features_are_not_merged_into_the_head(device):
    # 40 features of 64 hidden values cost less than 64 x 128; both ways must give the same
    assert_radiance(nerf(device, layer="dense", feature_dim=16, color_width=128), 33)
    assert_radiance(nerf(device, layer="dense", feature_dim=100, color_width=16), 33)


def test_wide_encodings_of_distance_fields(device):
    assert_distance(isdf(device, position_frequencies=6, **KINDS["eugen"]), 33)
    assert_distance(isdf(device, position_frequencies=0, **KINDS["dense"]), 33)
    assert_distance(isdf(device, position_frequencies=6, **KINDS["eugen-residual"]), 33)


@pytest.mark.parametrize(
    "bad, dtype",
    [
        *((float("nan"), dtype) for dtype in DTYPES),
        (float("inf"), torch.bfloat16),
        (-float("inf"), torch.float16),
    ],
)
def test_what_is_not_a_number_stays_in_its_row(bad, dtype, device):
    field, p, d = nerf(device, **KINDS["eugen order 2"]), points(9, device), directions(9, device)
    fused, distances = FusedField(field, dtype), FusedField(isdf(device, **KINDS["eugen"]), dtype)
    density, color = fused.density_and_color(p, d)
    distance = distances.sdf(p)
    p[3, 1] = bad
    got_density, got_color = fused.density_and_color(p, d)
    got_distance = distances.sdf(p)
    with torch.no_grad():
        assert bool(field.folded()(p, d)[0][3].isnan())
    others = torch.arange(9, device=device) != 3
    for got, clean in ((got_density, density), (got_color, color), (got_distance, distance)):
        assert bool(got[3].isnan().all())
        assert torch.equal(got[others], clean[others])
    p, d = points(9, device), directions(9, device)
    d[4, 0] = bad
    got_density, got_color = fused.density_and_color(p, d)
    assert torch.equal(got_density, density) and bool(got_color[4].isnan().all())


def test_what_is_not_a_number_in_a_weight_is_seen(device):
    field = nerf(device, **KINDS["dense"])
    with torch.no_grad():
        field.trunk.layers[1].weight[5, 7] = float("nan")
    density, color = FusedField(field).density_and_color(points(9, device), directions(9, device))
    assert bool(density.isnan().all()) and bool(color.isnan().all())


def test_overflow_gives_what_the_folded_field_gives(device):
    # density is exp of a raw value beyond 88, and infinite; the colours of those points stay numbers
    field = nerf(device, **KINDS["dense"])
    with torch.no_grad():
        field.trunk.layers[-1].bias[0] = 100.0
    density, color = FusedField(field, torch.float32).density_and_color(points(9, device), directions(9, device))
    assert bool(density.isposinf().all()) and bool(color.isfinite().all())


@pytest.mark.parametrize("width, dtype", [(256, torch.float32), (128, torch.float16), (128, torch.bfloat16)])
def test_square_hadamard_matrices_are_multiplied_by_factors(width, dtype, device):
    options = {"num_layers": 4, "layer_width": width, "feature_dim": width, "layer": "prp", "matrix": "hadamard"}
    for skip_connections in ((), (2,)):  # what reads the encoding again is not square, and is written out
        assert_radiance(nerf(device, **options, skip_connections=skip_connections), 33, dtype)
        del options["feature_dim"]
        assert_distance(isdf(device, **options, skip_connections=skip_connections), 33, dtype)
        options["feature_dim"] = width
    assert_radiance(nerf(device, **options, rank=2), 33, dtype)


def test_folded_fields_and_fields_with_seeded_matrices_are_taken(device):
    field = nerf(device, **KINDS["prp hadamard"])
    p = points(9, device)
    expected = FusedField(field, torch.float32).density(p)
    assert torch.equal(FusedField(fold(field, materialise=False), torch.float32).density(p), expected)
    written_out = FusedField(field.folded(), torch.float32).density(p)
    torch.testing.assert_close(written_out, expected, rtol=1e-5, atol=0)


def test_weights_are_those_at_the_time_of_the_call(device):
    field, p = nerf(device), points(9, device)
    fused = FusedField(field, torch.float32)
    before = fused.density(p)
    with torch.no_grad():
        field.trunk.layers[0].weight.mul_(2.0)
    assert torch.equal(fused.density(p), before)
    assert not torch.equal(FusedField(field, torch.float32).density(p), before)


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"layer": "snnk", "num_features": 16}, "SNNK"),
        ({"num_features": 16, "order": 3}, "order 3; up to 2"),
        ({"layer": "dense", "layer_width": 300}, "300 wide; 16 to 256"),
        ({"num_features": 8}, "8 wide; 16 to 256"),
        ({"layer": "eugen-residual", "num_features": 12}, "12 wide; 16 to 256"),
        ({"layer": "dense", "activation": torch.cos}, "none of layers.activations"),
        ({"position_frequencies": 100}, "603 wide; up to 512"),
    ],
)
def test_reasons_against_fusing(options, reason):
    with pytest.raises(Unsupported, match=reason):
        FusedField(nerf(**options))


def test_fields_of_other_encodings_are_refused():
    aabb = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    mip = MipNeRFField(aabb, bounded=True, num_layers=2, layer_width=64, num_features=16)
    for field in (VanillaField(aabb), mip, nn.Linear(3, 4)):
        with pytest.raises(Unsupported, match=type(field).__name__):
            FusedField(field)


def test_other_types_and_outputs_are_refused():
    with pytest.raises(ValueError, match="float64"):
        FusedField(nerf(), torch.float64)
    with pytest.raises(TypeError, match="no distance"):
        FusedField(nerf()).sdf(points(3))
    with pytest.raises(TypeError, match="no density"):
        FusedField(isdf()).density(points(3))
