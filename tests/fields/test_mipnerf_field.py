"""MipNeRFField and the proposal's GaussianDensityField: Gaussians in, density and colour out."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from support.pairwise import pairwise

from eugen_fields.fields import GaussianDensityField, MipNeRFField
from eugen_fields.kernels import TiledMLP
from eugen_fields.layers import LAYER_KINDS, fold

AABB = torch.tensor([[-1.0, -0.5, 0.25], [0.5, 1.5, 2.0]])
CENTER, HALF = AABB.mean(dim=0), 1.0
KINDS = {
    "dense": {},
    "eugen": {"num_features": 6},
    "eugen-residual": {"num_features": 6},
    "prp": {"rank": 1},
    "low-rank": {"rank": 3},
    "snnk": {"num_features": 6},
}
every_kind = pytest.mark.parametrize("layer", KINDS)
both_regimes = pytest.mark.parametrize("bounded", [True, False], ids=["bounded", "unbounded"])
SMALL = {
    "num_layers": 4,
    "layer_width": 16,
    "feature_dim": 12,
    "color_width": 10,
    "position_frequencies": 4,
    "direction_frequencies": 2,
    "skip_connections": (3,),
}


def make_field(layer="eugen", **options):
    torch.manual_seed(0)
    return MipNeRFField(AABB, layer=layer, **{**SMALL, **KINDS[layer], "bounded": True, **options})


def make_gaussians(count=50, size=0.05, seed=0):
    """Means in the box and random covariances of standard deviations about `size`."""
    generator = torch.Generator().manual_seed(seed)
    means = AABB[0] + torch.rand(count, 3, generator=generator) * (AABB[1] - AABB[0])
    roots = size * torch.randn(count, 3, 3, generator=generator)
    return means, roots @ roots.mT


def make_directions(count=50, seed=1):
    return F.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)


def round_gaussians(count, size):
    return (size**2 * torch.eye(3)).expand(count, 3, 3)


def perturbed(field):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).to(parameter))
    return field


def test_all_kinds_are_covered_here():
    assert set(KINDS) == set(LAYER_KINDS)


@pytest.mark.parametrize("layer, bounded, count", pairwise(list(KINDS), [True, False], [0, 1, 50]))
def test_density_is_positive_and_colour_between_zero_and_one(layer, bounded, count):
    field = perturbed(make_field(layer, bounded=bounded))
    means, covariances = make_gaussians(count)
    for density, features in (field.density(means, covariances), field.density(means)):
        color = field.color(features, make_directions(count))
        assert density.shape == (count,) and features.shape == (count, 12) and color.shape == (count, 3)
        assert density.dtype == color.dtype == torch.float32
        assert bool((density > 0).all()) and bool((color >= 0).all()) and bool((color <= 1).all())
        if count > 1:
            assert float(density.detach().std()) > 0 and float(color.detach().std()) > 0


def test_forward_is_density_and_colour_of_points():
    field = perturbed(make_field())
    means, directions = make_gaussians()[0], make_directions()
    density, features = field.density(means)
    found = field(means, directions)
    assert torch.equal(found[0], density) and torch.equal(found[1], field.color(features, directions))


@every_kind
def test_gradients_reach_every_parameter(layer):
    field = perturbed(make_field(layer))
    density, features = field.density(*make_gaussians(200))
    (density.sum() + field.color(features, make_directions(200)).square().sum()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().max()) > 0, name


@every_kind
@both_regimes
def test_untrained_field_is_nearly_transparent(layer, bounded):
    for depth in (0.3, 0.05):
        density, _ = make_field(layer, bounded=bounded, initial_optical_depth=depth).density(*make_gaussians(2000))
        # exp of a raw value of variance near 1: within a factor of a few of the stated depth along the longest side
        assert depth / 5 < float(density.detach().mean()) * 2.0 * HALF < depth * 5


# Points and Gaussians


@both_regimes
def test_points_are_gaussians_of_the_footprint(bounded):
    field = perturbed(make_field(bounded=bounded))
    field.footprint.fill_(0.07)
    # in the ball around the centre the contraction does nothing: there the frames differ by scale alone
    means = CENTER + 0.9 * make_directions(40) * torch.rand(40, 1, generator=torch.Generator().manual_seed(3))
    scene_size = 0.07 * HALF * (1.0 if bounded else 2.0)
    points, gaussians = field.density(means), field.density(means, round_gaussians(40, scene_size))
    torch.testing.assert_close(points[0], gaussians[0], rtol=1e-4, atol=0)
    torch.testing.assert_close(points[1], gaussians[1], rtol=1e-4, atol=1e-5)
    wider = field.density(means, round_gaussians(40, 2.0 * scene_size))[0]
    assert float((wider / points[0] - 1.0).abs().max().detach()) > 1e-2


@both_regimes
def test_small_gaussians_converge_to_points_without_footprint(bounded):
    field = perturbed(make_field(bounded=bounded)).double()
    means = make_gaussians(40)[0].double() * (1.0 if bounded else 3.0)
    features = field.density(means)[1]
    errors = [
        float((field.density(means, round_gaussians(40, size).double())[1] - features).abs().max().detach())
        for size in (1e-2, 1e-3, 1e-4)
    ]
    assert errors[0] > 1e-3
    assert errors[1] < 0.02 * errors[0] and errors[2] < 0.02 * errors[1]  # the damping is quadratic in the size


def test_large_gaussians_see_no_detail():
    field = make_field(skip_connections=())
    means, _ = make_gaussians(40)
    encoded = field.encode(means, round_gaussians(40, 10.0))
    assert float(encoded[:, 3:].abs().max()) < 1e-6


def test_the_box_is_scaled_by_its_longest_side():
    corners = torch.stack([AABB[0], AABB[1], CENTER])
    means, covariances = make_field().normalise(corners, round_gaussians(3, 0.5))
    torch.testing.assert_close(means, (corners - CENTER) / HALF)
    assert float(means.abs().max()) == pytest.approx(1.0)
    torch.testing.assert_close(covariances, round_gaussians(3, 0.5 / HALF))


def test_nothing_in_a_bounded_box_is_lost():
    """Every corner, edge and face of the box reads its own place: no two share what the trunk reads."""
    places = torch.cartesian_prod(*[torch.linspace(0.0, 1.0, 5)] * 3)
    encoded = make_field().encode(AABB[0] + places * (AABB[1] - AABB[0]))
    distances = torch.cdist(encoded, encoded) + torch.eye(len(places))
    assert float(distances.min()) > 0.1


def test_unbounded_space_is_left_alone_around_the_centre_and_halved():
    bounded, unbounded = make_field(), make_field(bounded=False)
    means = CENTER + 0.99 * make_directions(40) * torch.rand(40, 1, generator=torch.Generator().manual_seed(3))
    covariances = make_gaussians(40)[1]
    plain, contracted = bounded.normalise(means, covariances), unbounded.normalise(means, covariances)
    torch.testing.assert_close(contracted[0], plain[0] / 2)
    torch.testing.assert_close(contracted[1], plain[1] / 4)


@pytest.mark.parametrize("distance", [10.0, 1e3, 1e6])
def test_unbounded_fields_are_finite_far_away(distance):
    field = perturbed(make_field(bounded=False))
    field.footprint.fill_(0.01)
    means = (CENTER + distance * make_directions(40)).requires_grad_(True)
    size = torch.full((), 0.01 * distance, requires_grad=True)
    for covariances in (None, size**2 * torch.eye(3).expand(40, 3, 3)):
        seen, _ = field.normalise(means, round_gaussians(40, 0.0) if covariances is None else covariances)
        assert 0.9 < float(seen.norm(dim=-1).detach().min()) <= float(seen.norm(dim=-1).detach().max()) < 1.0
        density, features = field.density(means, covariances)
        color = field.color(features, make_directions(40))
        assert bool(density.isfinite().all()) and bool(features.isfinite().all()) and bool(color.isfinite().all())
        inputs = [means] if covariances is None else [means, size]
        for gradient in torch.autograd.grad(density.sum() + color.sum(), [*inputs, *field.trunk.parameters()]):
            assert bool(gradient.isfinite().all())
    directions = (means.detach() - CENTER) / distance
    opposite = field.density(CENTER - distance * directions)[0] / field.density(means)[0]
    assert float((opposite - 1.0).abs().detach().median()) > 1e-3, "far places are still told apart by direction"


def test_fields_of_scaled_boxes_see_the_same_scene():
    field = perturbed(make_field(bounded=False))
    shift = torch.tensor([3.0, -1.0, 2.0])
    moved = MipNeRFField(AABB * 4.0 + shift, **SMALL, **KINDS["eugen"], bounded=False)
    moved.load_state_dict({name: value for name, value in field.state_dict().items() if name != "aabb"}, strict=False)
    means, covariances = make_gaussians()
    density, features = field.density(means * 3.0, covariances)
    moved_density, moved_features = moved.density(means * 12.0 + shift, covariances * 16.0)
    torch.testing.assert_close(moved_density * 4.0, density, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(moved_features, features, rtol=1e-3, atol=1e-3)


@every_kind
@both_regimes
def test_gradients_of_places_and_shapes_are_correct(layer, bounded):
    field = perturbed(make_field(layer, bounded=bounded, position_frequencies=2, num_layers=2, skip_connections=()))
    field = field.double()
    field.footprint.fill_(0.1)
    means = (CENTER + make_directions(6) * torch.tensor([[0.2], [0.5], [0.8], [1.3], [3.0], [9.0]])).double()
    roots = (0.2 * torch.eye(3)).expand(6, 3, 3).double().clone()

    def through(means, roots=None):
        return field.trunk(field.encode(means, None if roots is None else roots @ roots.mT))

    assert torch.autograd.gradcheck(through, means.requires_grad_(True))
    assert torch.autograd.gradcheck(through, (means, roots.requires_grad_(True)))


@both_regimes
def test_the_encoding_is_exact_under_autocast(bounded):
    field = make_field(bounded=bounded, basis="icosahedron", position_frequencies=12)
    field.footprint.fill_(1e-3)
    means, covariances = make_gaussians(size=1e-3)
    expected = field.encode(means, covariances), field.encode(means), field.density(means)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = field.encode(means, covariances), field.encode(means), field.density(means)[0]
    for value, truth in zip(found[:2], expected[:2]):
        assert value.dtype == torch.float32 and torch.equal(value, truth)
    assert found[2].dtype == torch.float32
    assert not torch.equal(found[2], expected[2]), "the network itself does run in half precision"
    torch.testing.assert_close(found[2], expected[2], rtol=0.2, atol=0)


# The footprint


def test_the_first_measurement_is_taken_whole_then_a_running_mean():
    field = make_field()
    means, weights = make_gaussians(30)[0], torch.ones(30)
    assert float(field.footprint) == 0.0
    field.watch_footprint(means, round_gaussians(30, 0.2), weights)
    assert float(field.footprint) == pytest.approx(0.2 / HALF, rel=1e-5)
    for step in range(1, 4):
        field.watch_footprint(means, round_gaussians(30, 0.1), weights, rate=0.5)
        assert float(field.footprint) == pytest.approx(0.1 + 0.1 * 0.5**step, rel=1e-5)


def test_weights_decide_which_gaussians_are_measured():
    field = make_field()
    covariances = torch.cat([round_gaussians(10, 0.3), round_gaussians(20, 0.01)])
    field.watch_footprint(make_gaussians(30)[0], covariances, torch.cat([torch.full((10,), 0.2), torch.zeros(20)]))
    assert float(field.footprint) == pytest.approx(0.3, rel=1e-5)


def test_the_footprint_is_measured_in_the_frame_of_the_encoding():
    field = make_field(bounded=False)
    means = CENTER + 10.0 * make_directions(30)
    field.watch_footprint(means, round_gaussians(30, 0.5), torch.ones(30))
    # eq. 9: across the ray 2/r - 1/r^2, along it 1/r^2, then halved
    across, along = (2 / 10 - 1 / 100) * 0.5 / 2, 0.5 / 100 / 2
    assert float(field.footprint) == pytest.approx(((2 * across**2 + along**2) / 3) ** 0.5, rel=1e-4)


@pytest.mark.parametrize(
    "weights, size",
    [(0.0, 0.1), (1e-30, 0.1), (float("nan"), 0.1), (1.0, float("nan")), (1.0, float("inf"))],
)
@pytest.mark.parametrize("before", [0.0, 0.2])
def test_batches_that_show_nothing_leave_the_footprint_alone(weights, size, before):
    field = make_field()
    field.footprint.fill_(before)
    for _ in range(3):
        field.watch_footprint(make_gaussians(5)[0], round_gaussians(5, size), torch.full((5,), weights), rate=0.5)
    assert float(field.footprint) == torch.tensor(before)


def test_the_footprint_of_flat_gaussians_is_a_number():
    field = make_field()
    rounded = round_gaussians(5, 0.0) - 1e-12 * torch.eye(3)  # a variance that rounding took below 0
    field.watch_footprint(make_gaussians(5)[0], rounded, torch.ones(5))
    assert float(field.footprint) == 0.0


def test_the_footprint_is_in_the_state_dict_and_moves_no_gradient():
    field, other = perturbed(make_field()), perturbed(make_field())
    means, covariances = make_gaussians()
    field.watch_footprint(means.requires_grad_(True), covariances, torch.rand(50, requires_grad=True))
    assert not field.footprint.requires_grad and float(field.footprint) > 0
    assert not torch.equal(other.density(means)[0], field.density(means)[0])
    other.load_state_dict(field.state_dict())
    assert torch.equal(other.footprint, field.footprint)
    assert torch.equal(other.density(means)[0], field.density(means)[0])


# Appearance codes


def test_codes_start_without_effect_and_change_colour_alone():
    field = make_field(num_images=3, appearance_dim=4)
    density, features = field.density(*make_gaussians())
    directions, images = make_directions(), torch.arange(50) % 3
    mean, seen = field.color(features, directions), field.color(features, directions, images)
    assert torch.equal(mean, seen)
    with torch.no_grad():
        field.appearance.weight.copy_(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(field.density(*make_gaussians())[0], density)
    changed = field.color(features, directions, images)
    for image in range(3):
        alone = field.color(features, directions, torch.full((50,), image))
        assert torch.equal(alone[images == image], changed[images == image])
        assert float((alone - mean).abs().max().detach()) > 1e-3


def test_renders_use_the_mean_code():
    field = make_field(num_images=3, appearance_dim=4)
    with torch.no_grad():
        field.appearance.weight.copy_(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    features, directions = field.density(*make_gaussians())[1], make_directions()
    rendered = field.color(features, directions)
    with torch.no_grad():
        field.appearance.weight.copy_(field.appearance.weight.mean(dim=0).expand(3, -1).clone())
    torch.testing.assert_close(field.color(features, directions, torch.zeros(50, dtype=torch.long)), rendered)


def test_without_codes_images_are_not_looked_at():
    field = make_field()
    features, directions = field.density(*make_gaussians())[1], make_directions()
    assert field.appearance is None and "appearance.weight" not in field.state_dict()
    images = torch.full((50,), 10**6)
    assert torch.equal(field.color(features, directions, images), field.color(features, directions))


# The inference form


@every_kind
@both_regimes
def test_folded_field_equals_the_field(layer, bounded):
    field = perturbed(make_field(layer, bounded=bounded, num_images=2, appearance_dim=3).double())
    field.footprint.fill_(0.03)
    folded = field.folded()
    assert isinstance(folded, MipNeRFField) and isinstance(folded.trunk, TiledMLP)
    assert list(folded.trunk.parameters()) == []
    means, covariances = (value.double() for value in make_gaussians())
    directions = make_directions().double()
    for shapes in (covariances, None):
        density, features = field.density(means, shapes)
        folded_density, folded_features = folded.density(means, shapes)
        size = float(features.detach().abs().max())
        torch.testing.assert_close(folded_features, features.detach(), rtol=0, atol=1e-10 * size)
        # densities and colours leave the field as float32
        torch.testing.assert_close(folded_density, density.detach(), rtol=1e-6, atol=0)
        colors = field.color(features, directions), folded.color(folded_features, directions)
        torch.testing.assert_close(colors[1], colors[0].detach(), rtol=0, atol=1e-6)


@every_kind
def test_folded_proposal_equals_the_proposal(layer):
    torch.manual_seed(0)
    options = {"num_layers": 2, "layer_width": 16, "position_frequencies": 4, "basis": "diagonal"}
    proposal = perturbed(GaussianDensityField(AABB, bounded=False, layer=layer, **options, **KINDS[layer]))
    means, covariances = make_gaussians()
    density, features = proposal.density(means * 5.0, covariances)
    assert features.shape == (50, 0)
    torch.testing.assert_close(fold(proposal).density(means * 5.0, covariances)[0], density.detach())


def test_folding_leaves_the_field_alone():
    field = make_field()
    state = copy.deepcopy(field.state_dict())
    folded = field.folded()
    with torch.no_grad():
        for buffer in folded.buffers():
            buffer.zero_()
    for name, value in field.state_dict().items():
        assert torch.equal(value, state[name]), name


# The sizes


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_dense_layers_have_as_many_parameters_as_a_network_without_replaced_ones():
    field = make_field("dense")
    encoded, width = 3 + 2 * 21 * 4, 16
    trunk = (encoded + 1) * width + 2 * (width + 1) * width + (width + encoded + 1) * width + (width + 1) * 13
    assert parameters(field) == trunk + (12 + 15 + 1) * 10 + 11 * 3
