"""Volume rendering over contiguous intervals against the packed form, a loop, and its conservation of light."""

import math

import pytest
import torch

from eugen_fields.sampling import PackedSamples, alpha_weights, render_weights, transmittance


def uniform(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def intervals(rays, size, high=10.0):
    """Densities and uneven edges, distances from 0.5 on."""
    edges = 0.5 + torch.cumsum(uniform(rays, size + 1, seed=1) * 0.2, dim=1)
    return uniform(rays, size) * high, edges


def test_weights_are_those_of_packed_samples():
    rays, size, step = 5, 40, 0.125
    density, _ = intervals(rays, size)
    edges = (torch.arange(size + 1) * step).double().expand(rays, size + 1)
    counts = torch.full((rays,), size)
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    samples = PackedSamples(torch.repeat_interleave(torch.arange(rays), counts), middles.flatten(), counts, step)
    torch.testing.assert_close(alpha_weights(density, edges).flatten(), render_weights(density.flatten(), samples))


def test_weights_and_transmittance_equal_a_loop():
    density, edges = intervals(4, 12)
    weights, light = alpha_weights(density, edges), transmittance(density, edges)
    for ray in range(4):
        left = 1.0
        for i in range(12):
            assert float(light[ray, i]) == pytest.approx(left, rel=1e-12)
            through = math.exp(-float(density[ray, i]) * float(edges[ray, i + 1] - edges[ray, i]))
            assert float(weights[ray, i]) == pytest.approx(left * (1.0 - through), rel=1e-12)
            left *= through
        assert float(light[ray, 12]) == pytest.approx(left, rel=1e-12)


@pytest.mark.parametrize("high", [1e-6, 1.0, 1e4])
def test_no_light_is_lost(high):
    density, edges = intervals(20, 30, high)
    weights, light = alpha_weights(density, edges), transmittance(density, edges)
    torch.testing.assert_close(weights.sum(dim=1), 1.0 - light[:, -1], rtol=1e-9, atol=1e-15)
    assert bool((weights >= 0).all()) and bool((torch.diff(light) <= 0).all())
    assert torch.equal(light[:, 0], torch.ones(20, dtype=torch.float64))


def test_splitting_an_interval_splits_its_weight():
    density, edges = intervals(3, 6)
    finer = torch.cat([edges, 0.5 * (edges[:, 1:] + edges[:, :-1])], dim=1).sort(dim=1)[0]
    halves = alpha_weights(density.repeat_interleave(2, dim=1), finer)
    torch.testing.assert_close(halves[:, 0::2] + halves[:, 1::2], alpha_weights(density, edges))


@pytest.mark.parametrize("surface", [1e4, 1e10, 1e30, math.inf])
def test_a_surface_of_any_density_takes_only_the_light_that_reaches_it(surface):
    density = torch.tensor([[10.0, 20.0, surface, 10.0]])
    edges = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.4]])
    reached = math.exp(-1.0 - 2.0)
    expected = torch.tensor([[1.0 - math.exp(-1.0), math.exp(-1.0) - reached, reached, 0.0]])
    torch.testing.assert_close(alpha_weights(density, edges), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_have_the_precision_of_the_edges(dtype):
    density, edges = intervals(4, 50)
    weights = alpha_weights(density.to(dtype), edges.float())
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.double(), alpha_weights(density.to(dtype).double(), edges), rtol=0, atol=1e-6)


def test_thin_fog_keeps_its_precision_in_float32():
    density, edges = (x.float() for x in intervals(4, 50, high=1e-6))
    expected = alpha_weights(density.double(), edges.double())
    torch.testing.assert_close(alpha_weights(density, edges).double(), expected, rtol=1e-5, atol=0)


def test_derivatives_are_those_of_the_values():
    density, edges = (x.requires_grad_() for x in intervals(2, 5))
    for function in (alpha_weights, transmittance):
        assert torch.autograd.gradcheck(function, (density, edges))
        assert torch.autograd.gradgradcheck(function, (density, edges))
