"""Marching cubes over a box of any resolution, without seams, in memory that a block and the mesh bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor
from tqdm import tqdm

from eugen_fields.meshing.lattice import POINTS_EVALUATED, Blocks, Lattice, surface_blocks

_POINTS_HELD = 1 << 24
"""Lattice points held at once where no slab thickness is asked for."""
_TILE = 64
"""Cells along the two long sides of a piece of a slab that is marched at once, if the surface passes through it."""
_EDGE_MARGIN = 1e-3
"""Vertices keep this share of an edge away from its ends, so that no triangle loses its area."""


def extract_mesh(
    density_fn: Callable[[Tensor], Tensor],
    aabb: Tensor,
    resolution: int,
    level: float,
    *,
    block: int | None = None,
    occupied: Callable[[Tensor], Tensor] | None = None,
    lipschitz: float | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """The surface where a density passes a level, closed and with its triangles facing the lower density.

    The density is sampled on a regular lattice, plane after plane along x, each point once; slabs share a plane of
    values and each vertex is known by its lattice edge, so the mesh does not depend on the slabs, to the last bit.
    Outside the box the density counts as below the level: what would leave the box is closed there.

    Args:
        density_fn: points (N, 3) to density (N,).
        aabb: the box, shape (2, 3).
        resolution: lattice cells along the longest side of the box.
        level: density at the surface.
        block: lattice cells along x that are held at once; None: as many as a bounded memory allows.
        occupied: points (N, 3) to bool (N,); the density is 0 and not evaluated where it says False.
        lipschitz: the most that the density changes per unit of length (of a signed distance 1, of a trained one a
            little more). Blocks of the lattice that cannot hold the surface are then not evaluated.
        device: where points are made.
        progress: shows a progress bar on a terminal.

    Returns:
        vertices (V, 3) float64 and faces (F, 3) int64; both empty where nothing reaches the level.

    Raises:
        ValueError: resolution below 2 or block below 1.
    """
    lattice = Lattice(aabb, resolution, device)
    cells = lattice.cells
    plane_shape = (cells[1] + 3, cells[2] + 3)
    if block is None:
        block = max(1, _POINTS_HELD // (plane_shape[0] * plane_shape[1]))
    elif block < 1:
        raise ValueError(f"block is {block}; it must be at least 1")
    blocks = None if lipschitz is None else surface_blocks(density_fn, lattice, level, lipschitz)
    found = []
    with tqdm(
        total=(cells[0] + 1) * (cells[1] + 1) * (cells[2] + 1),
        desc="Finding the surface",
        unit="points",
        unit_scale=True,
        disable=None if progress else True,
    ) as bar:
        last_plane = None
        # the lattice is padded by a layer on each side: index -1 to cells + 1
        for start in range(-1, cells[0] + 1, block):
            stop = min(start + block, cells[0] + 1)
            values = np.full((stop - start + 1, *plane_shape), -1.0, dtype=np.float32)
            if last_plane is not None:
                values[0] = last_plane
            for plane in range(max(0, start if last_plane is None else start + 1), min(stop, cells[0]) + 1):
                values[plane - start, 1:-1, 1:-1] = _sample_plane(density_fn, occupied, lattice, blocks, plane, level)
                bar.update((cells[1] + 1) * (cells[2] + 1))
            last_plane = values[-1].copy()
            found += _march_tiles(values, start)
    return _join(found, lattice)


def _sample_plane(
    density_fn: Callable[[Tensor], Tensor],
    occupied: Callable[[Tensor], Tensor] | None,
    lattice: Lattice,
    blocks: Blocks | None,
    x: int,
    level: float,
) -> np.ndarray:
    """How far the density is above the level, (cells_y + 1, cells_z + 1), on a lattice plane. Points are handed over a
    plane at a time, since what a network computes can depend in its last bits on what else is in the batch."""
    shape = (lattice.cells[1] + 1, lattice.cells[2] + 1)
    # what is not evaluated has its side; by how much does not matter
    values = np.full(shape[0] * shape[1], -1.0, dtype=np.float32)
    wanted, solid = np.arange(len(values)), np.zeros(0, dtype=np.int64)
    if blocks is not None:
        is_open, inside = blocks.plane(x)
        wanted, solid = np.flatnonzero(is_open), np.flatnonzero(inside & ~is_open)
        values[solid] = 1.0

    def points(chunk: np.ndarray) -> Tensor:
        return lattice.points(np.stack([np.full(len(chunk), x), chunk // shape[1], chunk % shape[1]], axis=-1))

    if occupied is not None:
        for chunk in _chunks(solid):
            values[chunk[~occupied(points(chunk)).cpu().numpy()]] = -level
    for chunk in _chunks(wanted):
        places = points(chunk)
        density = torch.zeros(len(places), device=places.device)
        if occupied is None:
            density = density_fn(places).detach().float()
        else:
            kept = occupied(places)
            if bool(kept.any()):
                density[kept] = density_fn(places[kept]).detach().float()
        values[chunk] = torch.nan_to_num(density, nan=0.0).cpu().numpy() - np.float32(level)
    return values.reshape(shape)


def _chunks(indices: np.ndarray) -> list[np.ndarray]:
    return [indices[first : first + POINTS_EVALUATED] for first in range(0, len(indices), POINTS_EVALUATED)]


def _march_tiles(values: np.ndarray, start: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Marching cubes over a slab of the padded lattice (X, Y, Z), piece by piece, inside where values are positive.

    Args:
        start: where the slab begins along x.

    Returns:
        of each piece with surface: keys (V,) int64 that name each vertex by its lattice edge (or its cell, for the few
        inside a cell), vertices (V, 3) in cells from the corner of the padded lattice, faces (F, 3).
    """
    found = []
    for y in range(0, values.shape[1] - 1, _TILE):
        for z in range(0, values.shape[2] - 1, _TILE):
            tile = values[:, y : y + _TILE + 1, z : z + _TILE + 1]
            inside = tile > 0
            if inside.any() and not inside.all():
                base, axis, offsets, faces = _march(tile, inside)
                places = base + [start + 1, y, z]
                keys = (places[:, 0] * values.shape[1] + places[:, 1]) * values.shape[2] + places[:, 2]
                found.append((4 * keys + axis, places + offsets, faces))
    return found


def _march(values: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Marching cubes over values (X, Y, Z), inside where they are positive, which some are and some are not.

    Returns:
        of each vertex the lower end of its lattice edge (V, 3) and the axis of that (V,), 3 for the few inside a cell,
        whose lower corner comes instead; how far the vertex is from there (V, 3), in cells; faces (F, 3).
    """
    # Bounded away from 0, the values put each vertex well inside its edge, so that the edge can be told from it.
    magnitude = np.abs(values)
    bounded = np.where(inside, 1.0, -1.0) * (0.5 + magnitude / (1.0 + magnitude))
    # skimage winds triangles clockwise seen from outside: "ascent" turns them round
    found, faces, _, _ = marching_cubes(bounded.astype(np.float32), 0.0, gradient_direction="ascent")
    base = np.floor(found).astype(np.int64)
    away = found > base
    on_edge = away.sum(axis=1) == 1
    axis = np.where(on_edge, away.argmax(axis=1), 3)
    offsets = np.zeros(base.shape)
    rows = np.flatnonzero(on_edge)
    end = base[rows]
    end[np.arange(len(rows)), axis[rows]] += 1
    offsets[rows, axis[rows]] = _crossing(values[tuple(base[rows].T)], values[tuple(end.T)])
    for row in np.flatnonzero(~on_edge):
        x, y, z = base[row]
        offsets[row] = _middle(values[x : x + 2, y : y + 2, z : z + 2])
    return base, axis, offsets, faces.astype(np.int64)


def _crossing(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Share of the way from first to second values at which they pass 0."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    return (first / (first - second)).clip(_EDGE_MARGIN, 1.0 - _EDGE_MARGIN)


def _middle(corners: np.ndarray) -> np.ndarray:
    """Mean (3,) of where the edges of a cell with values (2, 2, 2) at its corners pass 0."""
    crossings = []
    for axis in range(3):
        first, second = np.moveaxis(corners, axis, 0)
        for place in np.argwhere((first > 0) != (second > 0)):
            share = _crossing(first[tuple(place)], second[tuple(place)])
            crossings.append(np.insert(place.astype(np.float64), axis, share))
    return np.mean(crossings, axis=0)


def _join(pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]], lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """One mesh in the frame of the box, its vertices and faces in an order that does not depend on the pieces."""
    if not pieces:
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    keys, points, faces = zip(*pieces)
    counts = np.cumsum([0, *(len(part) for part in keys)])
    _, first, merged = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    joined = merged.reshape(-1)[np.concatenate([part + count for part, count in zip(faces, counts)])]
    places = np.concatenate(points)[first] - 1  # the padding
    # each triangle from its lowest vertex on, and then in the order of its first edge, which it has for itself
    turned = (joined.argmin(axis=1)[:, None] + np.arange(3)) % 3
    joined = np.take_along_axis(joined, turned, axis=1)
    order = np.argsort(joined[:, 0] * len(places) + joined[:, 1], kind="stable")
    return lattice.lower + places.clip(0, lattice.cells) * lattice.spacing, joined[order]
