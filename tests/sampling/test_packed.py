"""Packed samples and volume rendering against loops over rays, and against integrals that are known."""

import math

import pytest
import torch
import torch.nn.functional as F

from eugen_fields.sampling import PackedSamples, accumulate, intersect_box, render_weights, sample_rays


def uniform(*shape, seed=0, low=0.0, high=1.0, dtype=torch.float32):
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def directions(count, seed=0, dtype=torch.float32):
    return F.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def pack(counts, step_size=0.1):
    """Samples with these counts on each ray."""
    counts = torch.tensor(counts, dtype=torch.long)
    rays = torch.repeat_interleave(torch.arange(len(counts)), counts)
    steps = torch.cat([torch.arange(int(count)) for count in counts] or [torch.zeros(0, dtype=torch.long)])
    return PackedSamples(rays, (steps + 0.5) * step_size, counts, step_size)


COUNTS = {"mixed": [3, 0, 5, 1, 0, 0, 7, 2, 0], "one ray": [4], "one sample": [0, 1], "even": [3, 3, 3]}
every_packing = pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)


# --- the box


def test_box_distances_bound_exactly_what_is_inside():
    aabb = torch.tensor([[-1.0, -0.5, 0.25], [0.5, 1.5, 2.0]], dtype=torch.float64)
    rays = 400
    origins = uniform(rays, 3, seed=1, low=-2.5, high=3.0, dtype=torch.float64)
    heading = directions(rays, seed=2, dtype=torch.float64)
    near, far = intersect_box(origins, heading, aabb)
    assert bool((near >= 0).all())
    distances = torch.linspace(0.0, 8.0, 1601, dtype=torch.float64)
    points = origins[:, None] + distances[:, None] * heading[:, None]
    inside = ((points > aabb[0]) & (points < aabb[1])).all(dim=-1)
    claimed = (distances > near[:, None]) & (distances < far[:, None])
    close = ((distances - near[:, None]).abs() < 1e-9) | ((distances - far[:, None]).abs() < 1e-9)
    assert bool(((inside == claimed) | close).all())
    hits = inside.any(dim=1)
    assert 30 < int(hits.sum()) < rays - 30
    starts_inside = inside[:, 0]
    assert bool(starts_inside.any()) and bool((near[starts_inside] == 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_box_seen_along_an_axis(axis, sign, dtype):
    aabb = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]], dtype=dtype)
    heading = torch.zeros(4, 3, dtype=dtype)
    heading[:, axis] = sign
    origins = torch.full((4, 3), 0.25, dtype=dtype)
    origins[0, axis] = -3.0 * sign  # in front of the box
    origins[1, axis] = 0.0  # in it
    origins[2, axis] = 3.0 * sign  # behind it
    origins[3, axis] = -3.0 * sign  # beside it
    origins[3, (axis + 1) % 3] = 1.5
    near, far = intersect_box(origins, heading, aabb)
    torch.testing.assert_close(near[:2], torch.tensor([2.0, 0.0], dtype=dtype))
    torch.testing.assert_close(far[:2], torch.tensor([4.0, 1.0], dtype=dtype))
    assert bool((far[2:] <= near[2:]).all())


def test_ray_in_a_face_of_the_box_has_distances():
    aabb = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    heading = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, -0.0, 0.0]])
    origins = torch.tensor([[-3.0, 1.0, 0.0], [-3.0, -1.0, 0.0], [-3.0, 0.5, 1.0]])
    near, far = intersect_box(origins, heading, aabb)
    assert bool((near == 2.0).all()) and bool(torch.isfinite(far).all())


def test_box_without_rays():
    near, far = intersect_box(torch.zeros(0, 3), torch.zeros(0, 3), torch.tensor([[0.0] * 3, [1.0] * 3]))
    assert near.shape == far.shape == (0,)


# --- samples


@pytest.mark.parametrize("stratified", [False, True])
def test_every_interval_between_near_and_far_holds_one_sample(stratified):
    near = torch.tensor([0.0, 0.5, 2.0, 3.0, 1.0])
    far = torch.tensor([1.0, 1.3, 2.0, 2.5, 1.0625])
    step = 0.125
    torch.manual_seed(0)
    samples = sample_rays(torch.zeros(5, 3), directions(5), near, far, step, None, stratified=stratified)
    assert samples.counts.tolist() == [8, 7, 0, 0, 1] and len(samples) == 16 and samples.num_rays == 5
    assert samples.ray_indices.tolist() == [0] * 8 + [1] * 7 + [4]
    intervals = torch.cat([torch.arange(count) for count in samples.counts.tolist()])
    places = (samples.distances - near[samples.ray_indices]) / step - intervals
    assert bool((places >= 0).all()) and bool((places < 1 + 1e-5).all())
    if stratified:
        assert float(places.std()) > 0.1
    else:
        torch.testing.assert_close(places, torch.full_like(places, 0.5))


def test_stratified_samples_follow_torch_and_middles_ignore_it():
    arguments = (torch.zeros(6, 3), directions(6), torch.zeros(6), torch.full((6,), 2.0), 0.25, None)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(sample_rays(*arguments, stratified=True).distances)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    middles = sample_rays(*arguments, stratified=False).distances
    assert torch.equal(middles, sample_rays(*arguments, stratified=False).distances)


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("rays", [0, 3])
def test_rays_that_miss_get_no_samples(rays, stratified):
    near, far = torch.ones(rays), torch.zeros(rays)
    samples = sample_rays(torch.zeros(rays, 3), directions(rays), near, far, 0.1, None, stratified=stratified)
    assert len(samples) == 0 and samples.counts.tolist() == [0] * rays
    weights = render_weights(torch.zeros(0), samples)
    assert weights.shape == (0,)
    assert torch.equal(accumulate(weights, torch.zeros(0, 3), samples), torch.zeros(rays, 3))
    assert torch.equal(accumulate(weights, None, samples), torch.zeros(rays, 1))


@every_packing
def test_keep_leaves_the_masked_samples_on_their_rays(counts):
    samples = pack(counts)
    mask = uniform(len(samples), seed=3) < 0.5
    kept = samples.keep(mask)
    expected = [(r, d) for r, d, m in zip(samples.ray_indices.tolist(), samples.distances.tolist(), mask) if m]
    assert list(zip(kept.ray_indices.tolist(), kept.distances.tolist())) == expected
    assert kept.counts.tolist() == [sum(r == ray for r, _ in expected) for ray in range(len(counts))]
    assert kept.step_size == samples.step_size and kept.num_rays == samples.num_rays


def test_keep_of_nothing_and_of_everything():
    samples = pack(COUNTS["mixed"])
    nothing = samples.keep(torch.zeros(len(samples), dtype=torch.bool))
    assert len(nothing) == 0 and nothing.counts.tolist() == [0] * samples.num_rays
    everything = samples.keep(torch.ones(len(samples), dtype=torch.bool))
    assert torch.equal(everything.counts, samples.counts) and torch.equal(everything.distances, samples.distances)
    assert len(pack([]).keep(torch.zeros(0, dtype=torch.bool))) == 0


# --- compositing


def weights_by_loop(density, samples):
    """w_i = T_i (1 - exp(-sigma_i delta)), ray by ray."""
    weights = []
    transmittance = {}
    for ray, sigma in zip(samples.ray_indices.tolist(), density.tolist()):
        before = transmittance.get(ray, 1.0)
        after = before * math.exp(-sigma * samples.step_size)
        weights.append(before - after)
        transmittance[ray] = after
    return torch.tensor(weights, dtype=torch.float64)


@every_packing
def test_weights_equal_a_loop_over_each_ray(counts):
    samples = pack(counts)
    density = uniform(len(samples), high=30.0, dtype=torch.float64)
    torch.testing.assert_close(render_weights(density, samples), weights_by_loop(density, samples), rtol=0, atol=1e-13)


@every_packing
def test_weights_have_the_right_derivatives(counts):
    samples = pack(counts)
    density = uniform(len(samples), low=0.5, high=15.0, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda sigma: render_weights(sigma, samples), density)
    assert torch.autograd.gradgradcheck(lambda sigma: render_weights(sigma, samples), density)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_weights_are_float32_or_wider(dtype):
    samples = pack(COUNTS["mixed"])
    density = uniform(len(samples), high=8.0).to(dtype)
    weights = render_weights(density, samples)
    assert weights.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(weights.double(), weights_by_loop(density, samples), rtol=0, atol=1e-6)
    assert render_weights(density[:0], pack([0, 0])).dtype == weights.dtype


@every_packing
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_weights_and_transmittance_sum_to_one(counts, scale):
    samples = pack(counts)
    density = uniform(len(samples), seed=4, high=30.0 * scale, dtype=torch.float64)
    opacity = accumulate(render_weights(density, samples), None, samples)
    depth = accumulate(density * samples.step_size, None, samples)
    torch.testing.assert_close(opacity, -torch.expm1(-depth), rtol=1e-12, atol=1e-15)
    assert bool((opacity >= 0).all()) and bool((opacity <= 1 + 1e-12).all())


@pytest.mark.parametrize("surface", [1e4, 1e10, 1e30, math.inf])
def test_a_surface_of_any_density_takes_only_the_light_that_reaches_it(surface):
    samples = pack([4], step_size=0.1)
    density = torch.tensor([10.0, 20.0, surface, 10.0])
    reached = math.exp(-1.0 - 2.0)
    expected = torch.tensor([1.0 - math.exp(-1.0), math.exp(-1.0) - reached, reached, 0.0])
    torch.testing.assert_close(render_weights(density, samples), expected, rtol=1e-5, atol=1e-7)


def test_no_density_has_no_weight():
    samples = pack(COUNTS["mixed"])
    assert torch.equal(render_weights(torch.zeros(len(samples)), samples), torch.zeros(len(samples)))


def test_long_rays_keep_their_precision():
    samples = pack([4000, 10], step_size=0.01)
    density = uniform(len(samples), seed=5, high=0.5)
    weights = render_weights(density, samples)
    torch.testing.assert_close(weights.double(), weights_by_loop(density, samples), rtol=1e-3, atol=1e-7)


@every_packing
def test_accumulate_equals_a_loop(counts):
    samples = pack(counts)
    weights = uniform(len(samples), seed=1, dtype=torch.float64).requires_grad_()
    values = uniform(len(samples), 3, seed=2, dtype=torch.float64).requires_grad_()
    expected = torch.zeros(len(counts), 3, dtype=torch.float64)
    total = torch.zeros(len(counts), 1, dtype=torch.float64)
    for i, ray in enumerate(samples.ray_indices.tolist()):
        expected[ray] += weights[i].detach() * values[i].detach()
        total[ray] += weights[i].detach()
    torch.testing.assert_close(accumulate(weights, values, samples), expected)
    torch.testing.assert_close(accumulate(weights, None, samples), total)
    assert torch.autograd.gradcheck(lambda w, v: accumulate(w, v, samples), (weights, values))


@pytest.mark.parametrize("stratified", [False, True])
def test_constant_density_has_its_analytic_transmittance(stratified):
    rays, length, sigma, step = 5, 2.0, 0.75, 1 / 64
    near = torch.arange(rays) * 0.5
    samples = sample_rays(
        torch.zeros(rays, 3), directions(rays), near, near + length, step, None, stratified=stratified
    )
    weights = render_weights(torch.full((len(samples),), sigma), samples)
    opacity = accumulate(weights, None, samples)
    torch.testing.assert_close(opacity, torch.full((rays, 1), 1 - math.exp(-sigma * length)))
    # mean depth of an exponential law cut off at `length`
    depth = accumulate(weights, samples.distances[:, None], samples)[:, 0] - near * opacity[:, 0]
    expected = (1 - math.exp(-sigma * length) * (1 + sigma * length)) / sigma
    torch.testing.assert_close(depth, torch.full((rays,), expected), rtol=0, atol=step)


def test_partial_last_interval_costs_at_most_one_step():
    sigma, step = 0.75, 0.1
    far = torch.linspace(0.05, 2.0, 37)
    rays = len(far)
    samples = sample_rays(torch.zeros(rays, 3), directions(rays), torch.zeros(rays), far, step, None, stratified=False)
    depth = accumulate(torch.full((len(samples),), sigma * step), None, samples)[:, 0]
    assert bool((depth > sigma * far - 1e-4).all()) and bool((depth < sigma * (far + step) + 1e-4).all())


def test_stratified_sampling_is_unbiased():
    rays, length, step = 8192, 2.0, 0.25
    intercept, slope = 0.3, 1.7
    torch.manual_seed(0)
    near = torch.full((rays,), 0.5)
    samples = sample_rays(torch.zeros(rays, 3), directions(rays), near, near + length, step, None, stratified=True)
    depth = accumulate((intercept + slope * samples.distances) * step, None, samples)[:, 0].double()
    expected = intercept * length + slope * (2.5**2 - 0.5**2) / 2
    spread = slope * step * step * math.sqrt(length / step / 12)
    assert float(depth.std()) == pytest.approx(spread, rel=0.05)
    assert abs(float(depth.mean()) - expected) < 4 * spread / math.sqrt(rays)
