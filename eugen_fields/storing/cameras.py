"""Perspective cameras, and their rays, without nerfstudio."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Rays = tuple[Tensor, Tensor, Tensor]
"""Origins and unit directions of rays, both (R, 3), and the radius at distance 1 of the cones around them, (R, 1): that
of the disc that has the variance of a pixel ("Mip-NeRF", Barron et al., 2021, section 3.1)."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in the scene of a field."""

    pose: Tensor
    """Camera to scene, OpenGL axes (x right, y up, looking along -z), shape (3, 4), float32."""
    width: int
    """Pixels."""
    height: int
    fx: float
    """Focal lengths, pixels."""
    fy: float
    cx: float
    """Principal point, pixels; the middle of the first pixel is at 0.5, 0.5."""
    cy: float

    @property
    def lens(self) -> tuple[float, ...]:
        """width, height, fx, fy, cx, cy."""
        return float(self.width), float(self.height), self.fx, self.fy, self.cx, self.cy

    def resized(self, height: int) -> Camera:
        """The same view in another height."""
        share = height / self.height
        width = max(1, round(self.width * share))
        across = width / self.width
        return Camera(self.pose, width, height, self.fx * across, self.fy * share, self.cx * across, self.cy * share)

    def rays(self) -> Rays:
        """Rays through the middle of each pixel, row by row, with the cones that the pixels are."""
        rows, columns = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing="ij")
        x, y = ((columns + 0.5 - self.cx) / self.fx).flatten(), ((rows + 0.5 - self.cy) / self.fy).flatten()
        local = torch.stack([x, -y, -torch.ones_like(x)], dim=-1)
        directions = F.normalize((local[:, None, :] * self.pose[:, :3]).sum(dim=-1), dim=-1)
        # how far the unit direction moves from column to column and from row to row: the sides of the pixel
        across, along = (1.0 + y**2).sqrt() / self.fx, (1.0 + x**2).sqrt() / self.fy
        radius = (across * along / 3.0).sqrt() / (1.0 + x**2 + y**2)
        return self.pose[:, 3].expand_as(directions).contiguous(), directions, radius[:, None]


def upright(pose: Tensor) -> Tensor:
    """A pose (3, 4) that was rounded, with its axes made perpendicular and of unit length again."""
    right = F.normalize(pose[:, 0], dim=0)
    back = F.normalize(pose[:, 2] - (pose[:, 2] @ right) * right, dim=0)
    return torch.stack([right, torch.linalg.cross(back, right), back, pose[:, 3]], dim=1)
