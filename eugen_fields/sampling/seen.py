"""Where surfaces were seen: a coarse grid of one bit a cell."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SeenCells(nn.Module):
    """Cubic cells over a box that remember whether a surface point lay in them, packed into bytes.

    Args:
        aabb: the box, shape (2, 3), metres.
        resolution: cells along its longest side, at least 1.

    Raises:
        ValueError: resolution below 1.
    """

    aabb: Tensor
    bits: Tensor

    def __init__(self, aabb: Tensor, resolution: int = 64) -> None:
        super().__init__()
        if resolution < 1:
            raise ValueError(f"resolution is {resolution}; it must be at least 1")
        extent = (aabb[1] - aabb[0]).double()
        self.cell_size = float(extent.max()) / resolution
        x, y, z = (max(1, round(float(side) / self.cell_size + 0.499)) for side in extent)
        self.shape = (x, y, z)
        self.register_buffer("aabb", aabb.clone().float(), persistent=False)
        self.register_buffer("bits", torch.zeros(-(-x * y * z // 8), dtype=torch.uint8))

    def cells(self) -> Tensor:
        """Which cells hold surface points, bool (X, Y, Z)."""
        places = torch.arange(8, dtype=torch.uint8, device=self.bits.device)
        x, y, z = self.shape
        return (self.bits[:, None] >> places & 1).flatten()[: x * y * z].bool().view(self.shape)

    def _places(self, points: Tensor) -> Tensor:
        """Cells of points (N, 3), int64 (N, 3); those outside the box have negative or too large ones."""
        return ((points - self.aabb[0].to(points)) / self.cell_size).floor().long()

    def _inside(self, places: Tensor) -> Tensor:
        return ((places >= 0) & (places < torch.tensor(self.shape, device=places.device))).all(dim=-1)

    def add(self, points: Tensor) -> None:
        """Remembers surface points (N, 3), metres; those outside the box are passed over."""
        cells = self.cells()
        places = self._places(points)
        cells[tuple(places[self._inside(places)].T)] = True
        flat = F.pad(cells.flatten(), (0, 8 * len(self.bits) - cells.numel()))
        weights = 2 ** torch.arange(8, dtype=torch.int32, device=flat.device)
        self.bits.copy_((flat.view(-1, 8) * weights).sum(dim=1).to(torch.uint8))

    def near(self, margin: int = 1) -> Callable[[Tensor], Tensor]:
        """A function from points (N, 3) to whether each is within so many cells of one that holds surface points, bool
        (N,); False outside the box."""
        size = 2 * margin + 1
        wide = F.max_pool3d(self.cells()[None, None].float(), size, stride=1, padding=margin)[0, 0].bool()

        def is_near(points: Tensor) -> Tensor:
            places = self._places(points)
            inside = self._inside(places)
            near = torch.zeros_like(inside)
            near[inside] = wide[tuple(places[inside].T)]
            return near

        return is_near
