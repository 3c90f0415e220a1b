"""Matrices to integers with a scale for each row.

Source of `compensated`: "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (Frantar et
al., ICLR 2023), after "Optimal Brain Surgeon" (Hassibi and Stork, 1993): columns are rounded one after the other, and
what is not rounded yet makes up for the error. Here the columns that stay floats, a bias among them, come last.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eugen_fields.storing.compression.numbers import coarse

_SCALE_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5)
"""Scales that are tried, as shares of the one that holds the largest entry of a row."""
_SCALE_BITS = 4
_DAMPING = 1e-3


class Rounded(NamedTuple):
    """scale of the row * integer."""

    integers: Tensor
    """Shape (rows, columns), whole numbers, float32."""
    scales: Tensor
    """Shape (rows,), numbers that float16 holds."""

    def values(self) -> Tensor:
        """Shape (rows, columns)."""
        return self.integers * self.scales[:, None]


class Grid(NamedTuple):
    """What a matrix is rounded to: multiples of a scale for each row."""

    scales: Tensor
    """Shape (rows,)."""
    largest: int
    """Magnitude that no integer exceeds."""

    def round(self, values: Tensor) -> Tensor:
        """The nearest integers to values (rows, columns)."""
        return (values / self.scales.to(values)[:, None]).round().clamp(-self.largest, self.largest)

    def rounded(self, values: Tensor) -> Rounded:
        """The nearest of these numbers to a matrix (rows, columns)."""
        return Rounded(self.round(values.float()), self.scales.float())


def grid_of_bits(matrix: Tensor, bits: int, matter: Tensor | None = None) -> Grid:
    """The grid of so many bits whose scales give the least squared error, row by row.

    Args:
        matrix: shape (rows, columns).
        bits: 2 to 8.
        matter: how much errors in each column matter, shape (columns,).

    Raises:
        ValueError: bits out of range.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits are {bits}; they must be from 2 to 8")
    largest = (1 << (bits - 1)) - 1
    weight = torch.ones_like(matrix[0]) if matter is None else matter.to(matrix)
    peak = matrix.abs().amax(dim=1)
    best, least = coarse(peak / largest, _SCALE_BITS), torch.full_like(peak, torch.inf)
    for share in _SCALE_SHARES:
        grid = Grid(coarse(share * peak / largest, _SCALE_BITS).to(matrix), largest)
        error = (weight * (matrix - grid.round(matrix) * grid.scales[:, None]).square()).sum(dim=1)
        best, least = torch.where(error < least, grid.scales, best), torch.minimum(error, least)
    return Grid(best, largest)


def compensated(
    matrix: Tensor, second_moments: Tensor, grids: list[tuple[int, Grid]], *, keep_order: bool = False
) -> tuple[list[Rounded], Tensor]:
    """A matrix rounded so that its products with inputs change least.

    Args:
        matrix: shape (rows, columns).
        second_moments: E[x x^T] of what it is multiplied with, shape (columns, columns).
        grids: for blocks of columns from the first on, their number and what they are rounded to; the columns behind
            the blocks stay floats.
        keep_order: from left to right, so that zeros at the beginning of a row stay zeros; else columns that matter
            most come first.

    Returns:
        the blocks, and the columns that stay floats, shape (rows, others).
    """
    work = matrix.double().clone()
    count = sum(columns for columns, _ in grids)
    moments = second_moments.double().clone()
    diagonal = moments.diagonal()
    diagonal += _DAMPING * diagonal.mean().clamp(min=1e-12)
    order = torch.arange(len(moments))
    if not keep_order:
        order = torch.cat([torch.argsort(diagonal[:count], descending=True), order[count:]])
    scales = torch.cat([grid.scales.double()[:, None].expand(-1, columns) for columns, grid in grids], dim=1)
    largest = torch.cat([torch.full((columns,), float(grid.largest)) for columns, grid in grids]).double()
    inverse = torch.linalg.cholesky(torch.linalg.inv(moments[order][:, order]), upper=True)
    work = work[:, order]
    integers = torch.zeros_like(scales)
    for place, column in enumerate(order[:count].tolist()):
        nearest = (work[:, place] / scales[:, column]).round().clamp(-largest[column], largest[column])
        integers[:, column] = nearest
        error = (work[:, place] - nearest * scales[:, column]) / inverse[place, place]
        work[:, place + 1 :] -= error[:, None] * inverse[place, place + 1 :]
    blocks, start = [], 0
    for columns, grid in grids:
        blocks.append(Rounded(integers[:, start : start + columns].float(), grid.scales.float()))
        start += columns
    return blocks, work[:, count:].float()
