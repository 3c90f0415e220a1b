"""A horizontal cut through a signed distance field as an image."""

from __future__ import annotations

import numpy as np
import torch
from nerfstudio.utils import colormaps

from eugen_fields.runs import SDFRun

_FARTHEST = 1.25
_LINES = 0.25
"""Metres between iso-lines."""


@torch.no_grad()
def sdf_slice(run: SDFRun, height: float, longest: int = 320) -> np.ndarray:
    """Distances in the plane z = height of the scene box: red behind surfaces, blue in free space, lines 0.25 m apart,
    a black one at the surface.

    Returns:
        uint8, rows along y, columns along x, shape (rows, columns, 3); the longer side has `longest` pixels.
    """
    low, high = run.aabb.double()
    spacing = float((high - low)[:2].max()) / longest
    columns, rows = (max(2, round(float(side) / spacing)) for side in (high - low)[:2])
    x = torch.linspace(float(low[0]), float(high[0]), columns)
    y = torch.linspace(float(low[1]), float(high[1]), rows)
    points = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.full((rows, columns), height)], dim=-1)
    device = run.field.aabb.device
    distance = torch.cat([run.field.sdf(part).cpu() for part in points.view(-1, 3).to(device).split(1 << 14)])
    distance = distance.view(rows, columns)
    share = (0.5 + 0.5 * distance / _FARTHEST).clamp(0.0, 1.0)
    image = colormaps.apply_colormap(share[..., None], colormaps.ColormapOptions("turbo", invert=True))
    to_line = (distance / _LINES - (distance / _LINES).round()).abs() * _LINES
    image[to_line < 0.5 * spacing] *= 0.6
    image[distance.abs() < 1.5 * spacing] = 0.0
    return (image.clamp(0.0, 1.0) * 255).round().byte().numpy()
