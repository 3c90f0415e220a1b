"""What a depth camera sees of a mesh, cast with Open3D (imported only when used), and the noise of a Kinect."""

from typing import Any

import numpy as np
from shapes.furniture import Mesh

NEAR, FAR = 0.3, 8.0
"""Metres between which the camera returns depth."""


class Caster:
    """A mesh to cast rays at and to measure distances to."""

    def __init__(self, mesh: Mesh) -> None:
        import open3d

        self._tensor: Any = open3d.core.Tensor  # its stubs do not know NumPy's arrays
        self._colors = mesh.colors
        self._scene = open3d.t.geometry.RaycastingScene()
        vertices = self._tensor(np.ascontiguousarray(mesh.vertices, dtype=np.float32))
        self._scene.add_triangles(vertices, self._tensor(np.ascontiguousarray(mesh.triangles, dtype=np.uint32)))

    def cast(self, pose: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth (h, w), infinite where nothing is hit; cosine between ray and normal (h, w); and colour (h, w, 3).

        Args:
            pose: (4, 4) camera-to-world, OpenGL axes.
            directions: (h, w, 3) of the pixels in the camera's axes, at depth 1.
        """
        world = directions @ pose[:3, :3].T
        rays = np.concatenate([np.broadcast_to(pose[:3, 3], world.shape), world], axis=-1).astype(np.float32)
        hits = self._scene.cast_rays(self._tensor(rays))
        depth, normals = hits["t_hit"].numpy(), hits["primitive_normals"].numpy()
        cosine = np.abs((normals * world).sum(axis=-1)) / np.linalg.norm(world, axis=-1)
        known = np.isfinite(depth)
        color = self._colors[np.where(known, hits["primitive_ids"].numpy(), 0)] * known[..., None]
        return depth, cosine, color

    def distance(self, points: np.ndarray) -> np.ndarray:
        """(N,) unsigned distance of (N, 3) points to the nearest triangle, metres, exact but for float32."""
        return self._scene.compute_distance(self._tensor(points.astype(np.float32))).numpy()


def pixel_directions(camera: dict) -> np.ndarray:
    """(h, w, 3) directions of the middles of pixels in OpenGL axes, at depth 1; `camera` as in transforms.json."""
    column, row = np.meshgrid(np.arange(camera["w"]) + 0.5, np.arange(camera["h"]) + 0.5)
    x, y = (column - camera["cx"]) / camera["fl_x"], (camera["cy"] - row) / camera["fl_y"]
    return np.stack([x, y, -np.ones_like(x)], axis=-1)


def kinect(depth: np.ndarray, cosine: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Depth as a Kinect returns it: axial noise, and nothing (0) out of range or where a surface is seen edge-on.

    The standard deviation of Nguyen, Izadi and Lovell 2012 along the axis, with depth z in metres and the angle t
    between ray and normal:

        0.0012 + 0.0019 (z - 0.4)^2  +  0.0001 / sqrt(z) * t^2 / (pi / 2 - t)^2

    where the last term counts from 60 degrees on; there is no depth beyond 82 degrees.
    """
    angle = np.arccos(np.clip(cosine, 0, 1))
    seen = (depth > NEAR) & (depth < FAR) & (angle < np.radians(82))
    z = np.where(seen, depth, 1.0)
    grazing = 0.0001 / np.sqrt(z) * (angle / np.maximum(np.pi / 2 - angle, 1e-3)) ** 2
    deviation = 0.0012 + 0.0019 * (z - 0.4) ** 2 + np.where(angle > np.radians(60), grazing, 0)
    return np.where(seen, z + deviation * generator.standard_normal(z.shape), 0.0)


def shade(cosine: np.ndarray, color: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 sRGB of surfaces lit from the camera."""
    return np.rint(255 * np.clip(color * (0.35 + 0.65 * cosine[..., None]), 0, 1)).astype(np.uint8)
