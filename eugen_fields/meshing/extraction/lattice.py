"""The regular lattice that a surface is looked for on, and which of its blocks the surface can pass through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

POINTS_EVALUATED = 1 << 19
"""Points handed to a function at once."""
_COARSEST, _FINEST = 64, 4
"""Cells along the side of the blocks that are looked at first, and last."""


def lattice_cells(aabb: Tensor, resolution: int) -> tuple[int, int, int]:
    """Lattice cells along each axis of a box (2, 3): `resolution` along the longest, the others in proportion.

    Raises:
        ValueError: resolution below 2.
    """
    if resolution < 2:
        raise ValueError(f"mesh resolution is {resolution}; it must be at least 2")
    extent = (aabb[1] - aabb[0]).cpu().double()
    x, y, z = (max(2, round(float(resolution * side))) for side in extent / extent.max())
    return x, y, z


class Lattice:
    """Points on a box, one more than cells along each axis.

    Args:
        aabb: the box, shape (2, 3).
        resolution: cells along its longest side.
        device: where points are made.
    """

    def __init__(self, aabb: Tensor, resolution: int, device: torch.device | str = "cpu") -> None:
        self.cells = lattice_cells(aabb, resolution)
        self.lower = aabb[0].cpu().double().numpy()
        self.spacing = (aabb[1] - aabb[0]).cpu().double().numpy() / np.array(self.cells)
        self.device = device

    def points(self, places: np.ndarray) -> Tensor:
        """Points (N, 3), float32, at places (N, 3) counted in cells, whole numbers or not."""
        return torch.from_numpy(self.lower + places * self.spacing).float().to(self.device)


@dataclass
class Blocks:
    """Cubes of lattice cells, each either open (the surface may pass through it) or wholly on one side."""

    size: int
    """Cells along the side of a block; the last ones along an axis may be cut."""
    side: np.ndarray
    """int8 (X, Y, Z): 1 inside, -1 outside, 0 open."""
    cells: tuple[int, int, int]
    """Number of cells of the lattice along each axis."""

    def plane(self, x: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the lattice points (Y + 1, Z + 1) at a place along x: which touch an open block, and which are inside
        where none is, bool."""
        (before_x, after_x), y, z = ([index[x] for index in self._touching(0)], self._touching(1), self._touching(2))
        is_open = (self.side[before_x] == 0) | (self.side[after_x] == 0)
        rows = is_open[y[0]] | is_open[y[1]]
        inside = self.side[after_x] > 0
        return rows[:, z[0]] | rows[:, z[1]], inside[y[1]][:, z[1]]

    def _touching(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """The blocks before and after each lattice point along an axis; the same one off their borders."""
        points = np.arange(self.cells[axis] + 1)
        last = self.side.shape[axis] - 1
        return (points - 1).clip(0) // self.size, (points // self.size).clip(max=last)


def surface_blocks(
    function: Callable[[Tensor], Tensor],
    lattice: Lattice,
    level: float,
    *,
    lipschitz: float | None = None,
    occupied_within: Callable[[float], Callable[[Tensor], Tensor]] | None = None,
) -> Blocks:
    """The blocks that the surface may cross of a function of which something is known.

    A block is wholly on the side of its centre where the function is farther from the level there than it can change up
    to the corners, and wholly unoccupied where nothing is occupied as near to its centre as they are. What stays open
    is halved, from blocks of 64 cells to blocks of 4.

    Args:
        function: points (N, 3) to values (N,), larger inside; 0 where unoccupied.
        level: value at the surface.
        lipschitz: the most that the function changes per unit of length; None: not known.
        occupied_within: from a radius to a function from points (N, 3) to whether anything may be occupied within that
            of them, bool (N,).
    """
    cells = np.array(lattice.cells)
    side = np.zeros((1, 1, 1), dtype=np.int8)
    size = _COARSEST
    while size >= _FINEST:
        shape = -(-cells // size)
        if size == _COARSEST:
            side = np.zeros(shape, dtype=np.int8)
        else:
            for axis in range(3):
                side = side.repeat(2, axis=axis)
            side = np.ascontiguousarray(side[tuple(slice(count) for count in shape)])
        flat = side.reshape(-1)
        near = None
        if occupied_within is not None:
            near = occupied_within(float(np.linalg.norm(size * lattice.spacing)) / 2)
        still_open = np.flatnonzero(flat == 0)
        for first in range(0, len(still_open), POINTS_EVALUATED):
            chunk = still_open[first : first + POINTS_EVALUATED]
            low = np.stack(np.unravel_index(chunk, side.shape), axis=-1) * size
            high = np.minimum(low + size, cells)
            centers = lattice.points((low + high) / 2)
            if near is not None:
                occupied = near(centers).cpu().numpy()
                flat[chunk[~occupied]] = 1 if level < 0 else -1
                chunk, low, high, centers = chunk[occupied], low[occupied], high[occupied], centers[occupied]
            if lipschitz is not None and len(chunk) > 0:
                found = function(centers).detach().cpu().double().numpy() - level
                reach = lipschitz * np.linalg.norm((high - low) * lattice.spacing, axis=-1) / 2
                flat[chunk] = np.where(np.abs(found) > reach, np.sign(found), 0)  # NaN stays open
        size //= 2
    return Blocks(2 * size, side, lattice.cells)
