"""The visual hull of balls and rods: what is there is kept, what every image shows through is not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from eugen_fields.sampling import OccupancyGrid, visual_hull

SIZE, FOCAL = 64, 80.0


def ring(count: int, distance: float = 4.0, height: float = 1.5) -> Tensor:
    """OpenGL poses (count, 4, 4) on a circle, looking at the origin."""
    poses = torch.eye(4).repeat(count, 1, 1)
    for index in range(count):
        angle = 2 * math.pi * index / count
        position = torch.tensor([distance * math.cos(angle), distance * math.sin(angle), height])
        back = position / position.norm()
        right = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), back)
        right = right / right.norm()
        poses[index, :3, :3] = torch.stack([right, torch.linalg.cross(back, right), back], dim=1)
        poses[index, :3, 3] = position
    return poses


def intrinsics(count: int) -> Tensor:
    return torch.tensor([FOCAL, FOCAL, SIZE / 2, SIZE / 2]).expand(count, 4)


def silhouettes(poses: Tensor, surface: Tensor) -> list[Tensor]:
    """Pixels that points of an object (N, 3) fall into."""
    shown = []
    for pose in poses:
        local = (surface - pose[:3, 3]) @ pose[:3, :3]
        column = (SIZE / 2 + FOCAL * local[:, 0] / -local[:, 2]).long()
        row = (SIZE / 2 - FOCAL * local[:, 1] / -local[:, 2]).long()
        image = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        inside = (column >= 0) & (column < SIZE) & (row >= 0) & (row < SIZE)
        image[row[inside], column[inside]] = True
        shown.append(image)
    return shown


def solid(center: tuple[float, ...], halves: tuple[float, ...]) -> Tensor:
    """Points all over a box."""
    generator = torch.Generator().manual_seed(0)
    return torch.tensor(center) + torch.tensor(halves) * (2 * torch.rand(40_000, 3, generator=generator) - 1)


@pytest.mark.parametrize("halves", [(0.3, 0.3, 0.3), (0.01, 0.01, 0.8), (0.02, 0.6, 0.02)])
def test_the_object_is_kept_and_most_of_space_is_not(halves: tuple[float, ...]) -> None:
    poses, object_ = ring(12), solid((0.1, -0.1, 0.0), halves)
    grid = OccupancyGrid(torch.tensor([[-1.5] * 3, [1.5] * 3]), 24, 0.05)
    radius = float(grid.cell_size().norm()) / 2
    inside = visual_hull(grid.cell_centers(), radius, silhouettes(poses, object_), intrinsics(12), poses)
    grid.restrict(inside)
    assert bool(grid.occupied_at(object_).all()), "no part of the object is carved away"
    volume = 8 * math.prod(half + 2 * radius for half in halves) / 27
    assert float(inside.float().mean()) < 4 * volume
    low, high = grid.bounds
    assert bool((low <= object_.min(dim=0).values).all() and (high >= object_.max(dim=0).values).all())


def test_one_bad_silhouette_of_many_carves_nothing() -> None:
    poses, object_ = ring(40), solid((0.0, 0.0, 0.0), (0.3, 0.3, 0.3))
    shown = silhouettes(poses, object_)
    shown[7] = torch.zeros_like(shown[7])
    inside = visual_hull(object_[:500], 0.02, shown, intrinsics(40), poses)
    assert bool(inside.all())


def test_what_no_camera_sees_is_not_kept() -> None:
    poses = ring(6)
    shown = [torch.ones(SIZE, SIZE, dtype=torch.bool)] * 6
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    assert visual_hull(points, 0.1, shown, intrinsics(6), poses).tolist() == [True, False]


def test_a_restricted_grid_never_looks_elsewhere() -> None:
    """Whatever the field has there; emptied, it begins again with what is allowed; saved and loaded it still knows."""
    grid = OccupancyGrid(torch.tensor([[-1.0] * 3, [1.0] * 3]), 8, 0.1)
    allowed = grid.cell_centers()[:, 0] > 0
    grid.restrict(allowed)
    asked = []

    def dense(points: Tensor) -> Tensor:
        asked.append(points)
        return torch.full((len(points),), 50.0)

    for cells in (100, 512):
        grid.update(dense, cells, torch.Generator().manual_seed(0))
        assert bool((torch.cat(asked)[:, 0] > 0).all())
        assert not bool(grid.occupied[~allowed].any()) and float(grid.bounds[0, 0]) == 0.0
    for _ in range(400):
        if grid.update(lambda points: torch.zeros(len(points)), 512):
            break
    assert torch.equal(grid.occupied, allowed)
    again = OccupancyGrid(torch.tensor([[-1.0] * 3, [1.0] * 3]), 8, 0.1)
    again.load_state_dict(grid.state_dict())
    assert torch.equal(again.allowed, allowed)
    old = {name: value for name, value in grid.state_dict().items() if name != "allowed"}
    again.load_state_dict(old)
    assert bool(again.allowed.all()), "grids of older checkpoints allow everything"
    with pytest.raises(ValueError, match="no cell"):
        grid.restrict(torch.zeros_like(allowed))
