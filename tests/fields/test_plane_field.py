"""PlaneField and the proposal's PlaneDensityField: stretches of cones in, density and colour out."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from eugen_fields.encodings import PlaneEncoding, conical_frustum_gaussians, contract
from eugen_fields.fields import PlaneDensityField, PlaneField, RadianceField
from eugen_fields.kernels import TiledMLP

AABB = torch.tensor([[-1.0, -2.0, 0.5], [2.0, 1.0, 1.5]])
KINDS = {
    "dense": {},
    "eugen": {"num_features": 4},
    "eugen-residual": {"num_features": 4},
    "prp": {},
    "low-rank": {"rank": 3},
    "snnk": {"num_features": 4},
}
every_kind = pytest.mark.parametrize("layer", KINDS)
both_regimes = pytest.mark.parametrize("bounded", [True, False], ids=["bounded", "unbounded"])


def make_field(layer="dense", bounded=True, **options):
    torch.manual_seed(0)
    small = {"num_layers": 2, "layer_width": 16, "feature_dim": 5, "color_width": 8}
    return PlaneField(
        AABB, PlaneEncoding((4, 9), 3), bounded=bounded, layer=layer, **{**small, **KINDS[layer], **options}
    )


def points(count=50, reach=1.0):
    places = torch.rand(count, 3, generator=torch.Generator().manual_seed(1))
    middle = AABB.mean(dim=0)
    return middle + reach * (AABB[0] + places * (AABB[1] - AABB[0]) - middle)


def directions(count=50):
    return F.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(2)), dim=-1)


def test_it_is_a_radiance_field_of_a_trunk_behind_planes():
    field, places = make_field(), points()
    assert isinstance(field, RadianceField) and field.trunk.in_dim == 3 + 2 * 3
    density, color = field(places, directions())
    raw = field.trunk(field.position_encoding((places - AABB.mean(dim=0)) / 1.5))
    torch.testing.assert_close(density, field.initial_density * raw[:, 0].exp())
    torch.testing.assert_close(color, field.color(raw[:, 1:], directions()))
    assert 0.0 <= float(color.detach().min()) and float(color.detach().max()) <= 1.0


@every_kind
@both_regimes
def test_every_kind_of_head_builds_folds_and_trains_all_it_has(layer, bounded):
    field = make_field(layer, bounded)
    places, widths = points(), torch.full((50,), 0.01)
    density, features = field.density(places, widths)
    color = field.color(features, directions())
    (density.log().square().mean() + color.square().mean()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name
    folded = field.folded()
    assert isinstance(folded.trunk, TiledMLP) and isinstance(folded, PlaneField)
    with torch.no_grad():
        torch.testing.assert_close(folded.density(places, widths)[0], density, rtol=1e-4, atol=1e-5)


def test_one_hidden_layer_can_be_of_any_kind_too():
    field = make_field("eugen", num_layers=1)
    assert field.trunk.replace == (0,) and len(field.trunk.layers) == 2


@both_regimes
def test_a_stretch_of_a_cone_is_read_at_its_mean_as_wide_as_it_is_there(bounded):
    field = make_field(bounded=bounded)
    origins, radius = torch.tensor([[0.5, -0.5, 9.0]]), torch.tensor([[0.02]])
    toward = torch.tensor([[0.0, 0.0, -1.0]])
    edges = torch.tensor([[1.0, 3.0, 8.2, 8.3]])
    means, widths = field.places(origins, toward, edges[:, :-1], edges[:, 1:], radius)
    gaussians = conical_frustum_gaussians(origins, toward, edges[:, :-1], edges[:, 1:], radius)
    torch.testing.assert_close(means, gaussians[0])
    torch.testing.assert_close(widths**2, gaussians[1][..., 0, 0])  # x lies across this cone
    places, scaled = field.normalise(means[0], widths[0])
    half = 1.5

    def to_frame(x):
        y = (x - AABB.mean(dim=0)) / half
        return y if bounded else contract(y) / 2

    torch.testing.assert_close(places, to_frame(means[0]))
    step = torch.tensor([1e-3, 0.0, 0.0])  # the middle of the box lies on the axis: x is along no radius
    stretched = (to_frame(means[0] + step) - to_frame(means[0] - step)).norm(dim=-1) / 2e-3
    torch.testing.assert_close(scaled, widths[0] * stretched, rtol=1e-3, atol=0)


def test_far_places_are_finite_and_lie_within_the_planes():
    field = make_field(bounded=False)
    far = torch.tensor([[1e6, 0.0, 0.0], [3e4, -5e5, 100.0]])
    places, widths = field.normalise(far, torch.tensor([100.0, 1e4]))
    assert float(places.abs().max()) <= 1.0 and bool((widths < 0.02).all())
    density, features = field.density(far, torch.tensor([100.0, 1e4]))
    assert bool(density.isfinite().all() and features.isfinite().all())


def test_points_are_seen_as_large_as_training_saw_surfaces():
    field, places = make_field(), points()
    torch.testing.assert_close(field.density(places)[0], field.density(places, torch.zeros(50))[0])
    field.watch_footprint(places, torch.full((50,), 0.15), torch.ones(50))
    assert float(field.footprint) == pytest.approx(0.15 / 1.5)
    torch.testing.assert_close(field.density(places)[0], field.density(places, torch.full((50,), 0.15))[0])
    field.watch_footprint(places, torch.full((50,), 0.3), torch.ones(50), rate=0.5)
    assert float(field.footprint) == pytest.approx(0.15)
    for weights, widths in ((torch.zeros(50), 0.3), (torch.ones(50), math.nan)):
        field.watch_footprint(places, torch.full((50,), widths), weights)
        assert float(field.footprint) == pytest.approx(0.15), "batches that show nothing leave it alone"


def test_autocast_leaves_what_the_trunk_reads_exact():
    field, places = make_field(bounded=False), points(reach=3.0)
    exact = field.encode(places, torch.full((50,), 0.01))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = field.encode(places, torch.full((50,), 0.01))
        density, _ = field.density(places)
    assert mixed.dtype == density.dtype == torch.float32
    torch.testing.assert_close(mixed, exact)


def test_copies_have_planes_of_their_own():
    field = make_field()
    copied = copy.deepcopy(field)
    with torch.no_grad():
        copied.position_encoding.planes[0].zero_()
    assert bool(field.position_encoding.planes[0].all())


def test_a_proposal_has_density_alone_and_its_own_total_variation():
    proposal = PlaneDensityField(AABB, PlaneEncoding((8,), 2), bounded=True, num_layers=1, layer_width=8, layer="dense")
    density, features = proposal.density(points(), torch.full((50,), 0.01))
    assert density.shape == (50,) and features.shape == (50, 0)
    torch.testing.assert_close(proposal.total_variation(), proposal.position_encoding.total_variation())
