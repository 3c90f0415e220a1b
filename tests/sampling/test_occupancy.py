"""OccupancyGrid: it may skip empty space and nothing else, and it never stays empty."""

import pytest
import torch
import torch.nn.functional as F

from eugen_fields.sampling import OccupancyGrid, accumulate, intersect_box, render_weights, sample_rays

AABB = torch.tensor([[-1.0, -0.5, 0.25], [0.5, 1.5, 2.0]])
STEP = 0.05


def make_grid(resolution=8, **options):
    return OccupancyGrid(AABB, resolution, STEP, **options)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points_in_box(count, seed=0):
    return AABB[0] + torch.rand(count, 3, generator=seeded(seed)) * (AABB[1] - AABB[0])


def make_rays(count=60, seed=0):
    """Rays from outside and inside the box towards points in it, and a few that miss."""
    origins = torch.randn(count, 3, generator=seeded(seed)) * 2.0
    origins[: count // 6] = points_in_box(count // 6, seed + 1)
    headings = F.normalize(points_in_box(count, seed + 2) - origins, dim=-1)
    headings[-count // 6 :] *= -1.0
    near, far = intersect_box(origins, headings, AABB)
    return origins, headings, near, far


def cell_of(point, grid):
    """(x, y, z) of a point's cell, and how far it is from a cell's wall in cells."""
    size = (AABB[1].double() - AABB[0].double()) / grid.resolution
    place = (point.double() - AABB[0].double()) / size
    cell = place.floor().long().clamp(0, grid.resolution - 1)
    return tuple(cell.tolist()), float((place - place.round()).abs().min())


def fill(grid, cells):
    """Marks exactly these (x, y, z) cells occupied."""
    cube = torch.zeros(grid.resolution, grid.resolution, grid.resolution, dtype=torch.bool)
    for cell in cells:
        cube[cell] = True
    grid.occupied.copy_(cube.flatten())
    return cube


def random_cells(grid, share, seed=0):
    shape = (grid.resolution,) * 3
    return [tuple(cell) for cell in (torch.rand(shape, generator=seeded(seed)) < share).nonzero().tolist()]


def ball(points):
    """A density with an edge: a ball in the middle of the box."""
    center = (AABB[0] + AABB[1]) / 2
    return 20.0 * ((points - center).norm(dim=-1) < 0.4).float()


def half(points):
    """10 in the half of the box with low x, 0 in the other."""
    return torch.where(points[:, 0] < (AABB[0, 0] + AABB[1, 0]) / 2, 10.0, 0.0)


# --- what is skipped


@pytest.mark.parametrize("stratified", [False, True])
def test_full_grid_samples_as_no_grid(stratified):
    origins, headings, near, far = make_rays()
    results = []
    for grid in (None, make_grid()):
        torch.manual_seed(3)
        samples = sample_rays(origins, headings, near, far, STEP, grid, stratified=stratified)
        points = origins[samples.ray_indices] + samples.distances[:, None] * headings[samples.ray_indices]
        weights = render_weights(ball(points), samples)
        results.append((samples, weights, accumulate(weights, points.sin(), samples)))
    (dense, dense_weights, dense_color), (gridded, weights, color) = results
    assert len(dense) > 500
    for name in ("ray_indices", "distances", "counts"):
        assert torch.equal(getattr(dense, name), getattr(gridded, name)), name
    assert torch.equal(dense_weights, weights) and torch.equal(dense_color, color)
    assert float(color.abs().max()) > 0.1


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_exactly_the_samples_in_occupied_cells_are_kept(share, stratified):
    origins, headings, near, far = make_rays()
    grid = make_grid()
    cube = fill(grid, random_cells(grid, share))
    torch.manual_seed(3)
    dense = sample_rays(origins, headings, near, far, STEP, None, stratified=stratified)
    torch.manual_seed(3)
    kept = sample_rays(origins, headings, near, far, STEP, grid, stratified=stratified)
    found = set(zip(kept.ray_indices.tolist(), kept.distances.tolist()))
    assert kept.counts.sum() == len(kept) == len(found)
    assert kept.counts.tolist() == torch.bincount(kept.ray_indices, minlength=len(origins)).tolist()
    decided = 0
    for ray, distance in zip(dense.ray_indices.tolist(), dense.distances.tolist()):
        cell, margin = cell_of(origins[ray] + distance * headings[ray], grid)
        if margin > 1e-4:  # nearer to a wall rounding may decide
            decided += 1
            assert ((ray, distance) in found) == bool(cube[cell])
    assert decided > 0.9 * len(dense)


def test_skipping_empty_cells_leaves_the_picture_alone():
    grid = make_grid(resolution=16)
    grid.update(lambda points: ball(points), 1 << 20, seeded())
    center = (AABB[0] + AABB[1]) / 2
    cells = torch.cartesian_prod(*[torch.arange(16)] * 3)
    low = AABB[0] + cells * grid.cell_size()
    nearest = torch.minimum(torch.maximum(center, low), low + grid.cell_size())
    touched = ball(nearest) > 0  # cells that hold any of the ball, wherever the visit fell
    grid.occupied.logical_or_(touched)
    assert 0 < int(grid.occupied.sum()) < 16**3
    pictures = []
    for each in (None, grid):
        origins, headings, near, far = make_rays(seed=4)
        samples = sample_rays(origins, headings, near, far, STEP, each, stratified=False)
        points = origins[samples.ray_indices] + samples.distances[:, None] * headings[samples.ray_indices]
        pictures.append(accumulate(render_weights(ball(points), samples), points.sin(), samples))
    torch.testing.assert_close(pictures[1], pictures[0], rtol=1e-5, atol=1e-6)


def test_occupied_at_looks_up_the_cell_of_a_point():
    grid = make_grid()
    cube = fill(grid, random_cells(grid, 0.3))
    points = points_in_box(500, seed=5)
    for point, occupied in zip(points, grid.occupied_at(points).tolist()):
        cell, margin = cell_of(point, grid)
        assert margin < 1e-5 or occupied == bool(cube[cell])
    assert grid.occupied_at(points.view(5, 100, 3)).shape == (5, 100)
    assert grid.occupied_at(points[:0]).shape == (0,)


def test_points_outside_take_their_nearest_cell():
    grid = make_grid()
    fill(grid, random_cells(grid, 0.3))
    outside = (points_in_box(500, seed=6) - AABB.mean(dim=0)) * 3.0 + AABB.mean(dim=0)
    edge = 1e-3 * grid.cell_size()
    nearest = torch.minimum(torch.maximum(outside, AABB[0] + edge), AABB[1] - edge)
    assert torch.equal(grid.occupied_at(outside), grid.occupied_at(nearest))


def test_occupied_along_equals_occupied_at():
    grid = make_grid()
    fill(grid, random_cells(grid, 0.4))
    origins, headings, _, _ = make_rays()
    distances = torch.rand(len(origins), 30, generator=seeded(8)) * 5.0
    points = origins[:, None] + distances[..., None] * headings[:, None]
    along, at = grid.occupied_along(origins, headings, distances), grid.occupied_at(points)
    assert along.shape == at.shape == (len(origins), 30)
    for ray, column in (along != at).nonzero().tolist():
        assert cell_of(points[ray, column], grid)[1] < 1e-4  # on a wall, where rounding decides
    assert float((along == at).float().mean()) > 0.999


# --- what a finished field fills it with


def test_fill_finds_exactly_the_dense_cells_and_their_bounds():
    grid = make_grid()
    grid.fill(half)
    cube = grid.occupied.view(8, 8, 8)
    assert bool(cube[:4].all()) and not bool(cube[4:].any())
    expected = AABB.clone()
    expected[1, 0] = AABB[:, 0].mean()
    torch.testing.assert_close(grid.bounds, expected)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("chunk_size", [1, 100, 512, 10_000])
def test_fill_visits_every_cell_in_every_round_by_chunks(rounds, chunk_size):
    grid = make_grid(4)
    chunks = []
    grid.fill(lambda points: chunks.append(points) or ball(points), rounds, chunk_size)
    assert max(map(len, chunks)) == min(chunk_size, 64)
    points = torch.cat(chunks)
    assert len(points) == rounds * 64
    cells = [cell_of(point, grid)[0] for point in points]
    assert all(cells.count(cell) == rounds for cell in set(cells)) and len(set(cells)) == 64
    assert len({tuple(point.tolist()) for point in points}) == len(points), "each round looks at other places"


def test_more_rounds_find_more_of_what_is_thin():
    thin = lambda points: 50.0 * ((points[:, 1] - 0.5).abs() < 0.03).float()
    found = []
    for rounds in (1, 8):
        grid = make_grid()
        grid.fill(thin, rounds)
        found.append(int(grid.occupied.sum()))
    assert 0 < found[0] < found[1]


def test_fill_is_the_same_every_time_and_leaves_torch_alone():
    grids, state = [make_grid(), make_grid()], torch.get_rng_state()
    for grid in grids:
        grid.fill(ball)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(grids[0].density, grids[1].density) and not bool(grids[0].occupied.all())


def test_fill_of_an_empty_field_leaves_all_occupied():
    grid = make_grid()
    grid.fill(lambda points: torch.zeros(len(points)))
    assert bool(grid.occupied.all()) and torch.equal(grid.bounds, AABB)


# --- what is remembered


def test_untouched_grid_is_full():
    grid = make_grid()
    assert bool(grid.occupied.all()) and torch.equal(grid.bounds, AABB)


def test_full_visit_finds_exactly_the_dense_cells():
    grid = make_grid()
    assert grid.update(half, 1 << 20, seeded()) is False
    cube = grid.occupied.view(8, 8, 8)
    assert bool(cube[:4].all()) and not bool(cube[4:].any())
    expected = AABB.clone()
    expected[1, 0] = AABB[:, 0].mean()
    torch.testing.assert_close(grid.bounds, expected)


def test_threshold_is_the_opacity_of_one_step():
    # a background of 100 keeps the mean high, so that the opacity decides
    density = lambda scale: (
        lambda p: torch.where(p[:, 0] < AABB[:, 0].mean(), 100.0, scale * 0.01 / STEP).to(torch.float32)
    )
    for scale, occupied in ((0.9, False), (1.1, True)):
        grid = make_grid(min_opacity=0.01)
        grid.update(density(scale), 1 << 20, seeded())
        cube = grid.occupied.view(8, 8, 8)
        assert bool(cube[:4].all())
        assert bool(cube[4:].any()) is occupied and bool(cube[4:].all()) is occupied


def test_visits_fall_inside_their_cells():
    visited = []
    grid = make_grid()
    grid.update(lambda points: visited.append(points) or ball(points), 1 << 20, seeded())
    (points,) = visited
    assert len(points) == 8**3
    size = grid.cell_size()
    low = AABB[0] + torch.cartesian_prod(*[torch.arange(8)] * 3) * size
    assert bool((points >= low - 1e-5).all()) and bool((points <= low + size + 1e-5).all())
    assert float(((points - low) / size).std()) == pytest.approx(12**-0.5, rel=0.1)


def test_densities_decay_and_peaks_return():
    grid = make_grid(decay=0.9)
    grid.update(half, 1 << 20, seeded())
    low_half = grid.density.view(8, 8, 8)[:4]
    assert torch.equal(low_half, torch.full_like(low_half, 10.0))
    for visits in range(1, 4):
        grid.update(lambda points: torch.zeros(len(points)), 1 << 20, seeded())
        low_half = grid.density.view(8, 8, 8)[:4]
        torch.testing.assert_close(low_half, torch.full_like(low_half, 10.0 * 0.9**visits))
    grid.update(lambda points: torch.full((len(points),), 8.0), 1 << 20, seeded())
    torch.testing.assert_close(grid.density, torch.full_like(grid.density, 8.0))  # 8 > 10 * 0.9^4


def test_emptied_places_are_forgotten_while_dense_ones_stay():
    grid = make_grid(decay=0.5)
    grid.update(lambda points: torch.full((len(points),), 5.0) + half(points), 1 << 20, seeded())
    for _ in range(12):
        assert grid.update(half, 1 << 20, seeded()) is False
    cube = grid.occupied.view(8, 8, 8)
    assert bool(cube[:4].all()) and not bool(cube[4:].any())


def test_empty_scene_marks_everything_occupied_again():
    grid = make_grid()
    fill(grid, [(1, 2, 3)])
    assert grid.update(lambda points: torch.zeros(len(points)), 1 << 20, seeded()) is True
    assert bool(grid.occupied.all()) and torch.equal(grid.bounds, AABB)
    assert grid.update(ball, 1 << 20, seeded()) is False
    assert 0 < int(grid.occupied.sum()) < 8**3


def test_almost_transparent_scene_keeps_its_densest_places():
    grid = make_grid()
    faint = lambda points: 1e-6 * (half(points) + 1.0)
    assert grid.update(faint, 1 << 20, seeded()) is False
    cube = grid.occupied.view(8, 8, 8)
    assert bool(cube[:4].all()) and not bool(cube[4:].any())


@pytest.mark.parametrize("density", [0.0, 1e-9, 1e-3, 5.0])
@pytest.mark.parametrize("max_cells", [1 << 20, 64])
def test_grid_is_never_left_empty(density, max_cells):
    grid = make_grid()
    generator = seeded()
    for _ in range(20):
        grid.update(lambda points: torch.full((len(points),), density), max_cells, generator)
        assert bool(grid.occupied.any())


@pytest.mark.parametrize("wrong, treated_as", [(float("nan"), 0.0), (float("-inf"), 0.0), (float("inf"), 1e10)])
def test_densities_that_are_not_finite(wrong, treated_as):
    grids = []
    for value in (wrong, treated_as):
        grid = make_grid()
        grid.update(lambda p, value=value: torch.where(half(p) > 0, 10.0, value), 1 << 20, seeded())
        grids.append(grid)
    assert bool(torch.isfinite(grids[0].density).all())
    assert torch.equal(grids[0].density, grids[1].density) and torch.equal(grids[0].occupied, grids[1].occupied)


@pytest.mark.parametrize("max_cells", [0, 1, 2, 7, 64, 511, 512, 5000])
@pytest.mark.parametrize("share", [0.02, 1.0])
def test_max_cells_is_respected(max_cells, share):
    grid = make_grid()
    fill(grid, random_cells(grid, share))
    sizes = []
    grid.update(lambda points: sizes.append(len(points)) or ball(points), max_cells, seeded())
    assert sizes and max(sizes) <= min(max_cells, 8**3)
    if max_cells >= 8**3:
        assert sizes == [8**3]


def test_partial_visits_change_only_visited_cells_and_reach_all_in_time():
    grid = make_grid()
    grid.density.fill_(7.0)
    generator = seeded()
    grid.update(lambda points: torch.full((len(points),), 9.0), 128, generator)
    assert set(grid.density.unique().tolist()) == {7.0, 9.0}
    assert 32 <= int((grid.density == 9.0).sum()) <= 128
    for _ in range(60):
        grid.update(lambda points: torch.full((len(points),), 9.0), 128, generator)
    assert bool((grid.density == 9.0).all())


def test_partial_visits_prefer_occupied_cells():
    grid = make_grid()
    fill(grid, [(1, 2, 3), (4, 4, 4)])
    visited = []
    grid.update(lambda points: visited.append(points) or ball(points), 32, seeded())
    cells = {cell_of(point, grid)[0] for point in visited[0]}
    assert {(1, 2, 3), (4, 4, 4)} <= cells


def test_same_generator_gives_the_same_grid_and_leaves_torch_alone():
    grids = [make_grid(), make_grid()]
    state = torch.get_rng_state()
    for grid in grids:
        generator = seeded(11)
        for _ in range(5):
            grid.update(ball, 100, generator)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in grids[0].state_dict().items():
        assert torch.equal(value, grids[1].state_dict()[name]), name
    other = make_grid()
    generator = seeded(12)
    for _ in range(5):
        other.update(ball, 100, generator)
    assert not torch.equal(other.density, grids[0].density)


def test_update_records_no_gradients():
    weight = torch.ones(3, requires_grad=True)
    grid = make_grid()
    grid.update(lambda points: (points * weight).sum(dim=-1).square(), 1 << 20, seeded())
    assert not grid.density.requires_grad


@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_bounds_are_the_tight_box(count, seed):
    """Through update, with a density that is positive in chosen cells alone."""
    grid = make_grid()
    cells = torch.randint(8, (count, 3), generator=seeded(seed))
    chosen = {tuple(cell) for cell in cells.tolist()}
    density = lambda points: torch.tensor([10.0 if cell_of(p, grid)[0] in chosen else 0.0 for p in points])
    grid.update(density, 1 << 20, seeded())
    assert {tuple(cell) for cell in grid.occupied.view(8, 8, 8).nonzero().tolist()} == chosen
    size = (AABB[1] - AABB[0]) / 8
    low = AABB[0] + torch.tensor([min(cell[axis] for cell in chosen) for axis in range(3)]) * size
    high = AABB[0] + torch.tensor([max(cell[axis] + 1 for cell in chosen) for axis in range(3)]) * size
    torch.testing.assert_close(grid.bounds, torch.stack([low, high]))


def test_state_dict_restores_the_grid():
    grid, other = make_grid(), make_grid()
    grid.update(ball, 1 << 20, seeded())
    other.load_state_dict(grid.state_dict())
    for name in ("density", "occupied", "bounds", "aabb"):
        assert torch.equal(getattr(other, name), getattr(grid, name)), name
    assert not bool(other.occupied.all())


def test_grid_keeps_a_box_of_its_own():
    aabb = AABB.clone()
    grid = OccupancyGrid(aabb, 4, STEP)
    aabb.zero_()
    assert torch.equal(grid.aabb, AABB) and torch.equal(grid.bounds, AABB)


@pytest.mark.parametrize("resolution", [1, 0, -3])
def test_resolutions_below_two_are_refused(resolution):
    with pytest.raises(ValueError, match=f"resolution is {resolution}"):
        make_grid(resolution)
