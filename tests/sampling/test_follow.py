"""Rays followed in blocks against integrals that are known, and against rays followed in one go."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from eugen_fields.sampling import OccupancyGrid, follow_rays

EVERYTHING = 1 << 20
"""Steps of a block that holds any ray of these tests."""
DTYPES = [torch.float32, torch.float64]
BLOCKS = [1, 2, 7, 32, 33, 1000]
STEPS = [0.1, 1.0 / 3.0, math.sqrt(12.0) / 1024, 0.007, 2.0**-6, 1e-3]


def rays(count, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    origins = torch.rand(count, 3, generator=generator, dtype=dtype) - 0.5
    return origins, F.normalize(torch.randn(count, 3, generator=generator, dtype=dtype), dim=-1)


def fog(density, dtype=torch.float32, seen=None):
    """The same density and a white colour everywhere; notes which samples were asked for."""

    def evaluate(origins, directions, samples):
        if seen is not None:
            seen.append((origins, samples))
        values = torch.full((len(samples),), density, dtype=dtype)
        return values, values.new_ones(len(samples), 3)

    return evaluate


def varied(origins, directions, samples):
    """A density and a colour that change from place to place."""
    places = origins[samples.ray_indices] + samples.distances[:, None] * directions[samples.ray_indices]
    return 3.0 * (1.0 + torch.sin(7.0 * places).prod(dim=-1)), 0.5 + 0.5 * torch.cos(5.0 * places)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_density_has_its_analytic_transmittance(dtype, block):
    # ends in the middle of a step: how many steps a ray has does not hang on rounding
    counts = torch.tensor([1, 2, 31, 32, 33, 63, 64, 65, 95, 96, 97, 128, 200, 256, 257])
    tolerance = 1e-6 if dtype is torch.float32 else 1e-13
    cases = list(itertools.product(STEPS, (0.0, 0.05, 1.0 / 3.0, 2.7182818, 17.3)))
    for step, start in cases if block >= 32 else cases[block::7]:  # small blocks take long
        near = torch.full((len(counts),), start, dtype=dtype)
        far = near + (counts - 0.5).to(dtype) * step
        density = 1.5 / (128 * step)
        found = follow_rays(*rays(len(counts), dtype), near, far, step, None, fog(density, dtype), block_steps=block)
        expected = torch.exp(-density * step * counts.double())
        transmittance = 1.0 - found.accumulation[:, 0].double()
        torch.testing.assert_close(transmittance, expected, rtol=0, atol=64 * tolerance)
        torch.testing.assert_close(found.rgb, found.accumulation.expand(-1, 3), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_length_of_whole_steps_is_the_length_of_the_ray(dtype):
    step, density = 2.0**-7, 0.75
    far = torch.arange(1, 300, 7, dtype=dtype) * step + 0.25
    near = torch.full_like(far, 0.25)
    found = follow_rays(*rays(len(far), dtype), near, far, step, None, fog(density, dtype))
    expected = torch.exp(-density * (far - near))
    torch.testing.assert_close(1.0 - found.accumulation[:, 0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_are_those_of_a_single_block(dtype, block):
    origins, directions = rays(64, dtype)
    near = torch.linspace(0.0, 2.9, 64, dtype=dtype)
    far = near + torch.linspace(-0.3, 4.0, 64, dtype=dtype)

    def samples_of(block_steps):
        seen = []
        follow_rays(origins, directions, near, far, 0.0137, None, fog(0.1, dtype, seen), block_steps=block_steps)
        # rays are told by their origins, as a block holds some of them only
        rows = [torch.cat([part[s.ray_indices], s.distances[:, None]], dim=-1) for part, s in seen]
        rows = torch.cat(rows)
        return rows[torch.argsort(rows[:, 3], stable=True)]

    mine, whole = samples_of(block), samples_of(EVERYTHING)
    assert len(mine) == len(whole)
    order = [torch.argsort(r[:, 0], stable=True) for r in (mine, whole)]
    assert torch.equal(mine[order[0]], whole[order[1]]), "no sample twice, none left out, none elsewhere"


@pytest.mark.parametrize("block", BLOCKS)
def test_renders_are_those_of_a_single_block(block):
    origins, directions = rays(200)
    grid = OccupancyGrid(torch.tensor([[-1.0] * 3, [1.0] * 3]), 8, 0.01)
    grid.occupied.copy_(torch.rand(8**3, generator=torch.Generator().manual_seed(1)) < 0.5)
    near, far = torch.full((200,), 0.05), torch.linspace(0.0, 3.0, 200)
    mine, whole = (
        follow_rays(origins, directions, near, far, 0.01, grid, varied, block_steps=steps)
        for steps in (block, EVERYTHING)
    )
    for value, expected in zip(mine, whole):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=2e-6)
    assert 0.05 < float(mine.accumulation.mean()) < 0.95


@pytest.mark.parametrize("stop", [0.5, 0.1, 1e-3])
def test_rays_end_where_little_light_is_left(stop):
    near, far = torch.zeros(4), torch.tensor([0.0, 1.0, 5.0, 50.0])
    seen = []
    found = follow_rays(*rays(4), near, far, 0.1, None, fog(1.0, seen=seen), stop_transmittance=stop, block_steps=1)
    assert float(found.accumulation[0]) == 0.0
    length = min(5.0, math.ceil(-math.log(stop) / 0.1) * 0.1)
    torch.testing.assert_close(1.0 - float(found.accumulation[3]), math.exp(-math.ceil(-math.log(stop) / 0.1) * 0.1))
    torch.testing.assert_close(1.0 - float(found.accumulation[2]), math.exp(-length))
    assert len(seen) == math.ceil(-math.log(stop) / 0.1)


def test_depth_is_the_mean_distance():
    near, far = torch.tensor([1.0]), torch.tensor([9.0])
    found = follow_rays(*rays(1), near, far, 0.001, None, fog(2.0))
    torch.testing.assert_close(float(found.depth / found.accumulation), 1.5, rtol=1e-3, atol=0)


def test_rays_that_meet_nothing_ask_for_nothing():
    seen = []
    for far in (torch.zeros(0), torch.tensor([0.5, -1.0, float("-inf")])):
        near = torch.full_like(far, 0.5)
        found = follow_rays(*rays(len(far)), near, far, 0.1, None, fog(1.0, seen=seen))
        assert all(torch.equal(value, torch.zeros_like(value)) for value in found) and not seen
