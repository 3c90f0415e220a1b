"""Cells that remember where surfaces were seen."""

import pytest
import torch

from eugen_fields.sampling import SeenCells

AABB = torch.tensor([[-1.0, -2.0, 0.5], [3.0, 1.0, 1.7]])


def points_in(aabb, count=2000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return aabb[0] + torch.rand(count, 3, generator=generator) * (aabb[1] - aabb[0])


def test_cells_hold_exactly_the_points_that_were_added():
    seen = SeenCells(AABB, 16)
    assert seen.shape == (16, 12, 5) and not bool(seen.surface_cells().any())
    points = points_in(AABB, 60)
    expected = torch.zeros(seen.shape, dtype=torch.bool)
    for x, y, z in ((points - AABB[0]) / 0.25).floor().long().tolist():
        expected[x, y, z] = True
    for part in points.split(7):
        seen.add(part)
    assert torch.equal(seen.surface_cells(), expected)
    seen.add(points)
    assert torch.equal(seen.surface_cells(), expected)


def test_points_outside_the_box_are_passed_over():
    seen = SeenCells(AABB, 16)
    seen.add(torch.tensor([[-1.5, 0.0, 1.0], [0.0, 5.0, 1.0], [0.0, 0.0, -3.0]]))
    assert not bool(seen.surface_cells().any())
    seen.add(torch.zeros(0, 3))
    assert not bool(seen.near(1)(torch.tensor([[-1.5, 0.0, 1.0]])).any())


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_near_means_within_so_many_cells(margin):
    seen = SeenCells(AABB, 16)
    added = points_in(AABB, 3, seed=1)
    seen.add(added)
    queries = points_in(AABB, 3000, seed=2)
    cells, known = ((values - AABB[0]) / 0.25 for values in (queries, added))
    apart = (cells.floor()[:, None] - known.floor()[None]).abs().amax(dim=-1).amin(dim=-1)
    near = seen.near(margin)(queries)
    assert torch.equal(near, apart <= margin)
    assert 0 < int(near.sum()) < len(near)


def test_the_state_is_two_bits_a_cell_and_restores_the_cells():
    seen = SeenCells(AABB, 32)
    seen.add(points_in(AABB, 500))
    state = seen.state_dict()
    assert set(state) == {"surface_bits", "open_bits"}
    assert all(bits.dtype == torch.uint8 and len(bits) == 32 * 24 * 10 // 8 for bits in state.values())
    other = SeenCells(AABB, 32)
    other.load_state_dict(state)
    assert torch.equal(other.surface_cells(), seen.surface_cells())


def test_a_resolution_below_one_is_refused():
    with pytest.raises(ValueError, match="resolution is 0"):
        SeenCells(AABB, 0)


def looked(resolution=32, wall=1.5):
    """A box of 2 m around the origin, and a camera at its lower end that looks up at a wall."""
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    seen = SeenCells(box, resolution)
    pose = torch.tensor([[1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -1.0, -1.0], [0, 0, 0, 1]])
    intrinsics = torch.tensor([20.0, 20.0, 20.0, 15.0])  # 90 degrees across
    seen.look(torch.full((30, 40), wall), intrinsics, pose)
    return seen


def test_space_is_open_between_a_camera_and_what_it_saw():
    seen = looked()
    x, y, z = ((torch.stack(torch.meshgrid(*[torch.arange(32)] * 3, indexing="ij")) + 0.5) / 16 - 1).unbind()
    away = z + 1.0
    frustum = (x.abs() < away * 20 / 20) & (y.abs() < away * 15 / 20)
    clear = ((x.abs() - away).abs() > 0.01) & ((y.abs() - 0.75 * away).abs() > 0.01)
    expected = frustum & (away <= 1.5 + 1 / 16)
    assert torch.equal(seen.open_cells()[clear], expected[clear])
    assert not bool(seen.surface_cells().any())


def test_pixels_without_depth_open_nothing_and_views_add_up():
    seen = looked(wall=0.0)
    assert not bool(seen.open_cells().any())
    first, both = looked(wall=0.8).open_cells(), looked(wall=0.8)
    turned = torch.tensor([[0, 0, 1.0, 1.0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
    both.look(torch.full((30, 40), 0.5), torch.tensor([20.0, 20.0, 20.0, 15.0]), turned)
    assert bool(both.open_cells()[first].all()) and int(both.open_cells().sum()) > int(first.sum())


def test_the_distance_to_unseen_space_is_that_to_the_nearest_cell_nobody_looked_into():
    seen = looked()
    generator = torch.Generator().manual_seed(0)
    points = 1.8 * torch.rand(400, 3, generator=generator) - 0.9
    cells = torch.nn.functional.pad(~seen.open_cells(), (1,) * 6, value=True).nonzero() - 1
    middles = -1.0 + (cells + 0.5) / 16
    nearest = torch.cdist(points.double(), middles.double()).amin(dim=1).float()
    found = seen.unseen_distance(points)
    open_ = seen.open_cells()[tuple(((points + 1) * 16).floor().long().T)]
    assert float((found - (nearest - 1 / 32).clamp(min=0))[open_].abs().max()) < 1.75 / 16  # a cell's diagonal
    assert bool((found[~open_] < 1.0 / 16).all())
    assert float(found.max()) > 0.3
    outside = torch.tensor([[0.0, 0.0, 5.0], [-3.0, 0.0, 0.0]])
    assert seen.unseen_distance(outside).tolist() == [0.0, 0.0]


def test_the_distance_to_unseen_space_follows_what_is_looked_at_and_loaded():
    seen, point = looked(wall=0.5), torch.tensor([[0.0, 0.0, -0.2]])
    before = float(seen.unseen_distance(point))
    state = looked(wall=1.9).state_dict()
    seen.load_state_dict(state)
    after = float(seen.unseen_distance(point))
    assert before == 0.0 and after > 0.2
    assert after == float(looked(wall=1.9).unseen_distance(point))
