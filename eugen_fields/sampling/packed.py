"""Packed samples along rays (only occupied ones are kept) and volume rendering over them, in plain torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from eugen_fields.sampling.occupancy import OccupancyGrid


@dataclass
class PackedSamples:
    """N samples on R rays, ordered by ray and by distance along it."""

    ray_indices: Tensor
    """Ray of each sample, int64, shape (N,), ascending."""
    distances: Tensor
    """Distance of each sample along its unit-length ray, scene units, shape (N,)."""
    counts: Tensor
    """Samples on each ray, int64, shape (R,)."""
    step_size: float
    """Length of ray per sample, scene units."""

    @property
    def num_rays(self) -> int:
        return self.counts.shape[0]

    def __len__(self) -> int:
        return self.distances.shape[0]

    def keep(self, mask: Tensor) -> PackedSamples:
        """The samples where `mask`, shape (N,), is true."""
        ray_indices = self.ray_indices[mask]
        counts = torch.bincount(ray_indices, minlength=self.num_rays)
        return PackedSamples(ray_indices, self.distances[mask], counts, self.step_size)


def intersect_box(origins: Tensor, directions: Tensor, aabb: Tensor) -> tuple[Tensor, Tensor]:
    """Distances at which rays enter and leave an axis-aligned box (slab method).

    Args:
        origins, directions: shape (R, 3).
        aabb: lower and upper corner, shape (2, 3).

    Returns:
        near and far, shape (R,), near >= 0; far <= near where the ray misses the box.
    """
    directions = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    first = (aabb[0] - origins) / directions
    second = (aabb[1] - origins) / directions
    near = torch.minimum(first, second).amax(dim=-1).clamp(min=0.0)
    far = torch.maximum(first, second).amin(dim=-1)
    return near, far


def sample_rays(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    step_size: float,
    grid: OccupancyGrid | None,
    *,
    stratified: bool,
    first_step: int = 0,
    max_steps: int | None = None,
) -> PackedSamples:
    """One sample in each interval of `step_size` between near and far whose place is occupied.

    Args:
        origins, directions: shape (R, 3), directions of unit length.
        near, far: shape (R,), scene units; rays with far <= near get no sample.
        step_size: scene units.
        grid: keeps samples in occupied cells alone; None keeps all.
        stratified: a uniformly random place in each interval (training) instead of its middle.
        first_step, max_steps: only the intervals from this one on, counted from near, and at most so many of them.
    """
    num_steps = torch.ceil((far - near) / step_size).clamp(min=0).long()
    num_steps = (num_steps - first_step).clamp(min=0, max=max_steps)
    alive, longest = _alive(num_steps)
    steps = torch.arange(longest, device=origins.device)
    offsets = torch.rand(len(alive), longest, device=origins.device) if stratified else 0.5
    distances = near[alive, None] + ((first_step + steps).to(near.dtype) + offsets) * step_size
    mask = steps < num_steps[alive, None]
    if grid is not None:
        mask = mask & grid.occupied_along(origins[alive], directions[alive], distances)
    rows, columns = mask.nonzero(as_tuple=True)
    counts = torch.zeros_like(num_steps)
    counts[alive] = mask.sum(dim=1)
    return PackedSamples(alive[rows], distances[rows, columns], counts, step_size)


def _alive(num_steps: Tensor) -> tuple[Tensor, int]:
    """The rays that have steps, ascending, and the largest number of steps, from that of each ray, shape (R,). The host
    waits for a GPU once, for both sizes."""
    num_rays = len(num_steps)
    if num_rays == 0:
        return num_steps, 0
    has_steps = num_steps > 0
    count, longest = torch.stack([has_steps.sum(), num_steps.max()]).tolist()
    slots = torch.where(has_steps, has_steps.cumsum(0) - 1, count)
    rays = torch.arange(num_rays, device=num_steps.device)
    return num_steps.new_zeros(count + 1).scatter_(0, slots, rays)[:count], longest


def render_weights(density: Tensor, samples: PackedSamples) -> Tensor:
    """Weight of each sample in its ray's colour: w_i = T_i (1 - exp(-sigma_i delta)) with the transmittance
    T_i = exp(-sum_{j<i} sigma_j delta).

    Source: "NeRF" (Mildenhall et al., 2020), eq. 3.

    Args:
        density: shape (N,), per scene unit, at least 0.

    Returns:
        weights, shape (N,), float32 or wider.
    """
    depth = density.to(torch.promote_types(density.dtype, torch.float32)) * samples.step_size
    if len(samples) == 0:
        return depth
    counts = samples.counts
    used, longest = torch.stack([counts.count_nonzero(), counts.max()]).tolist()
    rows = ((counts > 0).cumsum(0) - 1)[samples.ray_indices]  # rays without samples have none
    columns = torch.arange(len(samples), device=counts.device) - (counts.cumsum(0) - counts)[samples.ray_indices]
    slots = rows * longest + columns
    padded = depth.new_zeros(used * longest).scatter(0, slots, depth).view(used, longest)
    # shifted, not cumsum - padded: subtracting would lose what lies in front of a much denser sample
    before = F.pad(torch.cumsum(padded, dim=1), (1, -1)).reshape(-1).gather(0, slots)
    return torch.exp(-before) * -torch.expm1(-depth)


def accumulate(weights: Tensor, values: Tensor | None, samples: PackedSamples) -> Tensor:
    """Sum of weights * values over each ray, shape (R, C); C = 1 and values = 1 where values is None.

    Args:
        weights: shape (N,).
        values: shape (N, C).
    """
    product = weights[:, None] if values is None else weights[:, None] * values
    index = samples.ray_indices[:, None].expand_as(product)
    return product.new_zeros(samples.num_rays, product.shape[1]).scatter_add(0, index, product)
