"""Renders of stored fields along rays, by the functions that models of runs render with."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from eugen_fields.fields import ConeRadianceField, RadianceField, SDFField
from eugen_fields.sampling import (
    VISIBLE,
    OccupancyGrid,
    density_normals,
    evaluate_chunks,
    evaluate_cone_chunks,
    follow_rays,
    intersect_box,
    shaded,
    trace_box,
)
from eugen_fields.storing.cameras import Rays
from eugen_fields.storing.scene import DistanceScene, RadianceScene

_CHUNK_SAMPLES = 1 << 13


def render_radiance(
    scene: RadianceScene, field: RadianceField, grid: OccupancyGrid, rays: Rays, *, normals: bool
) -> dict[str, Tensor]:
    """rgb, accumulation, depth and, if asked for, normals of R rays, each (R, channels); as models.NeRFModel."""
    origins, directions, radius = rays
    sees_cones = isinstance(field, ConeRadianceField)
    evaluate = partial(evaluate_cone_chunks if sees_cones else evaluate_chunks, field, chunk_size=_CHUNK_SAMPLES)
    near, far = intersect_box(origins, directions, grid.bounds)
    composite = follow_rays(
        origins,
        directions,
        near.clamp(min=scene.near_plane),
        far,
        scene.step_size,
        grid,
        evaluate,
        radius=radius if sees_cones else None,
        stop_transmittance=scene.stop_transmittance,
    )
    outputs = composite.over(torch.tensor(scene.background).to(origins), far)
    if normals:
        points = origins + outputs["depth"] * directions
        visible = composite.accumulation[:, 0] > VISIBLE
        outputs["normals"] = density_normals(lambda at: field.density(at)[0], points, visible, _CHUNK_SAMPLES)
    return outputs


def render_distance(scene: DistanceScene, field: SDFField, rays: Rays) -> dict[str, Tensor]:
    """rgb, accumulation, depth and normals of R rays, each (R, channels); as models.ISDFModel."""
    origins, directions, _ = rays
    depth, hit = trace_box(field.sdf, field.aabb, origins, directions, max_steps=scene.trace_steps)
    colors = {"surface_color": scene.surface_color, "background": scene.background}
    return shaded(field.normals, origins, directions, depth, hit, **colors)
