"""Rays followed block by block, and no farther than light gets: how finished fields are rendered."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from eugen_fields.sampling.occupancy import OccupancyGrid
from eugen_fields.sampling.packed import PackedSamples, accumulate, render_weights, sample_rays

Evaluate = Callable[..., tuple[Tensor, Tensor]]
"""Density (N,) per scene unit and colour (N, 3) of samples; takes origins and directions (R, 3) of their rays, the
radius (R, 1) of those that are cones, and the PackedSamples."""

VISIBLE = 1e-4
"""Accumulation above which a ray meets something."""


class Composite(NamedTuple):
    """What R rays collect over a black background: sums over the samples of a ray, weighted as in `render_weights`."""

    rgb: Tensor
    """Colours, shape (R, 3)."""
    depth: Tensor
    """Distances along the ray, scene units, shape (R, 1); divided by the accumulation: the mean distance."""
    accumulation: Tensor
    """Ones, shape (R, 1): the opacity of the ray."""

    def over(self, background: Tensor, far: Tensor) -> dict[str, Tensor]:
        """What a render shows of the rays, each (R, channels).

        Args:
            background: RGB behind them, shape (3,).
            far: shape (R,), the distance of rays that meet nothing, scene units.

        Returns:
            rgb and accumulation in [0, 1], and depth, the mean distance along the ray.
        """
        visible = self.accumulation > VISIBLE
        distance = self.depth / self.accumulation.clamp(min=1e-10)
        return {
            "rgb": (self.rgb + (1.0 - self.accumulation) * background).clamp(0.0, 1.0),
            "accumulation": self.accumulation.clamp(0.0, 1.0),
            "depth": torch.where(visible, distance, far.clamp(min=0.0)[:, None]),
        }


def follow_rays(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    step_size: float,
    grid: OccupancyGrid | None,
    evaluate: Evaluate,
    *,
    radius: Tensor | None = None,
    stop_transmittance: float = 0.0,
    block_steps: int = 32,
) -> Composite:
    """Composites samples in the middle of every occupied step between near and far, a block of steps at a time; rays
    that let no more light through take no part in the next block.

    Steps are counted from the start of each ray, so that the samples are the same for every size of block.

    Args:
        origins, directions: shape (R, 3), directions of unit length.
        near, far: shape (R,), scene units; rays with far <= near collect nothing.
        step_size: scene units.
        grid: keeps samples in occupied cells alone; None keeps all.
        evaluate: density and colour of samples.
        radius: shape (R, 1), of the cones around the rays at distance 1; None: they are no cones.
        stop_transmittance: a ray ends after the block in which its transmittance has fallen to this.
        block_steps: steps of a block.
    """
    rgb, depth = torch.zeros_like(origins), torch.zeros_like(origins[:, :1])
    accumulation = torch.zeros_like(depth)
    num_steps = torch.ceil((far - near) / step_size)
    alive = (num_steps > 0).nonzero()[:, 0]
    first_step = 0
    while len(alive) > 0:
        rays = (origins[alive], directions[alive])
        samples = sample_rays(
            *rays,
            near[alive],
            far[alive],
            step_size,
            grid,
            stratified=False,
            first_step=first_step,
            max_steps=block_steps,
        )
        density, color = evaluate(*rays, *([] if radius is None else [radius[alive]]), samples)
        transmittance = 1.0 - accumulation[alive]
        weights = render_weights(density, samples) * transmittance[samples.ray_indices, 0]
        rgb[alive] += accumulate(weights, color, samples)
        depth[alive] += accumulate(weights, samples.distances[:, None], samples)
        accumulation[alive] += accumulate(weights, None, samples)
        first_step += block_steps
        going_on = (num_steps[alive] > first_step) & (1.0 - accumulation[alive, 0] > stop_transmittance)
        alive = alive[going_on]
    return Composite(rgb, depth, accumulation)


def density_normals(density: Callable[[Tensor], Tensor], points: Tensor, visible: Tensor, chunk_size: int) -> Tensor:
    """Normals (R, 3) mapped to [0, 1], against the density gradient; 0.5 where nothing is visible.

    Args:
        density: of points (N, 3), shape (N,), differentiable.
        points: shape (R, 3).
        visible: which of them lie on something, shape (R,).
        chunk_size: points evaluated at once.
    """
    normals = torch.zeros_like(points)
    for chunk in visible.nonzero()[:, 0].split(chunk_size):
        with torch.enable_grad():
            places = points[chunk].detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(density(places).sum(), places)
        normals[chunk] = -F.normalize(gradient, dim=-1)
    return (normals + 1.0) / 2.0


def evaluate_chunks(
    field: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    origins: Tensor,
    directions: Tensor,
    samples: PackedSamples,
    chunk_size: int,
) -> tuple[Tensor, Tensor]:
    """Density (N,) and colour (N, 3) of samples on rays with origins and directions (R, 3), from a field that gives
    them for positions (M, 3) and directions (M, 3), chunk_size at once."""
    ray_directions = directions[samples.ray_indices]
    positions = origins[samples.ray_indices] + samples.distances[:, None] * ray_directions
    pairs = [field(*chunk) for chunk in zip(positions.split(chunk_size), ray_directions.split(chunk_size))]
    if not len(positions):
        return positions.new_zeros(0), positions.new_zeros(0, 3)
    density, color = zip(*pairs)
    return torch.cat(density), torch.cat(color)


class SeesCones(Protocol):
    """What cones ask of a field; fields.ConeRadianceField says what its methods do."""

    def places(
        self, origins: Tensor, directions: Tensor, starts: Tensor, ends: Tensor, radius: Tensor, /
    ) -> tuple[Tensor, Tensor]: ...

    def density(self, positions: Tensor, spreads: Tensor, /) -> tuple[Tensor, Tensor]: ...

    def color(self, features: Tensor, directions: Tensor, /) -> Tensor: ...


def cone_places(
    field: SeesCones, origins: Tensor, directions: Tensor, radius: Tensor, samples: PackedSamples
) -> tuple[Tensor, Tensor]:
    """Means (N, 3) and spreads (N, ...) of the stretches of cones, one step long, that samples are the middles of.

    Args:
        origins, directions: of the axes of the cones, shape (R, 3).
        radius: of the cones at distance 1, shape (R, 1).
    """
    rays, middle, half = samples.ray_indices, samples.distances[:, None], 0.5 * samples.step_size
    starts, ends = (middle - half).clamp(min=0.0), middle + half
    means, spreads = field.places(origins[rays], directions[rays], starts, ends, radius[rays])
    return means[:, 0], spreads[:, 0]


def evaluate_cone_chunks(
    field: SeesCones,
    origins: Tensor,
    directions: Tensor,
    radius: Tensor,
    samples: PackedSamples,
    chunk_size: int,
) -> tuple[Tensor, Tensor]:
    """As evaluate_chunks, of the stretches of cones that `cone_places` has; radius (R, 1) is theirs at distance 1."""
    places = cone_places(field, origins, directions, radius, samples)
    parts = (*places, directions[samples.ray_indices])
    found = [(origins.new_zeros(0), origins.new_zeros(0, 3))]
    for means, spreads, along in zip(*(values.split(chunk_size) for values in parts)):
        density, features = field.density(means, spreads)
        found.append((density, field.color(features, along)))
    density, color = zip(*found)
    return torch.cat(density), torch.cat(color)
