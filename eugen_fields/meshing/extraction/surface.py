"""What turns a density field into a surface: the level it is cut at, the space worth looking at, vertex colours."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from eugen_fields.fields import RadianceField
from eugen_fields.progress import Progress, counted
from eugen_fields.sampling import OccupancyGrid, intersect_box, render_weights, sample_rays

_POINTS_EVALUATED = 1 << 16
_FEWEST_OPAQUE_RAYS = 16
_COLOR_SPACING = 0.5
_COLOR_DEPTHS = torch.arange(-1.0, 3.5, _COLOR_SPACING).tolist()
"""Depths below the surface at which its colour is composited, in steps of training."""


def evaluate_density(field: RadianceField, points: Tensor) -> Tensor:
    """Densities (N,) at points (N, 3), without gradient, in chunks that bound the memory."""
    with torch.no_grad():
        chunks = [field.density_alone(chunk) for chunk in points.split(_POINTS_EVALUATED)]
    return torch.cat(chunks) if chunks else points.new_zeros(0)


def random_points(grid: OccupancyGrid, cells: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Points (count, 3) placed uniformly in the flat cells (C,) of a grid, C > 0, on the device of the grid."""
    picks = cells.cpu()[torch.randint(len(cells), (count,), generator=generator)]
    rows = picks // grid.resolution
    places = torch.stack([rows // grid.resolution, rows % grid.resolution, picks % grid.resolution], dim=-1)
    places = places + torch.rand(count, 3, generator=generator)
    return grid.aabb[0] + places.to(grid.aabb) * grid.cell_size()


def surface_level(
    field: RadianceField, grid: OccupancyGrid, step_size: float, *, num_rays: int = 4096, quantile: float = 0.1
) -> float | None:
    """The density at which the surface lies that a camera sees, found by following rays.

    Rays run from random places in free space to random occupied places, and each that turns opaque does so at some
    depth: the first sample where half of its light is gone, which is where a depth image sees the surface. The level is
    a low quantile of the density at these samples: surfaces that training left soft are then kept as well as sharp
    ones, and since the density rises steeply at sharp ones, a level below theirs hardly moves them. Unlike an opacity
    of one voxel this depends on the field alone, not on the resolution of the mesh.

    Args:
        step_size: length of a sample in training, scene units.
        quantile: share of the visible surface that may be less dense than the level. Rays that graze the surface turn
            opaque at low densities and are the ones that make its silhouette.

    Returns:
        the level, per scene unit; None where hardly any ray turns opaque.
    """
    generator = torch.Generator().manual_seed(0)
    occupied, empty = grid.occupied.nonzero()[:, 0], (~grid.occupied).nonzero()[:, 0]
    if len(occupied) == 0:
        return None
    targets = random_points(grid, occupied, num_rays, generator)
    origins = random_points(grid, empty if len(empty) else occupied, num_rays, generator)
    directions = F.normalize(targets - origins, dim=-1)
    near, far = intersect_box(origins, directions, grid.bounds)
    samples = sample_rays(origins, directions, near, far, step_size, grid, stratified=False)
    density = evaluate_density(
        field, origins[samples.ray_indices] + samples.distances[:, None] * directions[samples.ray_indices]
    )
    weights = render_weights(density, samples).cpu().double()  # sums of all rays at once lose what one ray weighs
    counts, ray_indices, density = samples.counts.cpu(), samples.ray_indices.cpu(), density.cpu()
    until = torch.cumsum(weights, 0)
    before_ray = torch.cat([until.new_zeros(1), until])[torch.cumsum(counts, 0) - counts]
    opacity = until - before_ray[ray_indices]
    crossing = (opacity >= 0.5) & (opacity - weights < 0.5)
    if int(crossing.sum()) < _FEWEST_OPAQUE_RAYS:
        return None
    return float(torch.quantile(density[crossing], quantile))


def density_span(field: RadianceField, grid: OccupancyGrid, num_points: int = 1 << 16) -> tuple[float, float]:
    """Lowest and highest density met at random places in occupied cells, or anywhere where none is occupied."""
    cells = grid.occupied.nonzero()[:, 0]
    if len(cells) == 0:
        cells = torch.arange(grid.resolution**3)
    density = evaluate_density(field, random_points(grid, cells, num_points, torch.Generator().manual_seed(0)))
    return float(density.min()), float(density.max())


def near_occupied(grid: OccupancyGrid, radius: float = 0.0, *, anywhere: bool = False) -> Callable[[Tensor], Tensor]:
    """A function from points (N, 3) to whether each lies in an allowed cell that is occupied or next to one, bool (N,);
    with a radius: whether that may be so of a place within it, scene units.

    Args:
        anywhere: any allowed cell will do, occupied or not.
    """
    near = grid.allowed if anywhere else grid.allowed & grid.dilated(1)
    cells = math.ceil(radius / float(grid.cell_size().min()))
    if cells + 1 >= grid.resolution:
        return lambda points: torch.ones_like(points[:, 0], dtype=torch.bool)
    wider = OccupancyGrid(grid.aabb, grid.resolution, step_size=1.0).to(grid.aabb.device)
    wider.occupied.copy_(grid.dilated(cells, near))
    return wider.occupied_at


def surface_colors(
    field: RadianceField, points: Tensor, normals: Tensor, step_size: float, *, progress: Progress = False
) -> Tensor:
    """Colours of a surface as a camera right in front of it sees them.

    A field's surface has a thickness: its colour is composited from just outside to some steps inside, along minus the
    normal, and divided by the opacity met there. The colour at the point alone is noisier.

    Args:
        points, normals: on the surface, and its outward unit normals there, shape (N, 3).
        step_size: length of a sample in training, scene units.
        progress: as in eugen_fields.progress.

    Returns:
        RGB in [0, 1], shape (N, 3).
    """
    colors = []
    with torch.no_grad(), counted(progress, "Colours", len(points), "points") as advance:
        for chunk, normal in zip(points.split(_POINTS_EVALUATED), normals.split(_POINTS_EVALUATED)):
            color, light = torch.zeros_like(chunk), torch.ones_like(chunk[:, :1])
            for depth in _COLOR_DEPTHS:
                density, seen = field(chunk - depth * step_size * normal, -normal)
                left = light * torch.exp(-density[:, None] * _COLOR_SPACING * step_size)
                color += (light - left) * seen
                light = left
            opacity = 1.0 - light
            # where nothing at all was met, the colour at the last depth stands
            colors.append(torch.where(opacity > 1e-6, color / opacity.clamp(min=1e-6), seen))
            advance(len(chunk))
    return torch.cat(colors).clamp(0.0, 1.0) if colors else torch.zeros_like(points)
