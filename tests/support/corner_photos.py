"""Photos of the corner of a room, whose walls and floor have a pattern that feature points are found in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from support.helpers import look_at_origin

FOCAL = 0.9
"""Focal length in widths of a photo."""
_CELLS = (8, 21, 55, 144)
"""Cells of random grey along a wall of two units; finer ones are fainter."""


def corner_poses(count: int) -> np.ndarray:
    """Camera-to-world poses (count, 4, 4), OpenGL axes, of cameras on an arc that look into the corner."""
    angles = np.linspace(0.35, 1.2, count)
    heights = 0.45 + 0.15 * np.sin(np.arange(count))
    return np.array([look_at_origin(angle, height, 1.7 + 0.2 * (k % 2)) for k, (angle, height) in
                     enumerate(zip(angles, heights))])  # fmt: skip


def corner_photo(pose: np.ndarray, width: int, height: int, seed: int = 0) -> Image.Image:
    """What a pinhole camera sees: three walls that meet at (-0.6, -0.6, -0.4), each of its own pattern.

    Args:
        pose: camera-to-world (4, 4), OpenGL axes.
        seed: of the patterns; other ones have nothing in common.
    """
    v, u = np.mgrid[0:height, 0:width] + 0.5
    focal = FOCAL * width
    rays = np.stack([(u - width / 2) / focal, (height / 2 - v) / focal, -np.ones_like(u)], axis=-1) @ pose[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = (np.array([-0.6, -0.6, -0.4]) - pose[:3, 3]) / rays
    distances[~(distances > 0)] = np.inf
    wall = distances.argmin(axis=-1)
    places = pose[:3, 3] + rays * distances.min(axis=-1)[..., None]
    colors = np.zeros((height, width, 3))
    for index in range(3):
        across = places[..., [axis for axis in range(3) if axis != index]]
        colors[wall == index] = _pattern(across, np.random.default_rng([seed, index]))[wall == index]
    return Image.fromarray((255 * colors).round().astype(np.uint8))


def write_corner_photos(folder: Path, poses: np.ndarray, width: int, height: int) -> Path:
    """Photos IMG_1.jpg, IMG_2.jpg, ... of poses."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, pose in enumerate(poses, 1):
        corner_photo(pose, width, height).save(folder / f"IMG_{index}.jpg", quality=95)
    return folder


def _pattern(places: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Colours in [0, 1], (..., 3), at places (..., 2) of a wall: random ones of a lattice, bilinear in between, summed
    over lattices of several widths."""
    total = np.zeros((*places.shape[:-1], 3))
    for cells in _CELLS:
        lattice = draws.uniform(-1.0, 1.0, (cells + 1, cells + 1, 3))
        spots = ((places + 1.0) / 2.0).clip(0.0, 0.9999) * cells
        low = spots.astype(int)
        part = (spots - low)[..., None]
        x, y = low[..., 0], low[..., 1]
        below = lattice[x, y] * (1 - part[..., 0, :]) + lattice[x + 1, y] * part[..., 0, :]
        above = lattice[x, y + 1] * (1 - part[..., 0, :]) + lattice[x + 1, y + 1] * part[..., 0, :]
        total += (below * (1 - part[..., 1, :]) + above * part[..., 1, :]) * cells**-0.3
    return (0.5 + 0.35 * total).clip(0.0, 1.0)
