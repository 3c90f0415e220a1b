"""Whole images rendered a chunk of rays at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

Render = Callable[[RayBundle], dict[str, Tensor]]
"""Outputs (rays, channels) of a bundle of rays."""


def render_in_chunks(camera_rays: RayBundle, render: Render, num_rays: int, device: torch.device) -> dict[str, Tensor]:
    """Outputs (H, W, channels) of a camera's rays (H, W), rendered on a device and brought back to that of the rays.

    Args:
        num_rays: the most rays rendered at once.
    """
    chunks = []
    for start in range(0, len(camera_rays), num_rays):
        outputs = render(camera_rays.get_row_major_sliced_ray_bundle(start, start + num_rays).to(device))
        chunks.append({name: value.to(camera_rays.directions.device) for name, value in outputs.items()})
    height, width = camera_rays.origins.shape[:2]
    return {name: torch.cat([chunk[name] for chunk in chunks]).view(height, width, -1) for name in chunks[0]}
