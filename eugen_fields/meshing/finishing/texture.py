"""A mesh with its colours in an image: unwrapped by xatlas, the field's colours baked into the texels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import trimesh
from PIL import Image
from scipy.ndimage import distance_transform_edt
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from eugen_fields.errors import InputError
from eugen_fields.meshing.finishing.silhouette import cast_rays

_PADDING = 4
"""Texels between charts."""
_CHART_SHARE = 0.05
"""Largest share of the area in one chart: larger charts take long to grow and are stretched more."""


def textured(
    mesh: trimesh.Trimesh, color_fn: Callable[[np.ndarray, np.ndarray], np.ndarray], size: int
) -> trimesh.Trimesh:
    """The mesh cut open along the borders of charts, with an image that holds its colours.

    Args:
        mesh: its vertices are split where a border runs through them; normals stay those of the whole mesh.
        color_fn: points (N, 3) on the surface and unit normals (N, 3) to RGB in [0, 1], shape (N, 3).
        size: texels along the longer side of the image.

    Raises:
        InputError: the image is too small for the charts.
    """
    origin, faces, uv, width, height = unwrap(mesh, size)
    vertices, normals = mesh.vertices[origin], mesh.vertex_normals[origin]
    triangles, weights = texel_triangles(uv, faces, width, height)
    hit = triangles >= 0
    corners = faces[triangles[hit]]
    points, facing = (np.einsum("nc,ncd->nd", weights[hit], values[corners]) for values in (vertices, normals))
    facing /= np.linalg.norm(facing, axis=1, keepdims=True).clip(min=1e-12)
    pixels = np.zeros((height * width, 3), dtype=np.uint8)
    pixels[hit] = np.round(color_fn(points, facing) * 255).clip(0, 255)
    pixels, hit = pixels.reshape(height, width, 3), hit.reshape(height, width)
    # what lies between the charts takes the colour of the nearest texel: filters read across borders
    rows, columns = np.asarray(distance_transform_edt(~hit, return_distances=False, return_indices=True))
    image = Image.fromarray(np.flipud(pixels[rows, columns]))
    material = PBRMaterial(baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0)
    visual = TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(vertices, faces, vertex_normals=normals, visual=visual, process=False)


def unwrap(mesh: trimesh.Trimesh, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Charts of a mesh, packed into an image.

    Returns:
        the vertex that each new one comes from (V,), faces of the new ones (F, 3), their places (V, 2) in the image in
        [0, 1] from its lower left corner, and the image's width and height in texels, the larger one `size`.

    Raises:
        InputError: the charts do not fit.
    """
    import xatlas

    atlas = xatlas.Atlas()
    # in units in which xatlas's tolerances make sense
    scale = 1.0 / max(float(np.max(mesh.extents)), 1e-12)
    positions = ((mesh.vertices - mesh.bounds[0]) * scale).astype(np.float32)
    atlas.add_mesh(positions, mesh.faces.astype(np.uint32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_chart_area = _CHART_SHARE * float(mesh.area) * scale**2
    packing.resolution, packing.padding = size, _PADDING
    atlas.generate(charts, packing)
    if atlas.atlas_count != 1:
        raise InputError(
            f"--texture {size} is too small for the {atlas.chart_count} charts of this mesh. Give a larger one, or "
            f"fewer --faces than {len(mesh.faces)}."
        )
    origin, faces, uv = atlas.get_mesh(0)
    # the atlas comes out larger than asked for, by what it did not know of padding
    width, height = (
        max(1, round(size * side / max(atlas.width, atlas.height))) for side in (atlas.width, atlas.height)
    )
    return origin.astype(np.int64), faces.astype(np.int64), uv.astype(np.float64), width, height


def texel_triangles(uv: np.ndarray, faces: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The triangle over the middle of each texel, row by row from the bottom, -1 for none, and its barycentric weights
    there (height * width, 3)."""
    flat = np.concatenate([uv * [width, height], np.zeros((len(uv), 1))], axis=1)
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    origins = np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)], axis=1)
    return cast_rays(trimesh.Trimesh(flat, faces, process=False), origins, np.tile([0.0, 0.0, -1.0], (rows.size, 1)))
