"""Which part of space depth images have seen: free space and a little behind the surfaces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class SeenSpace:
    """Points of a regular lattice around a box that depth images have looked at, more with every image.

    Attributes:
        lower: the first lattice point, shape (3,), metres.
        spacing: between lattice points, metres, the same along all axes.
        seen: lattice points that some image saw in front of its surface or up to a spacing behind it, bool (X, Y, Z).

    Args:
        aabb: the box, shape (2, 3), metres. The lattice goes a little beyond it.
        resolution: spacings along its longest side.
    """

    def __init__(self, aabb: Tensor, resolution: int) -> None:
        aabb = aabb.detach().float().cpu()
        extent = aabb[1] - aabb[0]
        self.spacing = float(extent.max()) / resolution
        self.lower = aabb[0] - 2 * self.spacing
        counts = (extent / self.spacing).ceil().long() + 5
        self.seen = torch.zeros(*counts.tolist(), dtype=torch.bool)

    def add(self, depth: Tensor, intrinsics: Tensor, pose: Tensor) -> None:
        """Looks at one more image.

        Args:
            depth: metres along the optical axis, 0 where there is none, shape (H, W).
            intrinsics: fx, fy, cx, cy in pixels; the middle of the first pixel is at (0.5, 0.5).
            pose: camera-to-world, OpenGL axes, shape (4, 4).
        """
        unseen = (~self.seen).nonzero()
        local = (self.lower + self.spacing * unseen - pose[:3, 3]) @ pose[:3, :3]
        away = -local[:, 2]
        fx, fy, cx, cy = intrinsics.tolist()
        ahead = away > 1e-6
        unseen, local, away = unseen[ahead], local[ahead], away[ahead]
        column = (fx * local[:, 0] / away + cx).floor()
        row = (cy - fy * local[:, 1] / away).floor()
        height, width = depth.shape
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        measured = depth[row[inside].long(), column[inside].long()]
        met = (measured > 0) & (away[inside] <= measured + self.spacing)
        self.seen[tuple(unseen[inside][met].T)] = True

    def widened(self) -> Tensor:
        """Lattice points that were seen or have a neighbour that was, none of them at the lattice's border,
        bool (X, Y, Z). What an image sees at a grazing angle has both of its sides here."""
        wide = F.max_pool3d(self.seen[None].float(), 3, stride=1, padding=1)[0] > 0
        inner = torch.zeros_like(wide)
        inner[1:-1, 1:-1, 1:-1] = wide[1:-1, 1:-1, 1:-1]
        return inner

    def nearest(self, points: Tensor) -> Tensor:
        """Indices (N, 3) of the lattice points next to points (N, 3), which may lie outside."""
        places = ((points.cpu() - self.lower) / self.spacing).round().long()
        return places.clamp(torch.zeros(3, dtype=torch.long), torch.tensor(self.seen.shape) - 1)
