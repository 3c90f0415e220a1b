"""Feature planes read on a CPU as rows of a table: one row of channels for each entry.

Planes are (3, C, R, R) with the channels of an entry side by side in memory (torch.channels_last), so that as a table
they have 3 R^2 rows of C numbers. A point reads four rows from each of three planes: a sparse matrix of four weights in
each row, times the table. The gradient of the table is the transposed matrix times what comes back. torch's
grid_sample, the reference of the tests, computes the same to rounding; on planes of 256 x 256 its gradient takes five
times as long, as each channel of an entry lies in another line of the cache.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_CHANNELS = 8
"""Shorter rows gain nothing over grid_sample."""


def corner_rows(places: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that points read from three planes of several sizes, and their weights (bilinear interpolation).

    Args:
        places: of the points in each of the three planes, in [-1, 1], where entries on the corners lie on -1 and 1;
            places beyond count as on the edge. Shape (3, N, 2): along the columns, along the rows.
        sizes: R of each level, int32, shape (levels,).

    Returns:
        rows, int32, and weights, each shape (levels, 3, N, 4).
    """
    last = (sizes - 1).view(-1, 1, 1, 1)
    at = torch.addcmul(0.5 * last, places, 0.5 * last).clamp_(min=0.0)
    at = torch.minimum(at, last.to(at.dtype), out=at)
    cell = at.int().clamp_(min=0)  # what is not a number has a place too
    cell = torch.minimum(cell, last - 1, out=cell)
    right, down = at.sub_(cell).unbind(-1)
    column, row = cell.unbind(-1)
    size = sizes.view(-1, 1, 1)
    planes = torch.arange(3, dtype=torch.int32)[:, None] * size**2
    rows, weights = cell.new_empty(*row.shape, 4), at.new_empty(*row.shape, 4)
    first = torch.mul(row, size, out=rows[..., 0]).add_(column).add_(planes)
    torch.add(first, 1, out=rows[..., 1])
    torch.add(first, size, out=rows[..., 2])
    torch.add(rows[..., 2], 1, out=rows[..., 3])
    both = torch.mul(right, down, out=weights[..., 3])
    torch.sub(right, both, out=weights[..., 1])
    below = torch.sub(down, both, out=weights[..., 2])
    torch.sub(1.0 - right, below, out=weights[..., 0])
    return rows, weights


def read_rows(planes: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """What points read from planes (3, C, R, R), with rows and weights (3, N, 4) of corner_rows; shape (3, N, C)."""
    table = planes.permute(0, 2, 3, 1).reshape(-1, planes.shape[1])
    bags, shares = rows.view(-1, 4), weights.view(-1, 4)
    read = F.embedding_bag(bags, table, mode="sum", per_sample_weights=shares)
    return read.view(*rows.shape[:2], planes.shape[1])


def add_to_rows(gradient: Tensor, rows: Tensor, weights: Tensor, size: int) -> Tensor:
    """The gradient of planes (3, C, R, R), channels last in memory, from that of what points read, shape (3, N, C).

    Args:
        rows, weights: of corner_rows, shape (3, N, 4).
        size: R.
    """
    from scipy.sparse import csr_array  # training alone needs it

    count, channels = gradient.shape[0] * gradient.shape[1], gradient.shape[2]
    ends = torch.arange(0, 4 * count + 1, 4, dtype=torch.int32)
    entries = weights.flatten().numpy(), rows.flatten().numpy(), ends.numpy()
    matrix = csr_array(entries, shape=(count, 3 * size**2))
    table = torch.from_numpy(matrix.T @ gradient.reshape(count, channels).numpy())
    return table.view(3, size, size, channels).permute(0, 3, 1, 2)
