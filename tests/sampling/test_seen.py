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
    assert seen.shape == (16, 12, 5) and not bool(seen.cells().any())
    points = points_in(AABB, 60)
    expected = torch.zeros(seen.shape, dtype=torch.bool)
    for x, y, z in ((points - AABB[0]) / 0.25).floor().long().tolist():
        expected[x, y, z] = True
    for part in points.split(7):
        seen.add(part)
    assert torch.equal(seen.cells(), expected)
    seen.add(points)
    assert torch.equal(seen.cells(), expected)


def test_points_outside_the_box_are_passed_over():
    seen = SeenCells(AABB, 16)
    seen.add(torch.tensor([[-1.5, 0.0, 1.0], [0.0, 5.0, 1.0], [0.0, 0.0, -3.0]]))
    assert not bool(seen.cells().any())
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


def test_the_state_is_one_bit_a_cell_and_restores_the_cells():
    seen = SeenCells(AABB, 32)
    seen.add(points_in(AABB, 500))
    state = seen.state_dict()
    assert list(state) == ["bits"] and state["bits"].dtype == torch.uint8
    assert len(state["bits"]) == -(-32 * 24 * 10 // 8)
    other = SeenCells(AABB, 32)
    other.load_state_dict(state)
    assert torch.equal(other.cells(), seen.cells())


def test_a_resolution_below_one_is_refused():
    with pytest.raises(ValueError, match="resolution is 0"):
        SeenCells(AABB, 0)
