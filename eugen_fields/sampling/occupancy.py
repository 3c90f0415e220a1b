"""An occupancy grid in plain torch: skips empty space on every device.

Source of the scheme: "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding" (Mueller et al., 2022),
appendix C: a grid of decaying maxima of the density, thresholded by the opacity of one step.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.progress import Progress, counted


class OccupancyGrid(nn.Module):
    """A cubic grid over the scene box that remembers where density was found.

    Args:
        aabb: lower and upper corner of the box, shape (2, 3), scene units.
        resolution: cells along each axis, at least 2.
        step_size: length of a sample, scene units.
        min_opacity: a cell is occupied while 1 - exp(-density * step_size) is above this (or its density above the
            mean over the grid, if that is lower: an almost transparent scene keeps its densest places).
        decay: factor on the remembered density at each visit of a cell.

    Raises:
        ValueError: resolution below 2.
    """

    aabb: Tensor
    density: Tensor
    occupied: Tensor
    allowed: Tensor
    bounds: Tensor

    def __init__(
        self, aabb: Tensor, resolution: int, step_size: float, min_opacity: float = 0.01, decay: float = 0.95
    ) -> None:
        super().__init__()
        if resolution < 2:
            raise ValueError(f"grid resolution is {resolution}; it must be at least 2")
        self.resolution = resolution
        self.decay = decay
        self.min_density = min_opacity / step_size  # 1 - exp(-x) = x to first order
        self.register_buffer("aabb", aabb.clone().float())
        self.register_buffer("density", torch.zeros(resolution**3))
        self.register_buffer("occupied", torch.ones(resolution**3, dtype=torch.bool))
        self.register_buffer("allowed", torch.ones(resolution**3, dtype=torch.bool))
        self.register_buffer("bounds", aabb.clone().float())
        self._edge: float | None = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Grids that were saved before there was `allowed` allow everything."""
        state_dict.setdefault(prefix + "allowed", torch.ones_like(self.occupied))
        self._edge = None
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _flat_cells(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        last = self.resolution - 1
        x, y, z = (axis.long().clamp_(0, last) for axis in (x, y, z))
        return (x * self.resolution + y) * self.resolution + z

    def cell_size(self) -> Tensor:
        """Edges of a cell, scene units, shape (3,)."""
        return (self.aabb[1] - self.aabb[0]) / self.resolution

    def _smallest_edge(self) -> float:
        """The shortest edge of a cell, scene units, asked of the device once."""
        if self._edge is None:
            self._edge = float(self.cell_size().min())
        return self._edge

    def occupied_at(self, points: Tensor) -> Tensor:
        """Whether points, shape (..., 3), lie in occupied cells, shape (...); outside the box: its nearest cell."""
        cells = (points - self.aabb[0]) / self.cell_size()
        return self.occupied[self._flat_cells(*cells.unbind(-1))]

    def allowed_at(self, points: Tensor) -> Tensor:
        """Whether points, shape (..., 3), lie in cells that may be occupied (see `restrict`), shape (...). In others a
        field is not trained, and may have anything."""
        cells = (points - self.aabb[0]) / self.cell_size()
        return self.allowed[self._flat_cells(*cells.unbind(-1))]

    def occupied_along(self, origins: Tensor, directions: Tensor, distances: Tensor) -> Tensor:
        """Like occupied_at for origins + distances * directions, shape (R, S), axis by axis to save memory traffic.

        Args:
            origins, directions: shape (R, 3).
            distances: shape (R, S).
        """
        return self.occupied[self._cells_along(origins, directions, distances)]

    def _cells_along(self, origins: Tensor, directions: Tensor, distances: Tensor) -> Tensor:
        start = (origins - self.aabb[0]) / self.cell_size()
        slope = directions / self.cell_size()
        return self._flat_cells(*(start[:, axis, None] + distances * slope[:, axis, None] for axis in range(3)))

    def dilated(self, cells: int, mask: Tensor | None = None) -> Tensor:
        """Whether cells, flat like `occupied`, are occupied or within so many cells of one that is, along each axis.

        Args:
            mask: bool, flat too, in place of `occupied`.
        """
        cube = (
            (self.occupied if mask is None else mask)
            .view(1, 1, self.resolution, self.resolution, self.resolution)
            .float()
        )
        for axis in range(3):
            kernel, padding = [1, 1, 1], [0, 0, 0]
            kernel[axis], padding[axis] = 2 * cells + 1, cells
            cube = F.max_pool3d(cube, kernel, stride=1, padding=padding)
        return cube.view(-1) > 0

    def span(
        self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, radius: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """The first and the last place of rays in occupied cells, with half a look to spare. A ray along an axis looks
        twice in every cell; what a diagonal one meets for less than 0.87 of a cell's edge it may miss.

        Args:
            origins, directions: shape (R, 3).
            near, far: shape (R,), in units of the directions; within the box.
            radius: what lies within this distance of a ray counts too, scene units.

        Returns:
            near and far, shape (R,); near >= far for rays that meet nothing.
        """
        occupied = self.occupied
        if radius > 0.0:
            occupied = self.dilated(math.ceil(radius / self._smallest_edge()))
        looks = 2 * self.resolution
        step = (far - near).clamp(min=0.0) / looks
        places = torch.arange(looks, dtype=near.dtype, device=near.device)
        met = occupied[self._cells_along(origins, directions, near[:, None] + (places + 0.5) * step[:, None])]
        first, last = met.to(torch.uint8).argmax(dim=-1), met.flip(-1).to(torch.uint8).argmax(dim=-1)
        end = torch.where(met.any(dim=-1), near + (looks - last + 0.5) * step, near)
        return torch.maximum(near, near + (first - 0.5) * step), torch.minimum(far, end)

    def _occupied_bounds(self) -> Tensor:
        """The smallest box around all occupied cells, shape (2, 3), scene units."""
        cube = self.occupied.view(self.resolution, self.resolution, self.resolution)
        corners = []
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            used = cube.any(dim=others[1]).any(dim=others[0]).nonzero()[:, 0]
            corners.append(torch.stack([used[0], used[-1] + 1]) if len(used) else used.new_tensor([0, self.resolution]))
        return self.aabb[0] + torch.stack(corners, dim=1) * self.cell_size()

    def cell_centers(self) -> Tensor:
        """Centres of all cells in the order of `occupied`, scene units, shape (resolution^3, 3)."""
        axis = torch.arange(self.resolution, device=self.aabb.device) + 0.5
        return self.aabb[0] + torch.cartesian_prod(axis, axis, axis) * self.cell_size()

    def restrict(self, allowed: Tensor) -> None:
        """Marks all other cells as empty for good: nothing is looked for there, whatever the field has in them.

        Args:
            allowed: bool, flat like `occupied`.

        Raises:
            ValueError: no cell is left.
        """
        if not bool(allowed.any()):
            raise ValueError("no cell of the occupancy grid is left")
        self.allowed.copy_(allowed)
        self.occupied &= allowed
        self.density *= allowed
        self.bounds.copy_(self._occupied_bounds())

    @torch.no_grad()
    def update(
        self, density_fn: Callable[[Tensor], Tensor], max_cells: int, generator: torch.Generator | None = None
    ) -> bool:
        """Visits cells at a random place inside each and refreshes what is occupied.

        Half of the `max_cells` visited cells are drawn from all allowed cells and half from the occupied ones; all are
        visited where max_cells allows. If nothing is left occupied, every allowed cell is marked occupied again, so
        that training goes on from empty space instead of stopping.

        Args:
            density_fn: points (M, 3) in scene units to density (M,).
            max_cells: at most this many evaluations.
            generator: of the device of the grid; the same one on several processes keeps their grids equal.

        Returns:
            whether the grid was empty and has been reset.
        """
        device = self.density.device
        allowed = self.allowed.nonzero()[:, 0]
        if max_cells >= len(allowed):
            cells = allowed
        else:
            anywhere = allowed[torch.randint(len(allowed), (max_cells // 2,), device=device, generator=generator)]
            occupied = self.occupied.nonzero()[:, 0]
            if len(occupied) > max_cells // 2:
                picks = torch.randint(len(occupied), (max_cells // 2,), device=device, generator=generator)
                occupied = occupied[picks]
            cells = torch.unique(torch.cat([anywhere, occupied]))
        rows = cells // self.resolution
        places = torch.stack([rows // self.resolution, rows % self.resolution, cells % self.resolution], dim=-1)
        jitter = torch.rand(places.shape, device=device, generator=generator)
        found = density_fn(self.aabb[0] + (places + jitter) * self.cell_size()).float()
        found = torch.nan_to_num(found, nan=0.0, posinf=1e10)
        self.density[cells] = torch.maximum(self.density[cells] * self.decay, found)
        threshold = min(self.min_density, float(self.density[allowed].mean()))
        self.occupied.copy_(self.allowed & (self.density > threshold))
        was_empty = not bool(self.occupied.any())
        if was_empty:
            self.occupied.copy_(self.allowed)
        self.bounds.copy_(self._occupied_bounds())
        return was_empty

    def fill(
        self,
        density_fn: Callable[[Tensor], Tensor],
        rounds: int = 2,
        chunk_size: int = 1 << 15,
        *,
        progress: Progress = True,
    ) -> None:
        """Finds what is occupied in a finished field: visits every cell `rounds` times.

        Args:
            density_fn: as in `update`.
            chunk_size: points evaluated at once.
            progress: as in eugen_fields.progress.
        """
        generator = torch.Generator(self.density.device).manual_seed(0)
        total = rounds * int(self.allowed.sum())
        with counted(progress, "Finding occupied space", total, "cells") as advance:

            def density(points: Tensor) -> Tensor:
                parts = []
                for chunk in points.split(chunk_size):
                    parts.append(density_fn(chunk))
                    advance(len(chunk))
                return torch.cat(parts)

            for _ in range(rounds):
                self.update(density, self.density.numel(), generator)
