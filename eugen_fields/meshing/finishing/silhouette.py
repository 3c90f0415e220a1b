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


def cast_rays(mesh: trimesh.Trimesh, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangle that each ray meets first, int64 (N,), -1 for none, and its barycentric weights there (N, 3)."""
    import open3d

    scene = open3d.t.geometry.RaycastingScene()
    tensor = open3d.core.Tensor
    vertices, faces = mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32)
    scene.add_triangles(tensor(vertices), tensor(faces))  # type: ignore[call-overload]
    rays = np.concatenate([origins, directions], axis=-1).astype(np.float32)
    hits = scene.cast_rays(tensor(rays))  # type: ignore[call-overload]
    triangles = hits["primitive_ids"].numpy().astype(np.int64)
    triangles[~np.isfinite(hits["t_hit"].numpy())] = -1
    second_and_third = hits["primitive_uvs"].numpy().astype(np.float64)
    return triangles, np.concatenate([1.0 - second_and_third.sum(axis=1, keepdims=True), second_and_third], axis=1)


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
    return (cast_rays(mesh, origins, directions)[0] >= 0).reshape(height, width)


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
        shade: grey with smooth normals, lit from the camera, which shows the shape; otherwise the vertex colours as
            they are.
    """
    origins, directions = camera_rays(camera_to_world, fx, fy, cx, cy, width, height)
    triangles, weights = cast_rays(mesh, origins, directions)
    hit = triangles >= 0
    if shade:
        normals = np.einsum("ij,ijk->ik", weights[hit], mesh.vertex_normals[mesh.faces[triangles[hit]]])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)
        facing = np.einsum("ij,ij->i", normals, directions[hit])
        color = np.repeat(np.abs(facing)[:, None] * 0.8 + 0.1, 3, axis=1) * 255
    else:
        corner_colors = mesh.visual.vertex_colors[mesh.faces[triangles[hit]]][..., :3]  # type: ignore[union-attr]
        color = np.einsum("ij,ijk->ik", weights[hit], corner_colors.astype(np.float64))
    image = np.full((height * width, 3), 255, dtype=np.uint8)
    image[hit] = np.round(color).clip(0, 255).astype(np.uint8)
    return image.reshape(height, width, 3)
