"""Ground truth for the box room of depth_recordings, whose distances are known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from support import depth_recordings
from support.depth_recordings import HIGH, LOW

_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
BOX_FACES = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ]
)


def box(low: ArrayLike = LOW, high: ArrayLike = HIGH) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (8, 3) and triangles (12, 3) of an axis-aligned box."""
    return (np.asarray(low) + _CORNERS * (np.asarray(high) - np.asarray(low))).astype(np.float32), BOX_FACES


def inside_distance(points: np.ndarray) -> np.ndarray:
    """To the nearest wall, from inside the room."""
    return np.minimum(points - LOW, HIGH - points).min(axis=-1)


def write_truth(folder: Path, frames: int = 8, points_a_frame: int = 150) -> Path:
    """Both files, at points seen by the first frames: a third on walls, the rest before them."""
    random = np.random.default_rng(0)
    points = []
    for pose in depth_recordings.poses(frames):
        wall = depth_recordings.world_points(pose)[random.permutation(depth_recordings.WIDTH * depth_recordings.HEIGHT)]
        wall = wall[:points_a_frame]
        share = np.where(np.arange(len(wall)) % 3 == 0, 1.0, random.uniform(0, 0.98, len(wall)))
        points.append(pose[:3, 3] + share[:, None] * (wall - pose[:3, 3]))
    points = np.concatenate(points).astype(np.float32)
    distance = np.abs(inside_distance(points)).astype(np.float32)
    np.savez(folder / "distance_ground_truth.npz", points=points, distance=distance)
    vertices, triangles = box()
    np.savez(folder / "mesh_ground_truth.npz", vertices=vertices, triangles=triangles.astype(np.uint32))
    return folder


def write_room(folder: Path, frames: int = 8) -> Path:
    """The box room as a depth stream with its truth."""
    return write_truth(depth_recordings.write_transforms(folder, frames, color=False), frames)
