"""How finely each number is stored: the steps that cost least bytes for a loss, or give the least loss for bytes.

Theory of rates: entropy-coded numbers with a rounding step D take log2(1 / D) bits, up to a constant, and each adds
F D^2 / 12 to the loss, F its entry on the diagonal of the Gauss-Newton matrix of the loss. The least loss for so many
bits has the same F D^2 everywhere ("Elements of Information Theory", Cover and Thomas, section 13.3, reverse
water-filling): steps are `fineness` / sqrt(F), and one number is left to choose. n numbers that are rounded one by one
then add n fineness^2 / 12 to the loss. As a field file has one scale per row of a matrix, F is the mean over the row.
It also follows that steps are not adapted to the largest entry of a row: Huffman codes give small entries few bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eugen_fields.storing.compression.numbers import StoredNetwork, coarse, get_numbers, set_numbers
from eugen_fields.storing.compression.planes import spread_matter
from eugen_fields.storing.compression.rounding import Grid
from eugen_fields.storing.compression.targets import Target

_PROBES = 32
_SCALE_BITS = 1
"""Bits behind the first of a row's scale: coarse, since steps need not be exact, and codes of scales are short then."""
_LEAST_SHARE = 1e-3
"""Of the mean of a matrix: no row counts as less sensitive."""
_LARGEST = 127


@dataclass
class Sensitivity:
    """How much each number matters: F, by which the mean loss grows for the square of a small change."""

    rows: dict[str, Tensor]
    """For each matrix the mean of F over each row, shape (rows,)."""
    vectors: dict[str, float]
    """For each vector the mean of F."""
    planes: dict[str, Tensor]
    """For planes of each level F, spread over neighbours, shape (3, channels, R, R)."""

    def grid(self, name: str, matrix: Tensor, fineness: float) -> Grid:
        """What a matrix (rows, columns) is rounded to; steps are at least so large that int8 holds the row."""
        matter = self.rows[name]
        matter = matter + _LEAST_SHARE * matter.mean() + 1e-30
        least = coarse(matrix.abs().amax(dim=1) / _LARGEST, _SCALE_BITS, up=True)
        return Grid(torch.maximum(coarse(fineness * matter.rsqrt(), _SCALE_BITS), least), _LARGEST)

    def vector_step(self, name: str, fineness: float) -> float:
        """What a vector is rounded to multiples of: a power of two, which leaves bits of its float16 numbers at 0."""
        step = fineness * (self.vectors[name] + 1e-30) ** -0.5
        return 2.0 ** min(max(math.floor(math.log2(step)), -24), 10)


def sensitivity(field: StoredNetwork, work: StoredNetwork, target: Target, names: list[str], seed: int) -> Sensitivity:
    """The diagonal of the Gauss-Newton matrix of the target's loss, from gradients of random projections.

    Args:
        field: whose numbers these are.
        work: a field of the same stages, whose numbers are replaced for the while.
        names: of matrices, vectors and planes.
        seed: of the projections.
    """
    generator = torch.Generator().manual_seed(seed)
    numbers = {name: get_numbers(field, name).clone().requires_grad_(True) for name in names}
    set_numbers(work, numbers)
    found = {name: torch.zeros_like(value) for name, value in numbers.items()}
    batches = target.batches
    probes = len(batches) * -(-_PROBES // len(batches))
    for probe in range(probes):
        batch = batches[probe % len(batches)]
        with torch.enable_grad():
            value = target.probe(work, batch, generator)  # type: ignore[arg-type]
            gradients = torch.autograd.grad(value, list(numbers.values()), allow_unused=True)
        for name, gradient in zip(names, gradients):
            if gradient is not None:
                found[name] += gradient.square() * (len(batches) / (probes * target.count))
    set_numbers(work, {name: value.detach() for name, value in numbers.items()})
    return Sensitivity(
        {name: value.mean(dim=1) for name, value in found.items() if value.dim() == 2},
        {name: float(value.mean()) for name, value in found.items() if value.dim() == 1},
        {name: spread_matter(value) for name, value in found.items() if value.dim() == 4},
    )
