"""Where an object can be, by the silhouettes of posed images.

Source: "The Visual Hull Concept for Silhouette-Based Image Understanding" (Laurentini, 1994).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_NEAREST = 1e-6
_MOST_MISSES = 0.05
"""Share of the images in which a place may lie outside of the silhouette: masks and poses are not exact."""


def visual_hull(
    points: Tensor,
    radius: float,
    silhouettes: Sequence[Tensor],
    intrinsics: Tensor,
    camera_to_world: Tensor,
) -> Tensor:
    """Whether balls about points may hold a part of the object that all silhouettes show.

    A ball is kept if at most one in twenty of the images that show its centre has no part of the silhouette where the
    ball is, and if any image shows it.

    Args:
        points: centres, shape (N, 3).
        radius: of the balls, in units of the points.
        silhouettes: for each image, shape (height, width): True where it shows the object.
        intrinsics: fx, fy, cx, cy of each image, pixels, shape (images, 4).
        camera_to_world: OpenGL poses (x right, y up, z backwards), shape (images, 3 or 4, 4).

    Returns:
        bool, shape (N,).
    """
    seen = torch.zeros(len(points), dtype=torch.int32, device=points.device)
    missed = torch.zeros_like(seen)
    for silhouette, (fx, fy, cx, cy), pose in zip(silhouettes, intrinsics.tolist(), camera_to_world):
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        depth = -local[:, 2]
        ahead = depth > max(_NEAREST, radius)
        depth = depth.clamp(min=max(_NEAREST, radius))
        column, row = cx + fx * local[:, 0] / depth, cy - fy * local[:, 1] / depth
        height, width = silhouette.shape
        inside = ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        if not bool(inside.any()):
            continue
        nearest = float(depth[inside].min())
        reach = math.ceil(max(fx, fy) * radius / nearest)
        grown = _grown(silhouette, min(reach, max(height, width)))
        rows, columns = row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()
        seen += inside
        missed += inside & ~grown[rows, columns]
    return (seen > 0) & (missed <= _MOST_MISSES * seen)


def _grown(silhouette: Tensor, pixels: int) -> Tensor:
    """A silhouette (height, width) widened by so many pixels along both axes."""
    image = silhouette.float()[None, None]
    image = F.max_pool2d(image, (1, 2 * pixels + 1), stride=1, padding=(0, pixels))
    return F.max_pool2d(image, (2 * pixels + 1, 1), stride=1, padding=(pixels, 0))[0, 0] > 0
