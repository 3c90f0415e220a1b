"""Rays followed block by block, and no farther than light gets: how finished fields are rendered."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from eugen_fields.sampling.occupancy import OccupancyGrid
from eugen_fields.sampling.packed import PackedSamples, accumulate, render_weights, sample_rays

Evaluate = Callable[[Tensor, Tensor, PackedSamples], tuple[Tensor, Tensor]]
"""Density (N,) per scene unit and colour (N, 3) of samples on rays with origins and directions (R, 3)."""


class Composite(NamedTuple):
    """What R rays collect over a black background: sums over the samples of a ray, weighted as in `render_weights`."""

    rgb: Tensor
    """Colours, shape (R, 3)."""
    depth: Tensor
    """Distances along the ray, scene units, shape (R, 1); divided by the accumulation: the mean distance."""
    accumulation: Tensor
    """Ones, shape (R, 1): the opacity of the ray."""


def follow_rays(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    step_size: float,
    grid: OccupancyGrid | None,
    evaluate: Evaluate,
    *,
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
        density, color = evaluate(*rays, samples)
        transmittance = 1.0 - accumulation[alive]
        weights = render_weights(density, samples) * transmittance[samples.ray_indices, 0]
        rgb[alive] += accumulate(weights, color, samples)
        depth[alive] += accumulate(weights, samples.distances[:, None], samples)
        accumulation[alive] += accumulate(weights, None, samples)
        first_step += block_steps
        going_on = (num_steps[alive] > first_step) & (1.0 - accumulation[alive, 0] > stop_transmittance)
        alive = alive[going_on]
    return Composite(rgb, depth, accumulation)
