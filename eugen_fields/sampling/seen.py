"""What a stream has seen of its box: where there were surfaces, and which space was looked into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SeenCells(nn.Module):
    """Cubic cells over a box, with two bits each: whether a surface point lay in it, and whether a camera has looked
    into it.

    Args:
        aabb: the box, shape (2, 3), metres.
        resolution: cells along its longest side, at least 1.

    Raises:
        ValueError: resolution below 1.
    """

    aabb: Tensor
    surface_bits: Tensor
    open_bits: Tensor

    def __init__(self, aabb: Tensor, resolution: int = 64) -> None:
        super().__init__()
        if resolution < 1:
            raise ValueError(f"resolution is {resolution}; it must be at least 1")
        self.resolution = resolution
        extent = (aabb[1] - aabb[0]).double()
        self.cell_size = float(extent.max()) / resolution
        x, y, z = (max(1, round(float(side) / self.cell_size + 0.499)) for side in extent)
        self.shape = (x, y, z)
        self.register_buffer("aabb", aabb.clone().float(), persistent=False)
        for name in ("surface_bits", "open_bits"):
            self.register_buffer(name, torch.zeros(-(-x * y * z // 8), dtype=torch.uint8))
        self._unseen_distances: tuple[Tensor, Tensor] | None = None

    def surface_cells(self) -> Tensor:
        """Which cells hold surface points, bool (X, Y, Z)."""
        return _unpack(self.surface_bits, self.shape)

    def open_cells(self) -> Tensor:
        """Which cells a camera has looked into, up to the surface that it saw, bool (X, Y, Z)."""
        return _unpack(self.open_bits, self.shape)

    def _places(self, points: Tensor) -> Tensor:
        """Cells of points (N, 3), int64 (N, 3); those outside the box have negative or too large ones."""
        return ((points - self.aabb[0].to(points)) / self.cell_size).floor().long()

    def _inside(self, places: Tensor) -> Tensor:
        return ((places >= 0) & (places < torch.tensor(self.shape, device=places.device))).all(dim=-1)

    def add(self, points: Tensor) -> None:
        """Remembers surface points (N, 3), metres; those outside the box are passed over."""
        cells = self.surface_cells()
        places = self._places(points)
        cells[tuple(places[self._inside(places)].T)] = True
        self.surface_bits.copy_(_pack(cells))

    def look(self, depth: Tensor, intrinsics: Tensor, pose: Tensor) -> None:
        """Remembers the space that a camera looked into: cells whose middle projects into the image, not more than one
        cell behind what was measured there.

        Args:
            depth: z-depth, shape (H, W), metres; 0 or not finite where there is none.
            intrinsics: fx, fy, cx, cy in pixels, shape (4,); the middle of the first pixel is at (0.5, 0.5).
            pose: camera-to-world, OpenGL axes, shape (3 or 4, 4).
        """
        height, width = depth.shape
        axes = [torch.arange(count, device=depth.device) + 0.5 for count in self.shape]
        middles = self.aabb[0] + self.cell_size * torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 3)
        local = (middles - pose[:3, 3]) @ pose[:3, :3]
        away = -local[:, 2]
        fx, fy, cx, cy = intrinsics.tolist()
        column = (cx + fx * local[:, 0] / away.clamp(min=1e-6)).floor()
        row = (cy - fy * local[:, 1] / away.clamp(min=1e-6)).floor()
        inside = (away > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        measured = depth[row[inside].long(), column[inside].long()]
        looked_into = torch.zeros_like(inside)
        looked_into[inside] = torch.isfinite(measured) & (measured > 0) & (away[inside] <= measured + self.cell_size)
        self.open_bits.copy_(_pack(self.open_cells() | looked_into.view(self.shape)))
        self._unseen_distances = None

    def unseen_distance(self, points: Tensor) -> Tensor:
        """How far points (N, 3) in the box are from space that no camera has looked into, and from the outside of the
        box, metres, shape (N,); 0 there, and within half a cell of it. Interpolated between the middles of cells."""
        if self._unseen_distances is None:
            from scipy.ndimage import distance_transform_edt  # here: a field file is loaded without it

            padded = F.pad(self.open_cells(), (1,) * 6).cpu().numpy()
            cells = torch.from_numpy(distance_transform_edt(padded)).to(self.aabb)
            distances = (self.cell_size * (cells - 0.5)).clamp(min=0.0)
            self._unseen_distances = distances, torch.tensor(distances.shape, device=distances.device)
        distances, size = self._unseen_distances
        # the lattice of middles, from that of the padding at one end (-1) to that at the other (1)
        places = (points - self.aabb[0].to(points)) / self.cell_size + 0.5
        grid = (2.0 * places / (size.to(places.device) - 1) - 1.0).flip(-1).view(1, 1, 1, -1, 3)
        values = distances.to(points)[None, None]
        return F.grid_sample(values, grid, padding_mode="border", align_corners=True).view(-1)

    def near(self, margin: int = 1) -> Callable[[Tensor], Tensor]:
        """A function from points (N, 3) to whether each is within so many cells of one that holds surface points, bool
        (N,); False outside the box."""
        size = 2 * margin + 1
        cells = self.surface_cells()[None, None].float()
        wide = F.max_pool3d(cells, size, stride=1, padding=margin)[0, 0].bool()

        return lambda points: self._at(wide, points)

    def is_open(self, points: Tensor) -> Tensor:
        """Whether a camera has looked into the cells of points (N, 3), bool (N,); False outside the box."""
        return self._at(self.open_cells(), points)

    def _at(self, cells: Tensor, points: Tensor) -> Tensor:
        """The values of cells, bool (X, Y, Z), at points (N, 3), bool (N,); False outside the box."""
        places = self._places(points)
        inside = self._inside(places)
        values = torch.zeros_like(inside)
        values[inside] = cells[tuple(places[inside].T)]
        return values

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._unseen_distances = None


def _unpack(bits: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Cells, bool (X, Y, Z), of bytes."""
    places = torch.arange(8, dtype=torch.uint8, device=bits.device)
    x, y, z = shape
    return (bits[:, None] >> places & 1).flatten()[: x * y * z].bool().view(shape)


def _pack(cells: Tensor) -> Tensor:
    """Bytes of cells, bool (X, Y, Z)."""
    flat = F.pad(cells.flatten(), (0, -cells.numel() % 8))
    weights = 2 ** torch.arange(8, dtype=torch.int32, device=cells.device)
    return (flat.view(-1, 8) * weights).sum(dim=1).to(torch.uint8)
