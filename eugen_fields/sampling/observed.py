"""Which part of space depth images looked through: free space, and a little behind the surfaces."""

from __future__ import annotations

import torch
from torch import Tensor


class ObservedSpace:
    """Points of a regular lattice around a box that depth images have looked at, more with every image.

    Attributes:
        lower: the first lattice point, shape (3,), metres.
        spacing: between lattice points, metres, the same along all axes.
        seen: lattice points that some image saw in front of its surface or up to a spacing behind it, bool (X, Y, Z).

    Args:
        aabb: the box, shape (2, 3), metres.
        resolution: spacings along its longest side.
    """

    def __init__(self, aabb: Tensor, resolution: int) -> None:
        aabb = aabb.detach().float().cpu()
        extent = aabb[1] - aabb[0]
        self.spacing = float(extent.max()) / resolution
        self.lower = aabb[0]
        counts = (extent / self.spacing).ceil().long() + 1
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

    def at(self, points: Tensor) -> Tensor:
        """Whether the lattice points next to points (N, 3) were seen, bool (N,); False outside the lattice."""
        places = ((points.cpu() - self.lower) / self.spacing).round().long()
        inside = ((places >= 0) & (places < torch.tensor(self.seen.shape))).all(dim=-1)
        result = torch.zeros_like(inside)
        result[inside] = self.seen[tuple(places[inside].T)]
        return result
