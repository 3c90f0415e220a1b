"""Signed distances, or densities, on a horizontal plane as colours."""

from __future__ import annotations

import numpy as np
import torch
from nerfstudio.utils import colormaps
from torch import Tensor

_FREE = np.array([[225, 236, 246], [33, 102, 172]], dtype=np.float64)
_BEHIND = np.array([[253, 219, 199], [178, 24, 43]], dtype=np.float64)
"""RGB at the surface and far from it, in free space and behind surfaces."""
_ZERO = (20, 20, 20)


def slice_points(aabb: Tensor, height: float, resolution: int) -> Tensor:
    """Centres of the pixels (rows, columns, 3) of a horizontal image over a box (2, 3), `resolution` along its longer
    side; columns go along x and rows along y."""
    extent = (aabb[1] - aabb[0])[:2]
    columns, rows = (max(2, round(float(resolution * side / extent.max()))) for side in extent)
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    places = torch.stack([x, y], dim=-1).to(aabb) * extent + aabb[0, :2]
    return torch.cat([places, torch.full_like(places[..., :1], height)], dim=-1)


def slice_colors(sdf: np.ndarray, known: np.ndarray, full_scale: float) -> np.ndarray:
    """Signed distances as colours: blue in free space, red behind surfaces, darker the farther, and black where the
    sign changes.

    Args:
        sdf: metres, shape (H, W).
        known: pixels that are drawn, bool (H, W); the others are transparent.
        full_scale: metres from which on the colour stays the same.

    Returns:
        RGBA, uint8 (H, W, 4).
    """
    share = np.clip(np.abs(sdf) / full_scale, 0.0, 1.0)[..., None]
    free = sdf[..., None] >= 0
    color = np.where(free, _FREE[0] + share * (_FREE[1] - _FREE[0]), _BEHIND[0] + share * (_BEHIND[1] - _BEHIND[0]))
    color[sign_changes(sdf)] = _ZERO
    alpha = np.where(known, 255, 0)[..., None]
    return np.concatenate([color.round(), alpha], axis=-1).astype(np.uint8)


def sign_changes(sdf: np.ndarray) -> np.ndarray:
    """Pixels (H, W) next to one of the other sign, along rows or columns."""
    behind = sdf < 0
    changes = np.zeros_like(behind)
    for first, second in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = behind[first] != behind[second]
        changes[first] |= differs
        changes[second] |= differs
    return changes


def density_colors(density: Tensor, lowest: float, highest: float) -> np.ndarray:
    """Densities as colours on a logarithmic scale, black where they are lowest and pale yellow where highest.

    Args:
        density: shape (H, W).
        lowest: below this, pixels are transparent.
        highest: from here on the colour stays the same.

    Returns:
        RGBA, uint8 (H, W, 4).
    """
    share = (density / lowest).clamp(min=1e-30).log() / np.log(highest / lowest)
    color = colormaps.apply_colormap(share.clamp(0.0, 1.0)[..., None], colormaps.ColormapOptions("inferno"))
    image = torch.cat([color, (density >= lowest)[..., None].to(color)], dim=-1)
    return (255.0 * image).round().byte().numpy(force=True)
