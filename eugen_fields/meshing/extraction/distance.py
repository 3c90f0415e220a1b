"""The surface of a signed distance field, cut to where surfaces were seen."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from eugen_fields.fields.sdf import SDFField
from eugen_fields.meshing.extraction.marching_cubes import extract_mesh
from eugen_fields.meshing.region import Region
from eugen_fields.progress import Progress
from eugen_fields.sampling import SeenCells

_CELLS_EVALUATED = 2
"""Number of cells around those with seen surfaces in which the field is evaluated."""
_CELLS_KEPT = 1
"""Number of cells around those with seen surfaces in which the surface is kept; artefacts at the border of the
evaluation lie farther off."""

_AT_SIDE = 0.01
"""Lattice cells from a side of the box within which a vertex counts as on it."""


def distance_mesh(
    field: SDFField,
    resolution: int,
    *,
    level: float = 0.0,
    seen: SeenCells | None = None,
    region: Region | None = None,
    progress: Progress = True,
) -> tuple[np.ndarray, np.ndarray]:
    """The surface where a signed distance passes a level, its triangles facing free space.

    Args:
        field: folded or not.
        resolution: lattice cells along the longest side of the region.
        level: metres.
        seen: keep only what lies near where surfaces were seen; None: everything in the region, closed at its sides.
        region: where to look; None: the field's box.
        progress: as in eugen_fields.progress.

    Returns:
        vertices (V, 3) float64 in the frame of the region (metres), each used by a face, and faces (F, 3) int64; both
        empty where there is nothing.

    Raises:
        ValueError: resolution below 2.
    """
    region = Region(field.aabb.float()) if region is None else region
    device = field.aabb.device
    vertices, faces = extract_mesh(
        region.in_scene(lambda points: level - field.evaluate(points.to(field.aabb))),
        region.aabb,
        resolution,
        0.0,
        occupied=region.occupied(None if seen is None else seen.near(_CELLS_EVALUATED)),
        lipschitz=gradient_bound(field, region.scene_bounds()) * region.scale,
        device=device,
        progress=progress,
    )
    if seen is None or len(faces) == 0:
        return vertices, faces
    near = region.in_scene(seen.near(_CELLS_KEPT))(torch.from_numpy(vertices).float().to(device)).cpu().numpy()
    # where the solid goes on behind the sides of the box the mesh is closed by them: nobody saw that
    low, high = region.aabb.cpu().double().numpy()
    reach = _AT_SIDE * (high - low).max() / resolution
    at_side = ((vertices <= low + reach) | (vertices >= high - reach)).any(axis=1)
    faces = faces[near[faces].all(axis=1) & ~at_side[faces].all(axis=1)]
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    return vertices[used], (np.cumsum(used) - 1)[faces]


def gradient_bound(field: SDFField, bounds: Tensor, num_points: int = 1 << 14) -> float:
    """Length that gradients of a trained distance hardly exceed in a box (2, 3): 1.5 times the longest at random
    places, and at least 1.5 times that of a true distance, 1."""
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(num_points, 3, generator=generator).to(field.aabb)
    bounds = bounds.to(field.aabb)
    points = bounds[0] + places * (bounds[1] - bounds[0])
    lengths = [field.sdf_and_gradient(chunk)[1].detach().norm(dim=-1) for chunk in points.split(1 << 12)]
    return 1.5 * max(1.0, float(torch.cat(lengths).max()))


def distance_span(field: SDFField, num_points: int = 1 << 16) -> tuple[float, float]:
    """Lowest and highest distance at random places in the field's box, metres."""
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(num_points, 3, generator=generator).to(field.aabb)
    distances = field.evaluate(field.aabb[0] + places * (field.aabb[1] - field.aabb[0]))
    return float(distances.min()), float(distances.max())
