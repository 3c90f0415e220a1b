"""Rounded matrices keep within half a step, and compensated ones change products less than plain rounding does."""

import pytest
import torch

from eugen_fields.storing.compression.numbers import coarse, storable
from eugen_fields.storing.compression.rounding import Grid, compensated, grid_of_bits


def matrix(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def correlated(count, width, seed=1):
    """Inputs whose entries depend on each other, (count, width)."""
    return matrix(count, width // 2, seed) @ matrix(width // 2, width, seed + 1) + 0.1 * matrix(count, width, seed + 2)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_entries_within_range_move_by_half_a_step_at_most(bits, scale):
    values = scale * matrix(20, 33)
    grid = grid_of_bits(values, bits)
    rounded = grid.rounded(values)
    assert float(rounded.integers.abs().max()) <= 2 ** (bits - 1) - 1
    assert rounded.integers.equal(rounded.integers.round()) and rounded.scales.equal(rounded.scales.half().float())
    inside = values.abs() <= grid.scales[:, None] * grid.largest
    error = (rounded.values() - values).abs()
    assert bool((error <= 0.5001 * grid.scales[:, None])[inside].all())


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
def test_more_bits_err_less_and_scales_are_no_worse_than_the_largest_entry_asks_for(bits):
    values = matrix(16, 64)
    error = (grid_of_bits(values, bits).rounded(values).values() - values).square().sum(dim=1)
    full = values.abs().amax(dim=1) / (2 ** (bits - 1) - 1)
    plain = (Grid(coarse(full, 4), 2 ** (bits - 1) - 1).rounded(values).values() - values).square().sum(dim=1)
    assert bool((error <= plain).all())
    if bits > 3:
        fewer = (grid_of_bits(values, bits - 1).rounded(values).values() - values).square().sum()
        assert float(error.sum()) < float(fewer)


def test_bits_out_of_range_are_refused():
    for bits in (1, 9):
        with pytest.raises(ValueError, match="bits"):
            grid_of_bits(matrix(2, 2), bits)


@pytest.mark.parametrize("bits", [3, 4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_compensated_rounding_changes_products_less(bits, seed):
    values, inputs = matrix(12, 40, seed), correlated(2000, 40, seed + 10)
    grid = grid_of_bits(values, bits)
    (rounded,), left = compensated(values, inputs.T @ inputs / len(inputs), [(40, grid)])
    assert left.shape == (12, 0)
    plain = inputs @ (grid.rounded(values).values() - values).T
    better = inputs @ (rounded.values() - values).T
    assert float(better.square().sum()) < 0.7 * float(plain.square().sum())


def test_columns_that_stay_floats_take_up_what_is_left():
    values, inputs = matrix(6, 20), correlated(2000, 19) + 1.0
    inputs = torch.cat([inputs, torch.ones(2000, 1)], dim=1)
    grid = grid_of_bits(values[:, :19], 4)
    (rounded,), bias = compensated(values, inputs.T @ inputs / len(inputs), [(19, grid)])
    with_bias = inputs @ (torch.cat([rounded.values(), bias], dim=1) - values).T
    without = inputs @ (torch.cat([rounded.values(), values[:, 19:]], dim=1) - values).T
    assert float(with_bias.square().sum()) < float(without.square().sum())


def test_blocks_have_scales_of_their_own():
    values = torch.cat([matrix(5, 8), 100.0 * matrix(5, 8, 3)], dim=1)
    grids = [grid_of_bits(values[:, :8], 6), grid_of_bits(values[:, 8:], 6)]
    blocks, _ = compensated(values, torch.eye(16), [(8, grids[0]), (8, grids[1])])
    for block, grid, part in zip(blocks, grids, (values[:, :8], values[:, 8:])):
        assert block.integers.equal(grid.round(part)), "independent inputs leave nothing to compensate"


def test_zeros_in_front_of_a_row_stay_zeros():
    values = matrix(9, 9).triu()
    (rounded,), _ = compensated(values, correlated(500, 9).T.cov(), [(9, grid_of_bits(values, 5))], keep_order=True)
    assert bool((rounded.integers.tril(-1) == 0).all())


def test_rows_of_zeros_stay_zeros():
    values = torch.zeros(3, 4)
    rounded = grid_of_bits(values, 6).rounded(values)
    assert bool((rounded.values() == 0).all()) and bool((rounded.scales > 0).all())


def test_coarse_numbers_have_few_bits_and_float16_holds_them():
    values = torch.logspace(-6, 4, 200)
    for bits in (1, 4):
        rounded = coarse(values, bits)
        assert rounded.equal(rounded.half().float())
        assert float((rounded / values - 1.0).abs().max()) <= 2.0 ** -(bits + 1) + 1e-6
        assert len(set(torch.frexp(rounded).mantissa.tolist())) <= 2**bits


def test_vectors_that_float16_cannot_hold_stay_float32():
    assert storable(torch.tensor([1.0001])).equal(torch.tensor([1.0]))
    assert storable(torch.tensor([1e6, 1.0001])).equal(torch.tensor([1e6, 1.0001]))
