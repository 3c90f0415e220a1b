"""Marching cubes over a scene box of any resolution, slab by slab and without seams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor
from tqdm import tqdm

_POINTS_HELD = 1 << 22
"""Lattice points held at once where no slab thickness is asked for."""
_POINTS_EVALUATED = 1 << 19
"""Lattice points handed to the density function at once."""
_EDGE_MARGIN = 1e-3
"""Vertices keep this share of an edge away from its ends, so that no triangle loses its area."""


def lattice_cells(aabb: Tensor, resolution: int) -> tuple[int, int, int]:
    """Lattice cells along each axis of a box (2, 3): `resolution` along the longest, the others in proportion.

    Raises:
        ValueError: resolution below 2.
    """
    if resolution < 2:
        raise ValueError(f"mesh resolution is {resolution}; it must be at least 2")
    extent = (aabb[1] - aabb[0]).double()
    x, y, z = (max(2, round(float(resolution * side))) for side in extent / extent.max())
    return x, y, z


def extract_mesh(
    density_fn: Callable[[Tensor], Tensor],
    aabb: Tensor,
    resolution: int,
    level: float,
    *,
    block: int | None = None,
    occupied: Callable[[Tensor], Tensor] | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """The surface where a density passes a level, closed and with its triangles facing the lower density.

    The density is sampled on a regular lattice, slab after slab along x; neighbouring slabs share a plane of values
    and each vertex is known by its lattice edge, so the mesh does not depend on the slabs. Outside the box the density
    counts as below the level: what would leave the box is closed there.

    Args:
        density_fn: points (N, 3) to density (N,).
        aabb: the box, shape (2, 3).
        resolution: lattice cells along the longest side of the box.
        level: density at the surface.
        block: lattice cells along x that are held at once; None: as many as a bounded memory allows.
        occupied: points (N, 3) to bool (N,); the density is 0 and not evaluated where it says False.
        device: where points are made.
        progress: shows a progress bar on a terminal.

    Returns:
        vertices (V, 3) float64 and faces (F, 3) int64; both empty where nothing reaches the level.

    Raises:
        ValueError: resolution below 2 or block below 1.
    """
    cells = lattice_cells(aabb, resolution)
    if block is None:
        block = max(1, _POINTS_HELD // ((cells[1] + 3) * (cells[2] + 3)))
    elif block < 1:
        raise ValueError(f"block is {block}; it must be at least 1")
    lower = aabb[0].double().numpy(force=True)
    spacing = (aabb[1] - aabb[0]).double().numpy(force=True) / np.array(cells)
    at_once = max(1, _POINTS_EVALUATED // ((cells[1] + 1) * (cells[2] + 1)))
    all_keys, all_points, all_faces = [], [], []
    num_points = 0
    with tqdm(
        total=(cells[0] + 1) * (cells[1] + 1) * (cells[2] + 1),
        desc="density",
        unit="points",
        unit_scale=True,
        disable=None if progress else True,
    ) as bar:
        last_plane = None
        # the lattice is padded by a layer on each side: index -1 to cells + 1
        for start in range(-1, cells[0] + 1, block):
            stop = min(start + block, cells[0] + 1)
            values = np.full((stop - start + 1, cells[1] + 3, cells[2] + 3), -1.0, dtype=np.float32)
            if last_plane is not None:
                values[0] = last_plane
            first = max(0, start if last_plane is None else start + 1)
            for plane in range(first, min(stop, cells[0]) + 1, at_once):
                planes = range(plane, min(plane + at_once, stop + 1, cells[0] + 1))
                sampled = _sample_planes(density_fn, occupied, lower, spacing, cells, planes, device, bar)
                values[plane - start : planes.stop - start, 1:-1, 1:-1] = sampled - level
            last_plane = values[-1].copy()
            keys, points, faces = _march(values, start)
            all_keys.append(keys)
            all_points.append(points)
            all_faces.append(faces + num_points)
            num_points += len(points)
    _, first, merged = np.unique(np.concatenate(all_keys), return_index=True, return_inverse=True)
    points = np.concatenate(all_points)[first] - [0, 1, 1]
    faces = merged.reshape(-1)[np.concatenate(all_faces)]
    return lower + points.clip(0, cells) * spacing, faces


def _sample_planes(
    density_fn: Callable[[Tensor], Tensor],
    occupied: Callable[[Tensor], Tensor] | None,
    lower: np.ndarray,
    spacing: np.ndarray,
    cells: tuple[int, int, int],
    planes: range,
    device: torch.device | str,
    bar: tqdm,
) -> np.ndarray:
    """Densities (planes, cells_y + 1, cells_z + 1) of lattice planes across x; 0 where not occupied."""
    axes = [torch.from_numpy(lower[axis] + spacing[axis] * np.arange(cells[axis] + 1)) for axis in range(3)]
    points = torch.stack(torch.meshgrid(axes[0][planes.start : planes.stop], axes[1], axes[2], indexing="ij"), dim=-1)
    points = points.view(-1, 3).float().to(device)
    density = torch.zeros(len(points))
    for indices in torch.arange(len(points), device=device).split(_POINTS_EVALUATED):
        kept = indices if occupied is None else indices[occupied(points[indices])]
        if len(kept) > 0:
            density[kept.cpu()] = density_fn(points[kept]).detach().float().cpu()
        bar.update(len(indices))
    return torch.nan_to_num(density, nan=0.0).view(len(planes), cells[1] + 1, cells[2] + 1).numpy()


def _march(values: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Marching cubes over lattice values (X, Y, Z), inside where they are positive; x is counted from `start`.

    Returns:
        keys (V,) int64 that name each vertex by its lattice edge (or its cell, for the few inside a cell), vertices
        (V, 3) in lattice units, faces (F, 3).
    """
    inside = values > 0
    if not inside.any() or inside.all():
        return np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    # Bounded away from 0, the values put each vertex well inside its edge, so that the edge can be told from it.
    magnitude = np.abs(values)
    bounded = np.where(inside, 1.0, -1.0) * (0.5 + magnitude / (1.0 + magnitude))
    # skimage winds triangles clockwise seen from outside: "ascent" turns them round
    found, faces, _, _ = marching_cubes(bounded.astype(np.float32), 0.0, gradient_direction="ascent")
    base = np.floor(found).astype(np.int64)
    offset = (found - base).astype(np.float64)
    on_edge = (offset > 0).sum(axis=1) == 1
    axis = offset.argmax(axis=1)
    rows = np.arange(len(found))
    end = base.copy()
    end[rows, axis] += on_edge
    first, second = values[tuple(base.T)].astype(np.float64), values[tuple(end.T)].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (first / (first - second)).clip(_EDGE_MARGIN, 1.0 - _EDGE_MARGIN)
    offset[rows[on_edge], axis[on_edge]] = share[on_edge]
    keys = 4 * (np.ravel_multi_index(tuple(base.T), values.shape) + start * values[0].size)
    keys += np.where(on_edge, axis, 3)
    return keys, (base + [start, 0, 0]) + offset, faces.astype(np.int64)
