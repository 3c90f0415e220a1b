"""Points drawn uniformly from a conical frustum."""

import torch
import torch.nn.functional as F


def frustum_points(origin, direction, start, end, radius, count, seed=0):
    """`count` points, float64, shape (count, 3): a disc of radius `radius` t stands at origin + t direction."""
    u, v, w = torch.rand(3, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    t = (start**3 + u * (end**3 - start**3)) ** (1 / 3)
    x_axis = F.normalize(
        torch.linalg.cross(direction, direction.roll(1) + direction.new_tensor([1.0, -1.0, 0.5])), dim=0
    )
    y_axis = F.normalize(torch.linalg.cross(direction, x_axis), dim=0)
    across, turn = radius * t * torch.sqrt(v), 2.0 * torch.pi * w
    disc = torch.cos(turn)[:, None] * x_axis + torch.sin(turn)[:, None] * y_axis
    return origin + t[:, None] * direction + across[:, None] * disc
