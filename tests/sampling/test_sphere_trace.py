"""Sphere tracing against spheres and boxes, whose intersections are known, and on fields that are no distances."""

import math

import pytest
import torch

from eugen_fields.sampling import sphere_trace


def unit(count, seed=0):
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return points / points.norm(dim=-1, keepdim=True)


def sphere(points):
    return points.norm(dim=-1) - 0.5


def box(points, half=(0.4, 0.6, 0.3)):
    excess = points.abs() - torch.tensor(half, dtype=points.dtype)
    return excess.clamp_min(0.0).norm(dim=-1) + excess.amax(dim=-1).clamp_max(0.0)


def sphere_hits(origins, directions):
    """Distance to the sphere, NaN beside it; and how near the ray comes to its surface."""
    along = -(origins * directions).sum(dim=-1)
    closest = ((origins**2).sum(dim=-1) - along**2).sqrt()
    return along - (0.25 - closest**2).sqrt(), closest - 0.5


def box_hits(origins, directions, half=(0.4, 0.6, 0.3)):
    half = torch.tensor(half, dtype=origins.dtype)
    ends = torch.stack([(-half - origins) / directions, (half - origins) / directions])
    enter, leave = ends.amin(dim=0).amax(dim=-1), ends.amax(dim=0).amin(dim=-1)
    return torch.where(enter < leave, enter, torch.nan)


def rays_towards_the_origin(count=2000, spread=0.8):
    origins = 2.0 * unit(count)
    targets = spread * torch.rand(count, 1, generator=torch.Generator().manual_seed(5)).double() * unit(count, seed=1)
    directions = targets - origins
    return origins, directions / directions.norm(dim=-1, keepdim=True)


def test_spheres_are_hit_where_they_are():
    origins, directions = rays_towards_the_origin()
    depth, hit = sphere_trace(sphere, origins, directions, 0.1, 5.0)
    expected, apart = sphere_hits(origins, directions)
    clear = apart.abs() > 0.01  # grazing rays meet the tolerance
    assert torch.equal(hit[clear], (apart < 0)[clear])
    assert 0.1 < float(hit.double().mean()) < 0.95
    found = clear & hit
    # within the tolerance of the surface: along the ray more, by the slope it comes at
    assert float(sphere(origins + depth[:, None] * directions)[hit].abs().max()) < 1.5e-3
    assert float((depth - expected)[found].abs().max()) < 0.01
    assert float((depth - expected)[found].abs().median()) < 1.5e-3
    assert torch.equal(depth[~hit], torch.full_like(depth[~hit], 5.0))


def test_boxes_are_hit_where_they_are():
    origins, directions = rays_towards_the_origin()
    depth, hit = sphere_trace(box, origins, directions, 0.1, 5.0, step_factor=1.0)
    expected = box_hits(origins, directions)
    clear = (torch.isnan(expected) == torch.isnan(box_hits(origins, directions, (0.42, 0.62, 0.32)))) & (
        torch.isnan(expected) == torch.isnan(box_hits(origins, directions, (0.38, 0.58, 0.28)))
    )
    assert float(clear.double().mean()) > 0.9
    assert torch.equal(hit[clear], ~torch.isnan(expected)[clear])
    error = (depth - expected)[clear & hit].abs()
    assert float(error.median()) < 1.5e-3 and float(error.quantile(0.99)) < 0.01


@pytest.mark.parametrize("name", ["too long", "too short", "warped", "a step"])
def test_fields_that_are_no_distances_are_hit_all_the_same(name):
    fields = {
        "too long": lambda p: 1.6 * sphere(p),
        "too short": lambda p: 0.05 * sphere(p),
        "warped": lambda p: sphere(p) * (1.0 + 0.5 * torch.sin(9.0 * p[:, 0])),
        "a step": lambda p: torch.where(sphere(p) > 0, 0.3, -0.3).to(p),
    }
    origins, directions = rays_towards_the_origin(spread=0.3)
    depth, hit = sphere_trace(fields[name], origins, directions, 0.1, 5.0, tolerance=1e-4)
    expected, _ = sphere_hits(origins, directions)
    assert bool(hit.all())
    assert float((depth - expected).abs().max()) < 5e-3


def test_evaluations_of_a_ray_are_bounded_and_every_ray_gets_to_its_end():
    evaluations = []

    def small_everywhere(points):
        evaluations.append(len(points))
        return torch.full_like(points[:, 0], 0.01)

    depth, hit = sphere_trace(small_everywhere, *rays_towards_the_origin(50), 0.0, 10.0, max_steps=20, tolerance=1e-3)
    assert not bool(hit.any()) and torch.equal(depth, torch.full_like(depth, 10.0))
    assert evaluations == [50] * 21
    # the last of them at the end: a wall just before it is not missed
    origins = torch.zeros(1, 3, dtype=torch.float64)
    ahead = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    depth, hit = sphere_trace(lambda p: 0.02 * (9.9 - p[:, 0]), origins, ahead, 0.0, 10.0, max_steps=20)
    assert bool(hit) and float(depth) == pytest.approx(9.9, abs=0.06)


def test_rays_that_have_ended_are_not_evaluated_any_more():
    counts = []

    def counted(points):
        counts.append(len(points))
        return sphere(points)

    origins, directions = rays_towards_the_origin()
    hit = sphere_trace(counted, origins, directions, 0.1, 5.0)[1]
    marching, halving = counts[:-10], counts[-10:]
    assert marching[0] == 2000 and sorted(marching, reverse=True) == marching
    assert sum(marching) < 2000 * 12 and len(marching) < 65
    assert len(set(halving)) == 1 and halving[0] <= int(hit.sum())


def test_only_what_lies_between_near_and_far_is_hit():
    origins = torch.tensor([[-2.0, 0.0, 0.0]], dtype=torch.float64)
    ahead = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    assert not bool(sphere_trace(sphere, origins, ahead, 0.1, 1.4)[1])
    assert bool(sphere_trace(sphere, origins, ahead, 0.1, 1.6)[1])
    # steps of 0.24 from 0.1 on, the last of which would end in the sphere
    assert not bool(sphere_trace(lambda p: 0.3 * sphere(p).sign(), origins, ahead, 0.1, 1.49)[1])
    depth, hit = sphere_trace(sphere, origins, ahead, 2.6, 4.0)  # past it
    assert not bool(hit) and float(depth) == 4.0


def test_rays_that_begin_inside_hit_nothing():
    origins = 0.3 * unit(20)
    depth, hit = sphere_trace(sphere, origins, unit(20, seed=2), 0.01, 3.0)
    assert not bool(hit.any()) and torch.equal(depth, torch.full_like(depth, 3.0))


def test_the_first_of_two_surfaces_is_hit():
    def shells(points):
        return torch.minimum((points.norm(dim=-1) - 1.0).abs() - 0.1, sphere(points))

    origins = 3.0 * unit(50)
    depth, hit = sphere_trace(shells, origins, -unit(50), 0.1, 5.0)
    assert bool(hit.all())
    torch.testing.assert_close(depth, torch.full_like(depth, 1.9), rtol=0, atol=2e-3)


def test_nan_is_no_hit_and_no_rays_are_fine():
    origins, directions = rays_towards_the_origin(5)
    assert not bool(sphere_trace(lambda p: p[:, 0] * math.nan, origins, directions, 0.1, 5.0)[1].any())
    depth, hit = sphere_trace(sphere, origins[:0], directions[:0], 0.1, 5.0)
    assert depth.shape == hit.shape == (0,)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"step_factor": 0.0}, "step_factor is 0.0"),
        ({"step_factor": 1.5}, "step_factor is 1.5"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"far": 0.1}, "near is 0.1 and far 0.1"),
    ],
)
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sphere_trace(sphere, *rays_towards_the_origin(2), **{"near": 0.1, "far": 5.0, **options})
