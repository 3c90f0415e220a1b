"""Renders of stored fields along rays, by the functions that models of runs render with."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from eugen_fields.fields import NeRFField, SDFField
from eugen_fields.sampling import (
    VISIBLE,
    OccupancyGrid,
    density_normals,
    evaluate_chunks,
    follow_rays,
    intersect_box,
    shaded,
    trace_box,
)
from eugen_fields.storing.scene import DistanceScene, RadianceScene

_CHUNK_SAMPLES = 1 << 13


def render_radiance(
    scene: RadianceScene, field: NeRFField, grid: OccupancyGrid, origins: Tensor, directions: Tensor, *, normals: bool
) -> dict[str, Tensor]:
    """rgb, accumulation, depth and, if asked for, normals of rays (R, 3), each (R, channels); as models.NeRFModel."""
    near, far = intersect_box(origins, directions, grid.bounds)
    composite = follow_rays(
        origins,
        directions,
        near.clamp(min=scene.near_plane),
        far,
        scene.step_size,
        grid,
        partial(evaluate_chunks, field, chunk_size=_CHUNK_SAMPLES),
        stop_transmittance=scene.stop_transmittance,
    )
    outputs = composite.over(torch.tensor(scene.background).to(origins), far)
    if normals:
        points = origins + outputs["depth"] * directions
        visible = composite.accumulation[:, 0] > VISIBLE
        outputs["normals"] = density_normals(lambda at: field.density(at)[0], points, visible, _CHUNK_SAMPLES)
    return outputs


def render_distance(scene: DistanceScene, field: SDFField, origins: Tensor, directions: Tensor) -> dict[str, Tensor]:
    """rgb, accumulation, depth and normals of rays (R, 3), each (R, channels); as models.ISDFModel."""
    depth, hit = trace_box(field.sdf, field.aabb, origins, directions, max_steps=scene.trace_steps)
    colors = {"surface_color": scene.surface_color, "background": scene.background}
    return shaded(field.normals, origins, directions, depth, hit, **colors)
