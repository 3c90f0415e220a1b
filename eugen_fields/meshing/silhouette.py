"""Looks at a mesh without a screen: silhouettes and shaded images by ray casting."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import ArrayLike


def camera_rays(
    camera_to_world: ArrayLike, fx: float, fy: float, cx: float, cy: float, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions (height * width, 3) through the pixel centres, row by row.

    Args:
        camera_to_world: 3x4 or 4x4; the camera looks along its -z axis and y points up (OpenGL, nerfstudio).
        fx, fy, cx, cy: focal lengths and principal point, pixels.
    """
    pose = np.asarray(camera_to_world, dtype=np.float64)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    local = np.stack([(columns - cx) / fx, -(rows - cy) / fy, -np.ones_like(columns)], axis=-1).reshape(-1, 3)
    directions = local @ pose[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return np.broadcast_to(pose[:3, 3], directions.shape).copy(), directions


def silhouette(
    mesh: trimesh.Trimesh,
    camera_to_world: ArrayLike,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    width: int,
    height: int,
) -> np.ndarray:
    """Where a camera sees a mesh, bool (height, width). The camera is as in `camera_rays`, in the frame of the mesh."""
    origins, directions = camera_rays(camera_to_world, fx, fy, cx, cy, width, height)
    return (mesh.ray.intersects_first(origins, directions) >= 0).reshape(height, width)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = np.logical_or(first, second).sum()
    return float(np.logical_and(first, second).sum() / union) if union else 1.0


def render_mesh(
    mesh: trimesh.Trimesh,
    camera_to_world: ArrayLike,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    width: int,
    height: int,
    *,
    shade: bool = False,
) -> np.ndarray:
    """An image of a mesh on white, uint8 (height, width, 3).

    Args:
        camera_to_world, fx, fy, cx, cy: as in `camera_rays`, in the frame of the mesh.
        shade: grey, lit from the camera, which shows the shape; otherwise the vertex colours as they are.
    """
    origins, directions = camera_rays(camera_to_world, fx, fy, cx, cy, width, height)
    triangles = mesh.ray.intersects_first(origins, directions)
    hit = triangles >= 0
    faces = mesh.faces[triangles[hit]]
    corners = mesh.vertices[faces]
    normals = mesh.face_normals[triangles[hit]]
    facing = np.einsum("ij,ij->i", normals, directions[hit])
    if shade:
        color = np.repeat(np.abs(facing)[:, None] * 0.8 + 0.1, 3, axis=1) * 255
    else:
        facing = np.where(np.abs(facing) < 1e-12, 1e-12, facing)
        distance = np.einsum("ij,ij->i", normals, corners[:, 0] - origins[hit]) / facing
        places = origins[hit] + distance[:, None] * directions[hit]
        weights = trimesh.triangles.points_to_barycentric(corners, places).clip(0, 1)
        weights /= weights.sum(axis=1, keepdims=True)
        corner_colors = mesh.visual.vertex_colors[faces][..., :3]  # type: ignore[union-attr]
        color = np.einsum("ij,ijk->ik", weights, corner_colors.astype(np.float64))
    image = np.full((height * width, 3), 255, dtype=np.uint8)
    image[hit] = np.round(color).clip(0, 255).astype(np.uint8)
    return image.reshape(height, width, 3)
