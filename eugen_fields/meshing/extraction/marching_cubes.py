"""Marching cubes over a box of any resolution, without seams, in memory that a block and the mesh bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor

from eugen_fields.meshing.extraction.lattice import POINTS_EVALUATED, Blocks, Lattice, surface_blocks
from eugen_fields.progress import Progress, counted

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
    occupied_within: Callable[[float], Callable[[Tensor], Tensor]] | None = None,
    lipschitz: float | None = None,
    halvings: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = True,
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
        occupied_within: from a radius to a function that says for points (N, 3) whether anything may be occupied within
            that of them. Blocks of the lattice with nothing in them are then passed over.
        lipschitz: the most that the density changes per unit of length (of a signed distance 1, of a trained one a
            little more). Blocks of the lattice that cannot hold the surface are then not evaluated.
        halvings: how often the lattice edge of each vertex is halved before the vertex is put where the density runs
            straight to the level. Each costs an evaluation per vertex; for densities that rise like a step.
        device: where points are made.
        progress: as in eugen_fields.progress.

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
    blocks = None
    if lipschitz is not None or occupied_within is not None:
        blocks = surface_blocks(density_fn, lattice, level, lipschitz=lipschitz, occupied_within=occupied_within)
    height = _height(density_fn, occupied, level)
    pieces = []
    total = (cells[0] + 1) * (cells[1] + 1) * (cells[2] + 1)
    with counted(progress, "Finding the surface", total, "points") as advance:
        last_plane = None
        # the lattice is padded by a layer on each side: index -1 to cells + 1
        for start in range(-1, cells[0] + 1, block):
            stop = min(start + block, cells[0] + 1)
            values = np.full((stop - start + 1, *plane_shape), -1.0, dtype=np.float32)
            if last_plane is not None:
                values[0] = last_plane
            for plane in range(max(0, start if last_plane is None else start + 1), min(stop, cells[0]) + 1):
                values[plane - start, 1:-1, 1:-1] = _sample_plane(height, occupied, lattice, blocks, plane, level)
                advance((cells[1] + 1) * (cells[2] + 1))
            last_plane = values[-1].copy()
            pieces += _march_tiles(values, start)
    if not pieces:
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    mesh = _join(pieces)
    _settle(mesh, height, lattice, halvings)
    places = mesh.corners + mesh.offsets - 1  # the padding
    return lattice.lower + places.clip(0, cells) * lattice.spacing, mesh.faces


@dataclass
class _Piece:
    """Part of a mesh, in cells from the corner of the padded lattice."""

    keys: np.ndarray
    """int64 (V,): names each vertex by its lattice edge (or its cell, for the few inside a cell)."""
    corners: np.ndarray
    """int64 (V, 3): the lower end of that edge, or the lower corner of that cell."""
    axes: np.ndarray
    """int64 (V,): the axis of that edge, 3 for a cell."""
    offsets: np.ndarray
    """(V, 3): how far the vertex is from there."""
    ends: np.ndarray
    """float32 (V, 2): values at the ends of that edge."""
    faces: np.ndarray
    """int64 (F, 3)."""


def _height(
    density_fn: Callable[[Tensor], Tensor], occupied: Callable[[Tensor], Tensor] | None, level: float
) -> Callable[[Tensor], np.ndarray]:
    """How far the density is above the level at points (N, 3), float32 (N,)."""

    def height(points: Tensor) -> np.ndarray:
        if occupied is None:
            density = density_fn(points).detach().float()
        else:
            density, kept = torch.zeros(len(points), device=points.device), occupied(points)
            if bool(kept.any()):
                density[kept] = density_fn(points[kept]).detach().float()
        return torch.nan_to_num(density, nan=0.0).cpu().numpy() - np.float32(level)

    return height


def _sample_plane(
    height: Callable[[Tensor], np.ndarray],
    occupied: Callable[[Tensor], Tensor] | None,
    lattice: Lattice,
    blocks: Blocks | None,
    x: int,
    level: float,
) -> np.ndarray:
    """How far the density is above the level, (cells_y + 1, cells_z + 1), on a lattice plane. Points are handed over a
    plane at a time, since what a network computes can depend in its last bits on what else is in the batch."""
    shape = (lattice.cells[1] + 1, lattice.cells[2] + 1)
    # what is not evaluated has its side; by how much does not matter, unless it is unoccupied
    values = np.full(shape[0] * shape[1], -level if level >= 0.0 else -1.0, dtype=np.float32)
    wanted, doubtful = np.arange(len(values)), np.zeros(0, dtype=np.int64)
    if blocks is not None:
        is_open, inside = blocks.plane(x)
        values[(inside & ~is_open).reshape(-1)] = 1.0
        # on the side that unoccupied places are not on
        wanted, doubtful = np.flatnonzero(is_open), np.flatnonzero(~is_open & (inside == (level >= 0.0)))

    def points(chunk: np.ndarray) -> Tensor:
        return lattice.points(np.stack([np.full(len(chunk), x), chunk // shape[1], chunk % shape[1]], axis=-1))

    for chunk in _chunks(wanted):
        values[chunk] = height(points(chunk))
    if occupied is not None:
        for chunk in _chunks(doubtful):
            values[chunk[~occupied(points(chunk)).cpu().numpy()]] = -level
    return values.reshape(shape)


def _chunks(indices: np.ndarray) -> list[np.ndarray]:
    return [indices[first : first + POINTS_EVALUATED] for first in range(0, len(indices), POINTS_EVALUATED)]


def _march_tiles(values: np.ndarray, start: int) -> list[_Piece]:
    """Marching cubes over a slab of the padded lattice (X, Y, Z), tile by tile, inside where values are positive.

    Args:
        start: where the slab begins along x.
    """
    pieces = []
    for y in range(0, values.shape[1] - 1, _TILE):
        for z in range(0, values.shape[2] - 1, _TILE):
            tile = values[:, y : y + _TILE + 1, z : z + _TILE + 1]
            inside = tile > 0
            if inside.any() and not inside.all():
                piece = _march(tile, inside)
                corners = piece.corners = piece.corners + [start + 1, y, z]
                flat = (corners[:, 0] * values.shape[1] + corners[:, 1]) * values.shape[2] + corners[:, 2]
                piece.keys = 4 * flat + piece.axes
                pieces.append(piece)
    return pieces


def _march(values: np.ndarray, inside: np.ndarray) -> _Piece:
    """Marching cubes over values (X, Y, Z), inside where they are positive, which some are and some are not. The piece
    has no keys yet."""
    # Bounded away from 0, the values put each vertex well inside its edge, so that the edge can be told from it.
    magnitude = np.abs(values)
    bounded = np.where(inside, 1.0, -1.0) * (0.5 + magnitude / (1.0 + magnitude))
    # skimage winds triangles clockwise seen from outside: "ascent" turns them round
    found, faces, _, _ = marching_cubes(bounded.astype(np.float32), 0.0, gradient_direction="ascent")
    corners = np.floor(found).astype(np.int64)
    away = found > corners
    axes = np.where(away.sum(axis=1) == 1, away.argmax(axis=1), 3)
    offsets, ends = np.zeros(corners.shape), np.zeros((len(corners), 2), dtype=np.float32)
    rows = np.flatnonzero(axes < 3)
    others = corners[rows] + np.eye(3, dtype=np.int64)[axes[rows]]
    ends[rows] = np.stack([values[tuple(corners[rows].T)], values[tuple(others.T)]], axis=1)
    offsets[rows, axes[rows]] = _crossing(ends[rows, 0], ends[rows, 1])
    for row in np.flatnonzero(axes == 3):
        x, y, z = corners[row]
        offsets[row] = _middle(values[x : x + 2, y : y + 2, z : z + 2])
    return _Piece(np.zeros(0, dtype=np.int64), corners, axes, offsets, ends, faces.astype(np.int64))


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


def _join(pieces: list[_Piece]) -> _Piece:
    """All pieces in one, vertices and faces in an order that does not depend on how many there were."""
    counts = np.cumsum([0, *(len(piece.keys) for piece in pieces)])
    keys, first, merged = np.unique(
        np.concatenate([piece.keys for piece in pieces]), return_index=True, return_inverse=True
    )
    faces = merged.reshape(-1)[np.concatenate([piece.faces + count for piece, count in zip(pieces, counts)])]
    # each triangle from its lowest vertex on, and then in the order of its first edge, which it has for itself
    turned = (faces.argmin(axis=1)[:, None] + np.arange(3)) % 3
    faces = np.take_along_axis(faces, turned, axis=1)
    faces = faces[np.argsort(faces[:, 0] * len(keys) + faces[:, 1], kind="stable")]
    corners, axes, offsets, ends = (
        np.concatenate([getattr(piece, name) for piece in pieces])[first]
        for name in ("corners", "axes", "offsets", "ends")
    )
    return _Piece(keys, corners, axes, offsets, ends, faces)


def _settle(mesh: _Piece, height: Callable[[Tensor], np.ndarray], lattice: Lattice, halvings: int) -> None:
    """Moves vertices along their lattice edges, halved so often, to where the level is."""
    along = np.take_along_axis(mesh.corners, mesh.axes.clip(max=2)[:, None], axis=1)[:, 0]
    size = np.array(lattice.cells)[mesh.axes.clip(max=2)]
    # edges into the padding have nothing to evaluate at their ends
    movable = np.flatnonzero((mesh.axes < 3) & (along >= 1) & (along <= size)) if halvings else []
    for rows in _chunks(np.asarray(movable, dtype=np.int64)):
        corners, direction = mesh.corners[rows] - 1, np.eye(3)[mesh.axes[rows]]
        low, high = np.zeros(len(rows)), np.ones(len(rows))
        at_low, at_high = mesh.ends[rows].T.copy()
        for _ in range(halvings):
            middle = (low + high) / 2
            found = height(lattice.points(corners + middle[:, None] * direction))
            before = (found > 0) == (at_low > 0)
            low, at_low = np.where(before, middle, low), np.where(before, found, at_low)
            high, at_high = np.where(before, high, middle), np.where(before, at_high, found)
        share = low + (high - low) * _crossing(at_low, at_high)
        mesh.offsets[rows, mesh.axes[rows]] = share.clip(_EDGE_MARGIN, 1.0 - _EDGE_MARGIN)
