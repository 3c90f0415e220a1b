"""Gaussians of conical frustums against points drawn from them, and against integrals that are known."""

import pytest
import torch
from support.frustum_points import frustum_points

from eugen_fields.encodings import conical_frustum_gaussians


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


FRUSTUMS = {  # start, end, radius, direction
    "thin and far": (3.0, 3.1, 0.001, vector(0.6, 0.0, 0.8)),
    "as wide as long": (2.0, 2.5, 0.1, vector(2.0, -1.0, 2.0) / 3.0),
    "whole cone": (0.0, 1.5, 0.3, vector(0.0, 0.0, 1.0)),
    "long and blunt": (0.2, 4.0, 1.5, vector(0.48, 0.64, -0.6)),
    "long direction": (0.5, 1.0, 0.4, vector(1.0, 2.0, -3.0)),
    "short direction": (2.0, 9.0, 0.02, vector(0.1, 0.0, 0.2)),
}
every_frustum = pytest.mark.parametrize("frustum", FRUSTUMS.values(), ids=FRUSTUMS)
ORIGIN = vector(0.3, -1.2, 0.7)


def gaussian(start, end, radius, direction):
    means, covariances = conical_frustum_gaussians(ORIGIN, direction, vector(start), vector(end), vector(radius))
    return means[0], covariances[0]


@every_frustum
def test_moments_are_those_of_points_in_the_frustum(frustum):
    start, end, radius, direction = frustum
    mean, covariance = gaussian(*frustum)
    count = 200_000
    offsets = frustum_points(ORIGIN, direction, start, end, radius, count) - mean
    products = (offsets[:, :, None] * offsets[:, None, :]).flatten(1)
    for drawn, claimed in ((offsets, torch.zeros(3, dtype=torch.float64)), (products, covariance.flatten())):
        error = drawn.std(dim=0) / count**0.5
        # the second term: an axis-aligned frustum has entries that are 0 but for rounding
        assert bool(((drawn.mean(dim=0) - claimed).abs() < 4.5 * error + 1e-15).all())


@pytest.mark.parametrize("height, radius", [(1.0, 1.0), (0.25, 3.0), (7.0, 0.01)])
def test_a_whole_cone_has_its_textbook_moments(height, radius):
    mean, covariance = gaussian(0.0, height, radius, vector(0.0, 1.0, 0.0))
    torch.testing.assert_close(mean - ORIGIN, vector(0.0, 0.75 * height, 0.0))
    across = 3.0 / 20.0 * (radius * height) ** 2
    torch.testing.assert_close(covariance, torch.diag(vector(across, 3.0 / 80.0 * height**2, across)))


def test_length_of_the_direction_only_rescales_distances():
    start, end, radius, direction = FRUSTUMS["as wide as long"]
    expected = gaussian(start, end, radius, direction)
    # the cone is twice as wide where the direction, twice as long, ends
    torch.testing.assert_close(gaussian(0.5 * start, 0.5 * end, 2.0 * radius, 2.0 * direction), expected)


def test_every_interval_of_every_ray_has_its_own_gaussian():
    origins = torch.stack([ORIGIN, -ORIGIN]).view(2, 1, 3).expand(2, 3, 3)
    directions = torch.stack([frustum[3] for frustum in list(FRUSTUMS.values())[:3]]).expand(2, 3, 3)
    radius = vector(0.1, 0.2, 0.3)[:, None].expand(2, 3, 1)
    edges = torch.cumsum(torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1)
    means, covariances = conical_frustum_gaussians(origins, directions, edges[..., :-1], edges[..., 1:], radius)
    assert means.shape == (2, 3, 4, 3) and covariances.shape == (2, 3, 4, 3, 3)
    one = conical_frustum_gaussians(origins[1, 2], directions[1, 2], edges[1, 2, 3:4], edges[1, 2, 4:], radius[1, 2])
    torch.testing.assert_close(one, (means[1, 2, 3:], covariances[1, 2, 3:]))


@pytest.mark.parametrize("middle, half", [(1e3, 1e-2), (1e5, 0.5), (1.0, 1e-4), (1e-6, 1e-6), (1e6, 1e6)])
def test_float32_keeps_the_moments_of_short_far_and_small_intervals(middle, half):
    direction = vector(0.6, 0.0, 0.8)
    edges = vector(middle - half, middle + half).float()  # both precisions see these
    results = []
    for dtype in (torch.float32, torch.float64):
        start, end = edges[:1].to(dtype), edges[1:].to(dtype)
        results.append(
            conical_frustum_gaussians(
                torch.zeros(3, dtype=dtype), direction.to(dtype), start, end, torch.tensor([1e-3], dtype=dtype)
            )
        )
    (means, covariances), (exact_means, exact_covariances) = results
    torch.testing.assert_close(means.double(), exact_means, rtol=1e-6, atol=0)
    largest = float(exact_covariances.abs().max())
    torch.testing.assert_close(covariances.double(), exact_covariances, rtol=0, atol=1e-6 * largest)


@pytest.mark.parametrize("start", [0.0, 2.0])
def test_an_empty_interval_is_a_disc(start):
    radius = 0.1
    at = vector(start).float().requires_grad_()
    mean, covariance = conical_frustum_gaussians(
        torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]), at, at, torch.tensor([radius])
    )
    across = (radius * start) ** 2 / 4.0
    torch.testing.assert_close(mean, torch.tensor([[0.0, 0.0, start]]))
    torch.testing.assert_close(covariance[0], torch.diag(torch.tensor([across, across, 0.0])))
    (gradient,) = torch.autograd.grad(mean.sum() + covariance.sum(), at)
    assert bool(torch.isfinite(gradient).all())


@every_frustum
def test_derivatives_are_those_of_the_values(frustum):
    start, end, radius, direction = frustum
    inputs = [ORIGIN, direction, vector(start + 0.01), vector(end), vector(radius)]
    inputs = [value.clone().requires_grad_() for value in inputs]
    assert torch.autograd.gradcheck(conical_frustum_gaussians, inputs)
