"""Rays that are followed in rounds of proposals."""

import pytest
import torch

from eugen_fields.sampling import march, to_distances, to_normalised

NEAR = torch.tensor([0.1, 2.0, 0.5, 0.2])
FAR = torch.tensor([50.0, 1.0, 30.0, 8.0])  # the second meets nothing
MEETING = [0, 2, 3]
every_spacing = pytest.mark.parametrize("spacing", ["linear", "disparity", "power"])


def along_x(rays, distances):
    """Gaussians of intervals on the x axis: the share of an interval is all that a test needs of a covariance."""
    middles, lengths = 0.5 * (distances[:, 1:] + distances[:, :-1]), torch.diff(distances)
    means = torch.stack([middles, rays[:, None].expand_as(middles), torch.zeros_like(middles)], dim=-1)
    return means, lengths[..., None, None] ** 2 * torch.eye(3)


def slab(place, thickness, opacity=200.0):
    """Density of what of an interval lies in a slab on the x axis; its features are its place."""

    def look(means, covariances):
        lengths = covariances[..., 0, 0].sqrt()
        starts, ends = means[..., 0] - 0.5 * lengths, means[..., 0] + 0.5 * lengths
        inside = (ends.clamp(max=place + thickness) - starts.clamp(min=place)).clamp(min=0.0)
        return opacity * inside / lengths.clamp_min(1e-12), means[..., :1]

    return look


@every_spacing
def test_rays_that_meet_something_are_followed_between_their_limits(spacing):
    intervals = march(NEAR, FAR, along_x, [(slab(3.0, 0.5), 24), (slab(3.0, 0.5), 12)], spacing=spacing)
    assert intervals.rays.tolist() == MEETING
    assert torch.equal(intervals.means[:, 0, 1], torch.tensor([0.0, 2.0, 3.0])), "Gaussians know their rays"
    assert [tuple(weights.shape) for _, weights in intervals.history] == [(3, 24), (3, 12)]
    assert bool((intervals.distances >= NEAR[MEETING, None] * (1.0 - 1e-5)).all())
    assert bool((intervals.distances <= FAR[MEETING, None] * (1.0 + 1e-5)).all())
    edges, weights = intervals.history[-1]
    normalised = to_normalised(intervals.distances, NEAR[MEETING, None], FAR[MEETING, None], spacing)
    torch.testing.assert_close(normalised, edges, rtol=1e-3, atol=1e-5)
    assert torch.equal(weights, intervals.weights)
    torch.testing.assert_close(intervals.features[..., 0], intervals.means[..., 0])


def test_the_first_round_is_even_and_later_ones_go_where_the_weights_are():
    look = slab(3.0, 0.3)
    intervals = march(NEAR, FAR, along_x, [(look, 64), (look, 64), (look, 16)], spacing="disparity")
    first = intervals.history[0][0]
    torch.testing.assert_close(first, torch.linspace(0.0, 1.0, 65).expand(3, -1))
    share = []  # of a ray's samples that lie in the slab or just before it
    for edges, _ in intervals.history:
        distances = to_distances(edges, NEAR[MEETING, None], FAR[MEETING, None], "disparity")
        middles = 0.5 * (distances[:, 1:] + distances[:, :-1])
        share.append(((middles > 2.5) & (middles < 3.3)).float().mean(dim=1))
    assert bool((share[0] < 0.1).all()) and bool((share[2] > 0.5).all())
    assert bool((intervals.weights.sum(dim=1) > 0.99).all())
    means, _, weights = intervals.heaviest()
    assert bool(((means[:, 0] > 2.5) & (means[:, 0] < 3.4)).all()) and bool((weights > 0.1).all())


def test_padding_finds_what_the_proposal_does_not_know_of():
    """The proposal sees a slab at 1 alone; the field has one at 6 too, behind a thin first one."""
    intervals = march(NEAR, FAR, along_x, [(slab(1.0, 0.5), 64), (slab(6.0, 2.0), 64)], spacing="linear")
    assert bool((intervals.weights.sum(dim=1) > 0.99).all())


def test_annealing_keeps_the_next_round_even_at_first():
    rounds = [(slab(3.0, 0.3), 64), (slab(3.0, 0.3), 16)]
    edges = march(NEAR, FAR, along_x, rounds, spacing="linear", anneal_progress=0.0).history[-1][0]
    torch.testing.assert_close(edges, torch.linspace(0.0, 1.0, 17).expand(3, -1))


def test_where_nothing_is_met_one_ray_stands_for_all_without_weight():
    density = torch.full((), 3.0, requires_grad=True)

    def fog(means, covariances):
        return density.expand(means.shape[:2]), means[..., :1]

    intervals = march(FAR, FAR, along_x, [(fog, 8), (fog, 4)], spacing="linear")
    assert intervals.rays.tolist() == [0] and not bool(intervals.weights.any())
    intervals.weights.sum().backward()
    assert float(density.grad) == 0.0  # type: ignore[arg-type]


def test_values_of_followed_rays_stand_among_zeros():
    intervals = march(NEAR, FAR, along_x, [(slab(3.0, 0.3), 8)], spacing="linear")
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    expected = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 4.0], [5.0, 6.0]])
    assert torch.equal(intervals.on_all_rays(values, 4), expected)


def test_gradients_near_a_camera_are_scaled_by_the_square_of_the_distance_and_values_are_not():
    found = []
    for scale_gradients in (False, True):
        density = torch.full((3, 40), 0.1, requires_grad=True)
        features = torch.ones(3, 40, 2, requires_grad=True)
        # not the leaves themselves: hooks are on what the network gives
        rounds = [(lambda means, covariances: (density * 1.0, features * 1.0), 40)]  # noqa: B023
        intervals = march(NEAR, FAR, along_x, rounds, spacing="linear", scale_gradients=scale_gradients)
        (intervals.weights[..., None] * intervals.features).square().sum().backward()
        found.append((intervals, density.grad, features.grad))
    (plain, *gradients), (scaled, *scaled_gradients) = found
    assert torch.equal(plain.weights, scaled.weights)
    middles = 0.5 * (plain.distances[:, 1:] + plain.distances[:, :-1])
    scale = middles.square().clamp(max=1.0)
    assert bool((scale < 1).any()) and bool((scale == 1).any())
    torch.testing.assert_close(scaled_gradients[0], gradients[0] * scale)
    torch.testing.assert_close(scaled_gradients[1], gradients[1] * scale[..., None])


def test_half_precision_gradients_near_a_camera_are_scaled_too():
    """Networks give half precision under autocast, and a gradient must come back in the type that it came in."""
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        density = torch.full((3, 40), 0.1, requires_grad=True)
        features = torch.ones(3, 40, 2, requires_grad=True)
        rounds = [(lambda means, covariances: (density.to(dtype), features.to(dtype)), 40)]  # noqa: B023
        intervals = march(NEAR, FAR, along_x, rounds, spacing="linear", scale_gradients=True)
        (intervals.weights[..., None] * intervals.features).square().sum().backward()
        found.append((density.grad, features.grad))
    for half, single in zip(found[1], found[0]):
        torch.testing.assert_close(half, single, rtol=0.05, atol=1e-4)
