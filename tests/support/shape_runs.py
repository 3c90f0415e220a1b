"""Open runs whose fields are solids in closed form (distance_shapes)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from eugen_fields.fields import RadianceField
from eugen_fields.fields.base import Field
from eugen_fields.fields.sdf import SDFField
from eugen_fields.models.isdf import ISDFModelConfig
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.runs import RadianceRun, SDFRun
from eugen_fields.sampling import SeenCells
from support.distance_shapes import SHAPES

CUBE = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
DENSITY, SOFTNESS = 400.0, 0.004


class SolidDensity(RadianceField):
    """A solid whose density falls to half at its surface, in the colours of the positions."""

    def __init__(self, name: str, bounded: bool = True) -> None:
        super().__init__()
        self.register_buffer("aabb", CUBE.clone())
        self.distance, self.bounded = SHAPES[name].distance, bounded

    def density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return DENSITY * torch.sigmoid(-self.distance(positions) / SOFTNESS), positions

    def color(self, features: Tensor, directions: Tensor) -> Tensor:
        return true_colors(features)

    def folded(self) -> SolidDensity:
        return self


def true_colors(positions: Tensor) -> Tensor:
    return (0.5 + 0.5 * positions).clamp(0.0, 1.0)


class SolidDistance(SDFField):
    """The signed distance to a solid."""

    def __init__(self, name: str) -> None:
        Field.__init__(self)
        self.register_buffer("aabb", CUBE.clone())
        self.distance = SHAPES[name].distance

    def sdf(self, points: Tensor) -> Tensor:
        return self.distance(points)

    def folded(self) -> SolidDistance:
        return self


def density_run(
    name: str, folder: Path, *, world_from_scene: Tensor | None = None, bounded: bool = True
) -> RadianceRun:
    """A run of densities whose surface is cut at half of DENSITY."""
    settings, field = NeRFModelConfig(grid_resolution=32), SolidDensity(name, bounded)
    grid = settings.build_grid(CUBE)
    for seed in range(8):
        grid.update(lambda points: field.density(points)[0], 1 << 20, torch.Generator().manual_seed(seed))
    return RadianceRun(folder, "solid", 1, settings, field, CUBE.clone(), _identity_or(world_from_scene), grid)


def distance_run(name: str, folder: Path) -> SDFRun:
    """A run of signed distances that has seen all of its surface."""
    field, seen = SolidDistance(name), SeenCells(CUBE, 32)
    points = 2.0 * torch.rand(400000, 3, generator=torch.Generator().manual_seed(0)) - 1.0
    seen.add(points[field.sdf(points).abs() < 0.03])
    return SDFRun(folder, "solid", 1, ISDFModelConfig(), field, CUBE.clone(), _identity_or(None), seen)


def _identity_or(matrix: Tensor | None) -> Tensor:
    return torch.eye(4, dtype=torch.float64) if matrix is None else matrix
