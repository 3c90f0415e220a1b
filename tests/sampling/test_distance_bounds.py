"""Distance bounds against brute force, and against planes and spheres, whose distances are known."""

import math

import torch

from eugen_fields.sampling import point_bounds, ray_bounds
from eugen_fields.sampling.distance_bounds import nearest_by_brute_force, nearest_points


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def on_sphere(count, radius=1.0, seed=0):
    points = normal(count, 3, seed=seed)
    return radius * points / points.norm(dim=-1, keepdim=True)


def test_nearest_points_equal_a_loop_in_chunks_of_any_size():
    queries, points = normal(53, 3), normal(31, 3, seed=1)
    expected = [min((math.dist(q, p), i) for i, p in enumerate(points.tolist())) for q in queries.tolist()]
    for chunk_size in (1, 100, 1 << 20):
        distances, indices = nearest_points(queries, points, chunk_size)
        assert indices.tolist() == [index for _, index in expected]
        torch.testing.assert_close(distances, torch.tensor([d for d, _ in expected], dtype=torch.float64))


def test_millimetres_are_told_apart_far_from_the_origin():
    points = torch.tensor([[8.0, 9.0, 7.0], [8.001, 9.0, 7.0]])
    queries = torch.tensor([[7.999, 9.0, 7.0], [8.002, 9.0, 7.0], [8.0, 9.0, 7.0]])
    distances, indices = nearest_points(queries, points.repeat(40, 1))
    assert (indices % 2).tolist() == [0, 1, 0]
    torch.testing.assert_close(distances, torch.tensor([0.001, 0.001, 0.0]), rtol=0, atol=2e-6)


def test_brute_force_in_float32_finds_the_distances_of_float64():
    queries, points = 4.0 * normal(400, 3), 4.0 * normal(1500, 3, seed=1) + 3.0
    points[:100] = queries[:100] + 1e-3 * normal(100, 3, seed=2)
    exact = torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values
    rounded = queries.float(), points.float()
    indices = nearest_by_brute_force(*rounded, chunk_size=1 << 16)
    found = (rounded[0].double() - rounded[1].double()[indices]).norm(dim=-1)
    best = torch.cdist(*(value.double() for value in rounded)).min(dim=1).values
    torch.testing.assert_close(found, best, rtol=1e-5, atol=0)
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=2e-6)  # what rounding the points to float32 costs


def test_ray_bounds_are_what_is_left_of_the_ray():
    bounds = ray_bounds(torch.tensor([2.0, 3.0]), torch.tensor([[0.5, 2.0, 2.25], [0.5, 2.0, 3.5]]))
    assert bounds.tolist() == [[1.5, 0.0, -0.25], [2.5, 1.0, -0.5]]


def test_bounds_and_directions_of_a_densely_seen_plane():
    grid = torch.linspace(-2.0, 2.0, 81, dtype=torch.float64)
    surface = torch.cartesian_prod(grid, grid, torch.zeros(1, dtype=torch.float64))
    normals = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(surface)
    samples = surface[torch.arange(0, len(surface), 97)][:, None] + torch.tensor(
        [[0.0, 0.0, 1.5], [0.0, 0.0, 0.02], [0.0, 0.0, 0.0], [0.0, 0.0, -0.05]], dtype=torch.float64
    )
    result = point_bounds(samples, samples[..., 2] < 0, surface, normals)
    torch.testing.assert_close(result.bounds, samples[..., 2])  # the plane is z = 0
    # away from it in front, towards it behind, the normal on it: all of them up
    torch.testing.assert_close(result.directions, normals[0].expand_as(samples))


def test_bounds_of_a_sphere_are_never_too_small_and_tighten_with_more_points():
    outside = on_sphere(200, seed=1) * (1.0 + torch.linspace(0.05, 1.0, 200, dtype=torch.float64)[:, None])
    inside = on_sphere(100, seed=2) * torch.linspace(0.7, 0.95, 100, dtype=torch.float64)[:, None]
    samples = torch.cat([outside, inside]).view(30, 10, 3)
    truth = samples.norm(dim=-1) - 1.0
    excess = []
    for count in (200, 20_000):
        surface = on_sphere(count, seed=3)
        result = point_bounds(samples, truth < 0, surface, surface)
        too_far = result.bounds.abs() - truth.abs()
        assert float(too_far.min()) > -1e-12
        assert torch.equal(result.bounds < 0, truth < 0)
        excess.append(float(too_far.mean()))
    assert excess[1] < 0.1 * excess[0] < 0.01
    far = truth.abs() > 0.2
    outwards = samples / samples.norm(dim=-1, keepdim=True)
    cosine = (result.directions * outwards).sum(dim=-1)
    assert float(cosine[far].min()) > 0.99


def test_directions_are_unit_and_those_of_the_nearest_point():
    samples, surface, normals = normal(20, 5, 3), normal(40, 3, seed=1), on_sphere(40, seed=2)
    behind = normal(20, 5, seed=3) > 0
    result = point_bounds(samples, behind, surface, normals, chunk_size=64)
    nearest = torch.cdist(samples, surface).argmin(dim=-1)
    away = samples - surface[nearest]
    # from the surface point along the direction by the bound one gets to the sample, on either side
    torch.testing.assert_close(result.bounds[..., None] * result.directions, away)
    torch.testing.assert_close(result.directions.norm(dim=-1), torch.ones(20, 5, dtype=torch.float64))
    assert torch.equal(result.bounds < 0, behind)


def test_surface_points_take_the_normal_or_none_if_unknown():
    surface = normal(6, 3, dtype=torch.float32)
    normals = on_sphere(6).float()
    normals[2] = 0.0
    result = point_bounds(surface[:, None], torch.zeros(6, 1, dtype=torch.bool), surface, normals)
    assert torch.equal(result.bounds, torch.zeros(6, 1))
    assert torch.equal(result.directions[:, 0], normals)


def test_no_samples_have_no_bounds():
    none = torch.zeros(0, 27, dtype=torch.bool)
    result = point_bounds(torch.zeros(0, 27, 3), none, torch.zeros(0, 3), torch.zeros(0, 3))
    assert result.bounds.shape == (0, 27) and result.directions.shape == (0, 27, 3)
