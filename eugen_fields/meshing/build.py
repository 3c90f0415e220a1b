"""From an open run to its surface: found, cleaned, coloured and placed in the world."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import trimesh

from eugen_fields.errors import InputError
from eugen_fields.meshing.extraction import refine
from eugen_fields.meshing.extraction.distance import distance_mesh, distance_span
from eugen_fields.meshing.extraction.marching_cubes import extract_mesh
from eugen_fields.meshing.extraction.surface import (
    density_span,
    evaluate_density,
    near_occupied,
    surface_colors,
    surface_level,
)
from eugen_fields.meshing.finishing.clean import keep_large_components
from eugen_fields.meshing.finishing.texture import textured
from eugen_fields.meshing.options import TEXTURE_FACES, MeshOptions
from eugen_fields.meshing.region import Region, export_region, is_unbounded
from eugen_fields.progress import Progress
from eugen_fields.runs import RadianceRun, Run, SDFRun
from eugen_fields.sampling import OccupancyGrid

_HALVINGS = 3
"""Bisections of each lattice edge where a density passes the level: it does so almost in one step."""


class NoSurface(InputError):
    """A density has no surface where one was looked for.

    Attributes:
        span: lowest and highest density that were met.
    """

    def __init__(self, message: str, span: tuple[float, float]) -> None:
        super().__init__(message)
        self.span = span


def build_mesh(run: Run, *, progress: Progress = True, **options: Any) -> tuple[trimesh.Trimesh, float]:
    """The mesh of an open run, and the level it was cut at. Options are the fields of MeshOptions.

    Raises:
        InputError: a bad option, or there is no surface at the level.
    """
    chosen = MeshOptions(**options)
    chosen.check()
    chosen.check_run(run)
    found = find_surface(run, chosen, progress)
    return place(color_mesh(found.mesh, run, chosen, progress), run, chosen), found.level


@dataclass(frozen=True)
class Surface:
    """A surface of a run, with how it was found."""

    mesh: trimesh.Trimesh
    """Bare, in the training frame."""
    level: float
    region: Region
    dropped: tuple[int, int]
    """Pieces that were too small, and their triangles."""


def find_surface(run: Run, options: MeshOptions, progress: Progress) -> Surface:
    """The bare surface of a run in the training frame, cleaned as the options say.

    Raises:
        InputError: there is no surface at the level, or in the box.
    """
    region = export_region(run, options)
    if isinstance(run, RadianceRun):
        vertices, faces, level = _density_surface(run, region, options, progress)
    else:
        assert isinstance(run, SDFRun)
        vertices, faces, level = _distance_surface(run, region, options, progress)
    count = len(faces)
    vertices, faces, dropped = keep_large_components(vertices, faces, options.min_component)
    dropped = dropped, count - len(faces)
    if options.watertight:
        vertices, faces = refine.close(vertices, faces)
    if options.smooth:
        vertices, faces = refine.smooth(vertices, faces, options.smooth)
    count = options.faces or (TEXTURE_FACES if options.texture is not None else None)
    if count is not None:
        vertices, faces = refine.reduce(vertices, faces, count)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    if region.scene_from_region is not None:
        mesh.apply_transform(region.scene_from_region.numpy())
    return Surface(mesh, level, region, dropped)


def _density_surface(
    run: RadianceRun, region: Region, options: MeshOptions, progress: Progress
) -> tuple[np.ndarray, np.ndarray, float]:
    """Vertices and faces in the frame of the region where a density passes a level, and that level."""
    field, grid, level = run.field.folded(), _occupancy(run, region, progress), options.level
    if level is None:
        level = surface_level(field, grid, run.step_size)
        if level is None:
            low, high = span = density_span(field, grid)
            raise NoSurface(
                f"{run.folder} at step {run.step} has no opaque surface{_inside(options)}; densities span "
                f"{low:.3g}..{high:.3g}. Train longer, or give a --level in between.",
                span,
            )
    grid_tells = level > grid.min_density
    inside = partial(near_occupied, grid, anywhere=not grid_tells)
    bounded = grid_tells or not bool(grid.allowed.all())
    vertices, faces = extract_mesh(
        # densities span decades: their logarithm is what runs straighter between lattice points
        region.in_scene(lambda points: torch.log1p(evaluate_density(field, points) / level)),
        region.aabb,
        options.resolution,
        math.log(2.0),
        occupied=region.occupied(inside() if bounded else None),
        occupied_within=region.occupied_within(inside) if bounded else None,
        halvings=_HALVINGS,
        device=run.field.aabb.device,
        progress=progress,
    )
    if len(faces) == 0:
        low, high = span = density_span(field, grid)
        raise NoSurface(
            f"nothing at level {level:g}{_inside(options)}; densities span {low:.3g}..{high:.3g}. "
            "Give a --level in between.",
            span,
        )
    return vertices, faces, level


def _occupancy(run: RadianceRun, region: Region, progress: Progress) -> OccupancyGrid:
    """Where there is density in a region: the run's own grid, or, where that ends before the region does, a new one."""
    bounds = region.scene_bounds()
    within = bool((bounds[0] >= run.aabb[0]).all() and (bounds[1] <= run.aabb[1]).all())
    if within or not is_unbounded(run):
        return run.grid
    settings, field = run.model_config, run.field.folded()
    grid = OccupancyGrid(bounds, settings.grid_resolution, run.step_size, min_opacity=settings.grid_min_opacity)
    grid = grid.to(run.field.aabb.device)
    grid.fill(lambda points: evaluate_density(field, points), progress=progress)
    return grid


def _distance_surface(
    run: SDFRun, region: Region, options: MeshOptions, progress: Progress
) -> tuple[np.ndarray, np.ndarray, float]:
    """Vertices and faces in the frame of the region where a signed distance passes a level, and that level."""
    field, level = run.field.folded(), options.level or 0.0
    seen = run.seen if options.region == "seen" else None
    vertices, faces = distance_mesh(field, options.resolution, level=level, seen=seen, region=region, progress=progress)
    if len(faces) == 0:
        low, high = distance_span(field)
        where = " where surfaces were seen (--region box looks everywhere)" if seen is not None else ""
        raise InputError(
            f"nothing at level {level:g} m{_inside(options)}{where}; distances span {low:.3g}..{high:.3g} m. "
            "Give a --level in between."
        )
    return vertices, faces, level


def _inside(options: MeshOptions) -> str:
    return "" if options.box is None else " in --box"


def color_mesh(mesh: trimesh.Trimesh, run: Run, options: MeshOptions, progress: Progress) -> trimesh.Trimesh:
    """The mesh with the colours of the field, if it has any, at the vertices or in an image; in the training frame."""
    if not isinstance(run, RadianceRun):
        return mesh
    if options.texture is not None:
        return textured(mesh, lambda points, normals: _colors(run, points, normals, progress), options.texture)
    colors = _colors(run, mesh.vertices, mesh.vertex_normals, progress)
    mesh.visual.vertex_colors = (colors * 255).round().astype("uint8")  # type: ignore[union-attr]
    return mesh


def sample_points(
    mesh: trimesh.Trimesh, run: Run, options: MeshOptions, progress: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """options.points points spread evenly over a bare mesh in the training frame, the same on each call: places (N, 3)
    and normals (N, 3) in the frame of the options, and RGB in [0, 1] (N, 3) if the field has colours."""
    assert options.points is not None
    points, triangles = trimesh.sample.sample_surface(mesh, options.points, seed=0)[:2]
    weights = trimesh.triangles.points_to_barycentric(mesh.triangles[triangles], points)
    normals = np.einsum("nc,ncd->nd", weights, mesh.vertex_normals[mesh.faces[triangles]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)
    colors = _colors(run, points, normals, progress) if isinstance(run, RadianceRun) else None
    cloud = place(trimesh.Trimesh(points, vertex_normals=normals, process=False), run, options)
    return cloud.vertices, cloud.vertex_normals, colors


def _colors(run: RadianceRun, points: np.ndarray, normals: np.ndarray, progress: Progress) -> np.ndarray:
    """RGB in [0, 1], shape (N, 3), seen against the normals (N, 3) at points (N, 3) of the training frame."""
    places, facing = (torch.tensor(values, dtype=torch.float32).to(run.field.aabb) for values in (points, normals))
    return surface_colors(run.field.folded(), places, facing, run.step_size, progress=progress).cpu().numpy()


def place(mesh: trimesh.Trimesh, run: Run, options: MeshOptions) -> trimesh.Trimesh:
    """A mesh of the training frame in the frame of the options, with its normals."""
    if options.frame == "training":
        return mesh
    matrix = run.world_from_scene.numpy()
    normals = mesh.vertex_normals @ matrix[:3, :3].T
    mesh.apply_transform(matrix)
    mesh.vertex_normals = normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)
    return mesh
