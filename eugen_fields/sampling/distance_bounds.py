"""Bounds on the signed distance of points along depth rays, from what the rays of one batch saw.

Source: "iSDF" (Ortiz et al., 2022). A sample in front of a seen surface is at most as far from all
surfaces as from the nearest of those that were seen: the bound is an upper one, and near the surface nearly exact.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_TOUCHING = 1e-5
"""Metres within which a sample counts as the surface point itself: its direction from there would be rounding."""


_FEW_POINTS = 256
"""So few are searched by brute force on the CPU too."""


class DistanceBounds(NamedTuple):
    """Bounds of the samples of rays."""

    bounds: Tensor
    """Metres, negative behind the surface, shape (R, S)."""
    directions: Tensor
    """Where the signed distance grows fastest if the bound is exact, unit length, shape (R, S, 3); 0 where unknown."""


def nearest_points(queries: Tensor, points: Tensor, chunk_size: int = 1 << 22) -> tuple[Tensor, Tensor]:
    """Distance to the nearest of some points and its index: by a k-d tree on the CPU, by brute force elsewhere.

    Args:
        queries: shape (N, 3), metres.
        points: shape (M, 3), metres, at least one.
        chunk_size: distances held at once by brute force.

    Returns:
        distances (N,), metres, and indices (N,) into points.
    """
    if queries.device.type == "cpu" and len(points) > _FEW_POINTS:
        from scipy.spatial import KDTree  # here: a field file is loaded without it

        indices = torch.from_numpy(KDTree(points.detach().numpy()).query(queries.detach().numpy())[1])
    else:
        indices = nearest_by_brute_force(queries, points, chunk_size)
    return (queries - points[indices]).norm(dim=-1), indices


def nearest_by_brute_force(queries: Tensor, points: Tensor, chunk_size: int = 1 << 22) -> Tensor:
    """As nearest_points, the indices alone, on any device."""
    indices = torch.empty(len(queries), dtype=torch.long, device=queries.device)
    rows = max(1, chunk_size // max(1, len(points)))
    for start in range(0, len(queries), rows):
        chunk = slice(start, start + rows)
        indices[chunk] = _squared_distances(queries[chunk], points).argmin(dim=1)
    return indices


def _squared_distances(queries: Tensor, points: Tensor) -> Tensor:
    """|q - p|^2, shape (N, M), coordinate by coordinate: through |q|^2 - 2 q.p + |p|^2 float32 would lose the
    millimetres, and torch.cdist without that runs a block of threads for each distance on CUDA."""
    table = torch.zeros(len(queries), len(points), device=queries.device, dtype=queries.dtype)
    for query, point in zip(queries.unbind(1), points.unbind(1)):
        difference = query[:, None] - point
        table.addcmul_(difference, difference)
    return table


def ray_bounds(surface: Tensor, samples: Tensor) -> Tensor:
    """How far each sample is from the surface along its own ray: surface - sample.

    Args:
        surface: distance of the surface along each ray, shape (R,), metres.
        samples: distances of the samples, shape (R, S), metres.

    Returns:
        metres, negative behind the surface, shape (R, S).
    """
    return surface[:, None] - samples


@torch.no_grad()
def point_bounds(
    samples: Tensor, behind: Tensor, surface: Tensor, normals: Tensor, chunk_size: int = 1 << 22
) -> DistanceBounds:
    """How far each sample is from the nearest surface point of the batch, and in which direction.

    The surface points may be more than the rays that are sampled: they cost no evaluation of a field, and the closer
    they lie the tighter the bounds (iSDF takes those of its rays alone).

    Args:
        samples: shape (R, S, 3), metres.
        behind: which samples are behind the surface of their ray, shape (R, S).
        surface: the surface points, shape (M, 3), metres, at least one where there are samples.
        normals: theirs, unit length and towards free space, shape (M, 3); 0 where unknown.
        chunk_size: as in nearest_points.

    Returns:
        bounds with the sign of the side, and the directions from the surface points (behind the surface: to them);
        where a sample is a surface point, the normal there.
    """
    distances, nearest = nearest_points(samples.reshape(-1, 3), surface, chunk_size)
    sign = torch.where(behind.flatten(), -1.0, 1.0).to(samples)
    touching = distances < _TOUCHING
    away = (sign / distances.clamp_min(_TOUCHING))[:, None] * (samples.reshape(-1, 3) - surface[nearest])
    directions = torch.where(touching[:, None], normals[nearest], away)
    return DistanceBounds((sign * distances).view(behind.shape), directions.view(samples.shape))
