"""Where rays meet occupied cells: first and last place, with and without a cone around the ray."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from eugen_fields.sampling import OccupancyGrid, intersect_box

AABB = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def grid_of(*cells: tuple[int, int, int], resolution: int = 8) -> OccupancyGrid:
    grid = OccupancyGrid(AABB, resolution, step_size=0.01)
    grid.occupied.fill_(False)
    for x, y, z in cells:
        grid.occupied[(x * resolution + y) * resolution + z] = True
    return grid


def random_rays(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    origins = 3.0 * F.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    directions = F.normalize(torch.rand(count, 3, generator=generator) * 1.6 - 0.8 - origins, dim=-1)
    return origins, directions, *intersect_box(origins, directions, AABB)


@pytest.mark.parametrize("cells", [1, 2, 5])
def test_dilation_reaches_so_many_cells_along_each_axis(cells: int) -> None:
    grid = grid_of((1, 4, 7), (6, 0, 2))
    places = torch.stack(torch.meshgrid(*[torch.arange(8)] * 3, indexing="ij"), dim=-1).view(-1, 1, 3)
    distance = (places - torch.tensor([[1, 4, 7], [6, 0, 2]])).abs().amax(dim=-1)
    assert torch.equal(grid.dilated(cells), (distance <= cells).any(dim=-1))


def test_the_span_holds_every_occupied_place_of_a_ray_and_little_else() -> None:
    grid = grid_of((2, 3, 4), (5, 5, 3), (3, 4, 4), (6, 1, 1))
    origins, directions, near, far = random_rays(500)
    start, end = grid.span(origins, directions, near, far)
    shares = torch.linspace(0.0, 1.0, 4001)
    distances = near[:, None] + shares * (far - near)[:, None]
    occupied = grid.occupied_along(origins, directions, distances)
    cell = 0.25
    inside = (distances >= start[:, None]) & (distances <= end[:, None])
    look = (far - near) / 16
    missed = (occupied & ~inside).sum(dim=-1) * (far - near) / 4000
    assert bool((missed <= look).all()), "nothing longer than the distance of two looks is missed"
    meets = start < end
    assert 50 < int(meets.sum()) < 450
    for ray in meets.nonzero()[:, 0].tolist():
        met = distances[ray, occupied[ray]]
        assert float(start[ray]) > float(met.min()) - cell and float(end[ray]) < float(met.max()) + cell
    assert bool(((start >= near) & (end <= far))[meets].all())
    assert bool((missed <= look)[~meets].all())


def test_nothing_occupied_and_everything_occupied() -> None:
    origins, directions, near, far = random_rays(20)
    start, end = grid_of().span(origins, directions, near, far)
    assert bool((start >= end).all())
    full = OccupancyGrid(AABB, 8, step_size=0.01)
    start, end = full.span(origins, directions, near, far)
    assert torch.allclose(start, near) and torch.allclose(end, far)


def test_a_cone_meets_what_lies_beside_its_middle_ray() -> None:
    grid = grid_of((4, 4, 4))  # x, y, z in [0, 0.25]
    origins = torch.tensor([[-3.0, 0.45, 0.1], [-3.0, 0.9, 0.1]])  # 0.2 and 0.65 beside the cell
    directions = torch.tensor([[1.0, 0.0, 0.0]]).expand(2, 3)
    near, far = intersect_box(origins, directions, AABB)
    start, end = grid.span(origins, directions, near, far)
    assert bool((start >= end).all())
    start, end = grid.span(origins, directions, near, far, radius=0.2)
    assert (start < end).tolist() == [True, False]
    assert float(start[0]) < 3.0 and float(end[0]) > 3.25, "the cell itself lies between"


def test_rays_beside_the_box_meet_nothing() -> None:
    full = OccupancyGrid(AABB, 8, step_size=0.01)
    origins, directions = torch.tensor([[0.0, 5.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    near, far = intersect_box(origins, directions, AABB)
    start, end = full.span(origins, directions, near, far, radius=0.5)
    assert bool((start >= end).all())
