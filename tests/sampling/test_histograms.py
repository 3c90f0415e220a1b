"""Drawing from histograms along rays, and the losses that compare them."""

import pytest
import torch

from eugen_fields.sampling import annealed, distortion_loss, interlevel_loss, inverse_distribution, resample


def uniform(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def histogram(rays, size, seed=0, dtype=torch.float64):
    """Uneven edges over [0, 1] and weights that sum to less than 1."""
    edges = torch.cat([torch.zeros(rays, 1, dtype=dtype), torch.cumsum(0.1 + uniform(rays, size, seed=seed), 1)], 1)
    weights = uniform(rays, size, seed=seed + 1) ** 3
    return (edges / edges[:, -1:]).to(dtype), (0.9 * weights / weights.sum(1, keepdim=True)).to(dtype)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def even_edges(rays, size, dtype=torch.float64):
    return torch.linspace(0.0, 1.0, size + 1, dtype=dtype).repeat(rays, 1)


# --- drawing


def test_places_are_distributed_as_the_weights():
    edges, weights = histogram(1, 8)
    count = 100_000
    places = inverse_distribution(edges, weights, 1.0 - uniform(1, count, seed=5))[0]
    bins = torch.bucketize(places, edges[0, 1:-1])
    share = (weights / weights.sum())[0]
    error = torch.sqrt(share * (1.0 - share) / count)
    assert bool(((torch.bincount(bins, minlength=8) / count - share).abs() < 4.0 * error).all())
    # and evenly within each
    within = (places - edges[0, bins]) / torch.diff(edges[0])[bins]
    for index in range(8):
        inside = within[bins == index]
        assert abs(float(inside.mean()) - 0.5) < 4.0 / (12.0 * len(inside)) ** 0.5


def test_fractions_of_the_mass_lie_before_their_places():
    edges, weights = histogram(5, 16)
    fractions = 1.0 - uniform(5, 40, seed=6)
    places = inverse_distribution(edges, weights, fractions)
    covered = (places[:, :, None] - edges[:, None, :-1]) / torch.diff(edges)[:, None]
    before = (covered.clamp(0.0, 1.0) * weights[:, None]).sum(dim=-1)
    torch.testing.assert_close(before, fractions * weights.sum(dim=1, keepdim=True))


def test_no_place_lies_in_an_interval_without_weight():
    weights = torch.tensor([[0.0, 0.0, 0.3, 0.0, 0.1, 0.0, 0.0]])
    smallest = torch.finfo(torch.float32).eps / 2.0
    fractions = torch.cat([torch.tensor([smallest]), torch.linspace(0.01, 1.0, 997), torch.tensor([1.0 - smallest])])
    places = inverse_distribution(even_edges(1, 7, torch.float32), weights, fractions[None])[0] * 7.0
    inside = ((places > 2.0 - 1e-5) & (places < 3.0 + 1e-5)) | ((places > 4.0 - 1e-5) & (places < 5.0 + 1e-5))
    assert bool(inside.all())


def test_rounding_takes_no_place_past_its_interval():
    edges = torch.tensor([[-1.0, 0.6 * 2.0**-23, 1.0]])  # the first length rounds up
    place = inverse_distribution(edges, torch.tensor([[1.0, 0.0]]), torch.ones(1, 1))
    assert float(place) == float(edges[0, 1])


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("num_samples", [2, 7, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_new_edges_ascend_within_the_old(stratified, num_samples, dtype):
    edges, weights = histogram(200, 32, dtype=dtype)
    weights = torch.where(uniform(200, 32, seed=7) < 0.7, torch.zeros_like(weights), weights**8)  # spiked and gappy
    edges[:50, 10:20] = edges[:50, 10:11]  # intervals of no length
    drawn = resample(edges, weights, num_samples, stratified=stratified, generator=generator())
    assert drawn.shape == (200, num_samples + 1) and drawn.dtype == dtype
    assert bool((torch.diff(drawn) >= 0).all())
    assert bool((drawn >= edges[:, :1]).all()) and bool((drawn <= edges[:, -1:]).all())


@pytest.mark.parametrize("stratified", [False, True])
def test_new_intervals_are_distributed_as_the_weights(stratified):
    edges, weights = histogram(20, 8)
    num_samples = 512
    drawn = resample(edges, weights, num_samples, stratified=stratified, generator=generator())
    centres = 0.5 * (drawn[:, 1:] + drawn[:, :-1])
    before = (centres[:, :, None] < edges[:, None, 1:]).double().mean(dim=1)
    share = torch.cumsum(weights, dim=1) / weights.sum(dim=1, keepdim=True)
    # the centres of an even comb: a boundary is off by one of them, or by two where edges average over it
    assert float((before - share).abs().max()) <= 2.0 / num_samples


@pytest.mark.parametrize("size, num_samples", [(1, 8), (8, 8), (8, 13), (64, 16)])
def test_even_weights_give_even_edges(size, num_samples):
    drawn = resample(even_edges(3, size), torch.full((3, size), 0.3).double(), num_samples, stratified=False)
    torch.testing.assert_close(drawn, even_edges(3, num_samples))


@pytest.mark.parametrize("weight", [0.0, 1e-45, 1e-30])
def test_vanishing_weights_count_as_even_between_the_outer_edges(weight):
    edges, _ = histogram(3, 8, dtype=torch.float32)
    weights = weight * torch.diff(edges)
    drawn = resample(edges, weights, 16, stratified=False)
    torch.testing.assert_close(drawn, even_edges(3, 16, torch.float32), rtol=0, atol=1e-5)


def test_a_ray_of_no_length_keeps_its_place():
    drawn = resample(torch.full((2, 5), 0.25), torch.zeros(2, 4), 3, stratified=False)
    assert torch.equal(drawn, torch.full((2, 4), 0.25))


def test_one_jitter_moves_all_centres_of_a_ray():
    rays, num_samples = 20_000, 8
    drawn = resample(
        even_edges(rays, 4), torch.ones(rays, 4).double(), num_samples, stratified=True, generator=generator()
    )
    lengths = torch.diff(drawn)[:, 1:-1] * num_samples
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    offsets = drawn[:, 1] * num_samples - 0.5  # v of (i + v) / num_samples
    assert bool((offsets > 0).all()) and bool((offsets < 1 + 1e-12).all())
    assert abs(float(offsets.mean()) - 0.5) < 4.0 / (12.0 * rays) ** 0.5
    assert float(offsets.std()) == pytest.approx(12.0**-0.5, rel=0.02)


def test_jitter_follows_its_generator_and_middles_ignore_it():
    edges, weights = histogram(6, 8)
    draws = [resample(edges, weights, 8, stratified=True, generator=generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    middles = [resample(edges, weights, 8, stratified=False, generator=generator(seed)) for seed in (0, 1)]
    assert torch.equal(middles[0], middles[1])


def test_no_gradient_passes_the_drawing():
    edges, weights = histogram(2, 4)
    drawn = resample(edges.requires_grad_(), weights.requires_grad_(), 4, stratified=True)
    assert not drawn.requires_grad and not annealed(weights, 0.5).requires_grad


def test_no_rays_have_no_edges():
    assert resample(torch.zeros(0, 5), torch.zeros(0, 4), 8, stratified=True).shape == (0, 9)


def test_fewer_than_two_samples_are_refused():
    with pytest.raises(ValueError, match="num_samples is 1"):
        resample(*histogram(1, 4), 1, stratified=False)


def test_annealing_goes_from_even_weights_to_the_weights():
    weights = torch.cat([torch.zeros(1, 1, dtype=torch.float64), uniform(1, 9)], dim=1)
    assert torch.equal(annealed(weights, 0.0), torch.ones_like(weights))
    torch.testing.assert_close(annealed(weights, 1.0), weights)
    torch.testing.assert_close(annealed(weights, 3.0), weights)
    torch.testing.assert_close(annealed(weights, 0.1), weights ** (1.0 / 1.9))
    steps = torch.stack([annealed(weights, progress) for progress in (0.0, 0.01, 0.1, 0.5, 1.0)])
    assert bool((torch.diff(steps, dim=0) <= 0).all()) and bool((steps[1:, 0, 0] == 0).all())


# --- interlevel loss


def interlevel_by_loop(edges, weights, proposal_edges, proposal_weights):
    losses = torch.zeros(len(edges), dtype=torch.float64)
    for ray in range(len(edges)):
        starts, ends = proposal_edges[ray, :-1], proposal_edges[ray, 1:]
        for weight, start, end in zip(weights[ray], edges[ray, :-1], edges[ray, 1:]):
            bound = proposal_weights[ray, (starts < end) & (ends > start)].sum()
            losses[ray] += max(0.0, float(weight - bound)) ** 2 / (float(weight) + 1e-7)
    return losses


@pytest.mark.parametrize("size, proposal_size", [(8, 8), (12, 5), (5, 12), (1, 6), (6, 1)])
def test_interlevel_loss_equals_a_loop(size, proposal_size):
    edges, weights = histogram(20, size)
    proposal_edges, proposal_weights = histogram(20, proposal_size, seed=3)
    proposal_edges = 0.1 + 0.6 * proposal_edges  # some intervals lie outside of all proposals
    expected = interlevel_by_loop(edges, weights, proposal_edges, 0.5 * proposal_weights)
    assert bool((expected > 0).any())
    torch.testing.assert_close(interlevel_loss(edges, weights, proposal_edges, 0.5 * proposal_weights), expected)


def test_interlevel_loss_equals_a_loop_where_edges_coincide():
    edges, weights = even_edges(10, 8), histogram(10, 8)[1]
    proposal_weights = histogram(10, 4, seed=3)[1]
    expected = interlevel_by_loop(edges, weights, even_edges(10, 4), proposal_weights)
    assert bool((expected > 0).any())
    torch.testing.assert_close(interlevel_loss(edges, weights, even_edges(10, 4), proposal_weights), expected)


def test_a_proposal_that_bounds_the_weights_costs_nothing():
    edges, weights = histogram(10, 8)
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    proposals = {
        "equal": (edges, weights),
        "larger": (edges, 1.5 * weights),
        "merged": (edges[:, ::2], weights[:, 0::2] + weights[:, 1::2]),
        "split": (torch.cat([edges, middles], dim=1).sort(dim=1).values, 0.5 * weights.repeat_interleave(2, dim=1)),
    }
    for proposal in proposals.values():
        loss = interlevel_loss(edges, weights, *proposal)
        torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-20)
    for name in ("equal", "split"):  # no room to spare: 1% less is too little everywhere
        proposal_edges, proposal_weights = proposals[name]
        loss = interlevel_loss(edges, weights, proposal_edges, 0.99 * proposal_weights)
        torch.testing.assert_close(loss, 0.01**2 * weights.sum(dim=1), rtol=1e-3, atol=0)


def test_interlevel_gradient_raises_the_proposal_and_leaves_the_weights():
    edges, weights = histogram(4, 8)
    proposal_edges, proposal_weights = histogram(4, 6, seed=3)
    leaves = [x.requires_grad_() for x in (edges, weights, proposal_edges, 0.3 * proposal_weights)]
    loss = interlevel_loss(*leaves)
    assert bool((loss > 0).all())
    gradients = torch.autograd.grad(loss.sum(), leaves, allow_unused=True)
    assert [gradient is None for gradient in gradients] == [True, True, True, False]
    assert bool((gradients[3] <= 0).all()) and bool((gradients[3] < 0).any())
    assert torch.autograd.gradcheck(lambda proposal: interlevel_loss(*leaves[:3], proposal), leaves[3])


def test_intervals_of_no_length_cost_nothing():
    edges = torch.tensor([[0.0, 0.5, 0.5, 0.5, 1.0]])
    weights = torch.tensor([[0.3, 0.0, 0.0, 0.6]])
    assert float(interlevel_loss(edges, weights, edges, weights)) < 1e-12
    # a wrong proposal may put weight there; it bounds nothing, and no bound turns negative
    proposal = torch.tensor([[0.3, 0.2, 0.2, 0.6]])
    assert float(interlevel_loss(edges, weights, edges, proposal)) < 1e-12


# --- distortion loss


def distortion_by_double_sum(edges, weights):
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    distances = (middles[:, :, None] - middles[:, None, :]).abs()
    pairs = (weights[:, :, None] * weights[:, None, :] * distances).sum(dim=(1, 2))
    return pairs + (weights**2 * torch.diff(edges)).sum(dim=1) / 3.0


@pytest.mark.parametrize("size", [1, 2, 17])
def test_distortion_loss_equals_the_double_sum_and_so_do_its_gradients(size):
    edges, weights = (x.requires_grad_() for x in histogram(6, size))
    results = []
    for function in (distortion_loss, distortion_by_double_sum):
        loss = function(edges, weights)
        results.append((loss, *torch.autograd.grad((loss * uniform(6, seed=9)).sum(), (edges, weights))))
    torch.testing.assert_close(*results)
    assert torch.autograd.gradcheck(distortion_loss, (edges, weights))
    assert torch.autograd.gradgradcheck(distortion_loss, (edges, weights))


def test_distortion_is_the_mean_distance_of_two_places_drawn():
    edges, weights = histogram(1, 6)
    count = 100_000
    places = inverse_distribution(edges, weights, 1.0 - uniform(1, 2 * count, seed=5)).view(2, count)
    distances = (places[0] - places[1]).abs() * weights.sum() ** 2
    error = float(distances.std()) / count**0.5
    assert abs(float(distances.mean()) - float(distortion_loss(edges, weights))) < 4.0 * error


@pytest.mark.parametrize("length", [1e-1, 1e-3, 1e-5])
def test_a_surface_in_one_interval_costs_a_third_of_its_length(length):
    edges = torch.tensor([[0.0, 0.3, 0.3 + length, 0.7, 1.0]], dtype=torch.float64)
    weights = torch.tensor([[0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(distortion_loss(edges, weights), torch.tensor([length / 3.0]).double())


def test_distortion_scales_with_the_edges_and_squares_with_the_weights():
    edges, weights = histogram(5, 9)
    loss = distortion_loss(edges, weights)
    torch.testing.assert_close(distortion_loss(3.0 * edges, weights), 3.0 * loss)
    torch.testing.assert_close(distortion_loss(edges, 0.5 * weights), 0.25 * loss)
    torch.testing.assert_close(distortion_loss(edges + 7.0, weights), loss)


def test_distortion_in_float32_keeps_its_precision_on_long_rays():
    edges, weights = histogram(4, 2000, dtype=torch.float32)
    expected = distortion_by_double_sum(edges.double(), weights.double())
    torch.testing.assert_close(distortion_loss(edges, weights).double(), expected, rtol=1e-5, atol=0)
