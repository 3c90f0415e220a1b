"""NeRFField: what comes out of it, what it is made of, and its inference form."""

import copy

import pytest
import torch
import torch.nn.functional as F

from eugen_fields.fields import NeRFField
from eugen_fields.kernels import TiledMLP
from eugen_fields.layers import LAYER_KINDS, EUGenLinear

AABB = torch.tensor([[-1.0, -0.5, 0.25], [0.5, 1.5, 2.0]])
KINDS = {
    "dense": {},
    "eugen": {"num_features": 6},
    "eugen-residual": {"num_features": 6},
    "prp": {"rank": 1},
    "low-rank": {"rank": 3},
    "snnk": {"num_features": 6},
}
every_kind = pytest.mark.parametrize("layer", KINDS)
SMALL = {
    "num_layers": 5,
    "layer_width": 16,
    "feature_dim": 12,
    "color_width": 10,
    "position_frequencies": 4,
    "direction_frequencies": 2,
    "skip_connections": (3,),
}


def make_field(layer="eugen", **options):
    torch.manual_seed(0)
    return NeRFField(AABB, layer=layer, **{**SMALL, **KINDS[layer], **options})


def make_inputs(count=50, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    positions = AABB[0] + torch.rand(count, 3, generator=generator) * (AABB[1] - AABB[0])
    directions = F.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return positions.to(dtype), directions.to(dtype)


def perturbed(field):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).to(parameter))
    return field


def test_all_kinds_are_covered_here():
    assert set(KINDS) == set(LAYER_KINDS)


@every_kind
@pytest.mark.parametrize("count", [0, 1, 50])
def test_density_is_positive_and_colour_between_zero_and_one(layer, count):
    field = perturbed(make_field(layer))
    positions, directions = make_inputs(count)
    density, color = field(positions, directions)
    assert density.shape == (count,) and color.shape == (count, 3)
    assert density.dtype == color.dtype == torch.float32
    assert bool((density > 0).all()) and bool((color >= 0).all()) and bool((color <= 1).all())
    if count > 1:
        assert float(density.detach().std()) > 0 and float(color.detach().std()) > 0


@every_kind
def test_density_depends_on_the_position_alone(layer):
    field = make_field(layer)
    positions, directions = make_inputs()
    density, features = field.density(positions)
    assert features.shape == (50, 12)
    turned = field(positions, -directions)
    assert torch.equal(turned[0], density)
    straight = field(positions, directions)
    assert torch.equal(straight[0], density) and not torch.equal(straight[1], turned[1])
    assert torch.equal(field.color(features, directions), straight[1])


@every_kind
def test_gradients_reach_every_parameter(layer):
    field = perturbed(make_field(layer))
    density, color = field(*make_inputs(200))
    (density.sum() + color.square().sum()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().max()) > 0, name


@every_kind
def test_untrained_field_is_nearly_transparent(layer):
    for depth in (0.3, 0.05):
        field = make_field(layer, initial_optical_depth=depth)
        density, _ = field(*make_inputs(2000))
        # exp of a raw value of variance near 1: within a factor of a few of the stated depth along the longest side
        assert depth / 5 < float(density.detach().mean()) * 2.0 < depth * 5


def test_initial_density_scales_with_the_box():
    small, large = make_field(), NeRFField(AABB * 10.0, **SMALL, **KINDS["eugen"])
    assert small.initial_density == pytest.approx(0.3 / 2.0)
    assert large.initial_density == pytest.approx(small.initial_density / 10.0)


def test_raw_density_is_scaled_and_exponentiated():
    field = make_field()
    positions, _ = make_inputs()
    center, half_size = AABB.mean(dim=0), (AABB[1] - AABB[0]) / 2
    raw = field.trunk(field.position_encoding((positions - center) / half_size))[:, 0]
    torch.testing.assert_close(field.density(positions)[0], 0.15 * raw.exp())


def test_box_is_scaled_to_the_unit_cube():
    field = make_field()
    seen = []
    field.position_encoding.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    corners = torch.stack([AABB[0], AABB[1], AABB.mean(dim=0), torch.stack([AABB[0, 0], AABB[1, 1], AABB[0, 2]])])
    field.density(corners)
    expected = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [-1.0, 1.0, -1.0]])
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-6)


def test_fields_of_scaled_boxes_see_the_same_scene():
    field = make_field()
    shift = torch.tensor([3.0, -1.0, 2.0])
    moved = NeRFField(AABB * 4.0 + shift, **SMALL, **KINDS["eugen"])
    state = {name: value for name, value in field.state_dict().items() if name != "aabb"}
    moved.load_state_dict(state, strict=False)
    positions, directions = make_inputs()
    density, color = field(positions, directions)
    moved_density, moved_color = moved(positions * 4.0 + shift, directions)
    torch.testing.assert_close(moved_density * 4.0, density, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved_color, color, rtol=1e-4, atol=1e-5)


def test_dense_parameter_count():
    field = NeRFField(AABB, layer="dense")
    position, direction, width, features, color = 3 * 21, 3 * 9, 256, 256, 128
    trunk = (position + 1) * width + 6 * (width + 1) * width + (width + position + 1) * width
    trunk += (width + 1) * (1 + features)
    head = (features + direction + 1) * color + (color + 1) * 3
    assert sum(parameter.numel() for parameter in field.parameters()) == trunk + head


def test_replaced_layers_are_those_named():
    field = make_field(replace=(2, 4))
    assert [type(layer) is EUGenLinear for layer in field.trunk.layers] == [False, False, True, False, True, False]
    assert [type(layer) is EUGenLinear for layer in make_field().trunk.layers] == [False, True, True, True, True, False]
    assert not any(isinstance(layer, EUGenLinear) for layer in field.color_head.layers)


@every_kind
@pytest.mark.parametrize("replace", [None, (2, 3), (1, 5)])
def test_folded_field_equals_the_field(layer, replace):
    if layer == "eugen-residual" and replace == (1, 5):
        replace = (1, 4)  # the last layer cannot be one
    field = perturbed(make_field(layer, replace=replace).double())
    folded = field.folded()
    assert isinstance(folded, NeRFField) and isinstance(folded.trunk, TiledMLP)
    positions, directions = make_inputs(dtype=torch.float64)
    density, features = field.density(positions)
    folded_density, folded_features = folded.density(positions)
    size = float(features.detach().abs().max())
    torch.testing.assert_close(folded_features, features.detach(), rtol=0, atol=1e-10 * size)
    encoded = torch.cat([features, field.direction_encoding(directions)], dim=-1).detach()
    torch.testing.assert_close(folded.color_head(encoded), field.color_head(encoded), rtol=0, atol=1e-10)
    # densities and colours leave the field as float32
    torch.testing.assert_close(folded_density, density, rtol=1e-6, atol=0)
    torch.testing.assert_close(folded(positions, directions)[1], field(positions, directions)[1], rtol=0, atol=1e-6)


def test_folded_field_has_nothing_to_train_and_fewer_multiplications():
    field = make_field()
    folded = field.folded()
    assert list(folded.parameters()) == []
    products = [m for m in field.trunk.modules() if isinstance(m, torch.nn.Linear)]
    unfolded = sum(m.weight.numel() for m in products)
    for layer in (m for m in field.trunk.modules() if isinstance(m, EUGenLinear)):
        unfolded += layer.projections[:, : layer.in_features].numel() + layer.weight.numel()
    assert folded.trunk.multiplications() < unfolded


def test_folding_leaves_the_field_alone():
    field = make_field()
    inputs = make_inputs()
    before, state = field(*inputs), copy.deepcopy(field.state_dict())
    folded = field.folded().double()
    with torch.no_grad():
        for buffer in folded.buffers():
            buffer.zero_()
    assert isinstance(field.trunk.layers[1], EUGenLinear)
    after = field(*inputs)
    assert torch.equal(after[0], before[0]) and torch.equal(after[1], before[1])
    for name, value in field.state_dict().items():
        assert value.dtype == state[name].dtype and torch.equal(value, state[name]), name


@every_kind
def test_state_dict_restores_the_field(layer):
    field = perturbed(make_field(layer, **({"train_projections": False} if layer == "eugen" else {})))
    torch.manual_seed(5)
    other = NeRFField(
        AABB, layer=layer, **SMALL, **KINDS[layer], **({"train_projections": False} if layer == "eugen" else {})
    )
    other.load_state_dict(field.state_dict())
    inputs = make_inputs()
    for value, expected in zip(other(*inputs), field(*inputs)):
        assert torch.equal(value, expected)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layer": "sparse"}, "layer is 'sparse'"),
        ({"skip_connections": (6,)}, "skip_connections names layer 6"),
        ({"replace": (9,)}, "replace names layer 9"),
        ({"num_features": 0}, "num_features is 0"),
        ({"order": 7}, "order is 7"),
        ({"layer": "prp", "num_features": 4}, "prp layers have no option 'num_features'"),
        ({"layer": "prp", "matrix": "fourier"}, "matrix is 'fourier'"),
        ({"position_frequencies": -1}, "num_frequencies is -1"),
        ({"direction_frequencies": -1}, "num_frequencies is -1"),
        ({"layer_width": 0}, "layer_width is 0"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        NeRFField(AABB, **{**SMALL, **options})
