"""Marching cubes: close to the true surface, closed, and the same whatever the slabs."""

import math

import numpy as np
import pytest
import torch
import trimesh

from eugen_fields.meshing import extract_mesh
from eugen_fields.meshing.extraction.lattice import lattice_cells
from eugen_fields.meshing.finishing.clean import keep_large_components

CUBE = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
LONG = torch.tensor([[-2.0, -1.0, 0.0], [2.0, 1.0, 1.5]])


def sphere(radius, center=(0.0, 0.0, 0.0)):
    """Density that falls linearly with the distance and is 1 at the radius."""
    return lambda points: (1.0 + radius - (points - torch.tensor(center)).norm(dim=-1)).clamp(min=0.0)


def torus(points, major=0.6, minor=0.25):
    ring = points[:, :2].norm(dim=-1) - major
    return (1.0 + minor - torch.hypot(ring, points[:, 2])).clamp(min=0.0)


def box(points, half=0.45):
    return (1.0 + half - points.abs().amax(dim=-1)).clamp(min=0.0)


def mesh_of(density, aabb=CUBE, resolution=40, level=1.0, **options):
    vertices, faces = extract_mesh(density, aabb, resolution, level, progress=False, **options)
    return trimesh.Trimesh(vertices, faces, process=False)


SHAPES = {
    "sphere": (sphere(0.7), 4 / 3 * math.pi * 0.7**3, 2),
    "torus": (torus, 2 * math.pi**2 * 0.6 * 0.25**2, 0),
    "box": (box, 0.9**3, 2),
}


@pytest.mark.parametrize("block", [1, 7, 8, 40, None])
@pytest.mark.parametrize("shape", SHAPES)
def test_is_closed_one_piece_and_encloses_the_volume(shape, block):
    density, volume, euler_number = SHAPES[shape]
    mesh = mesh_of(density, block=block)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.body_count == 1
    assert mesh.euler_number == euler_number
    assert mesh.volume == pytest.approx(volume, rel=0.02)  # positive: the triangles face outward


@pytest.mark.parametrize("shape", SHAPES)
def test_every_vertex_lies_within_a_voxel_of_the_surface(shape):
    density = SHAPES[shape][0]
    vertices = torch.from_numpy(mesh_of(density).vertices.copy())
    assert (density(vertices) - 1.0).abs().max() < 2.0 / 40  # these densities change by at most 1 per unit of length


def test_the_whole_surface_is_covered():
    mesh = mesh_of(sphere(0.7))
    directions = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    distances, _ = mesh.kdtree.query(0.7 * directions.numpy())
    assert distances.max() < 2.0 / 40


def white_noise(points):
    """A density without any smoothness: every configuration of a cell occurs."""
    values = torch.rand(21**3, generator=torch.Generator().manual_seed(1))
    x, y, z = ((points + 1.0) * 10.0).round().long().unbind(-1)
    return values[(x * 21 + y) * 21 + z]


@pytest.mark.parametrize("density", [torus, white_noise])
@pytest.mark.parametrize("block", [1, 3, 4, 20])
def test_the_mesh_does_not_depend_on_the_slabs_to_the_last_bit(density, block):
    level = 1.0 if density is torus else 0.55
    whole, sliced = (extract_mesh(density, CUBE, 20, level, block=b, progress=False) for b in (None, block))
    np.testing.assert_array_equal(whole[0], sliced[0])
    np.testing.assert_array_equal(whole[1], sliced[1])


@pytest.mark.parametrize("block", [5, 33, None])
def test_pieces_of_a_slab_that_are_marched_alone_fit_together(block):
    """White noise on a lattice wider than one piece."""
    wide = torch.tensor([[-1.0, -1.0, -1.0], [-0.9, 1.0, 1.0]])

    def noise(points):
        x, y, z = ((points + 1.0) * 50.0).round().long().unbind(-1)
        return torch.sin((x * 12.9898 + y * 78.233 + z * 37.719).double() * 43758.5453).float() + 1.0

    vertices, faces = extract_mesh(noise, wide, 100, 1.2, block=block, progress=False)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent
    whole = extract_mesh(noise, wide, 100, 1.2, progress=False)
    np.testing.assert_array_equal(whole[0], vertices)
    np.testing.assert_array_equal(whole[1], faces)


@pytest.mark.parametrize("block", [1, 6, None])
def test_even_noise_gives_a_closed_mesh(block):
    mesh = mesh_of(white_noise, resolution=20, level=0.55, block=block)
    assert mesh.is_watertight and mesh.is_winding_consistent
    _, uses = np.unique(mesh.edges_sorted, axis=0, return_counts=True)
    assert (uses == 2).all()


def test_values_exactly_at_the_level_keep_the_mesh_closed():
    mesh = mesh_of(lambda points: (points.abs().amax(dim=-1) < 0.51).float() + 1.0, resolution=8, level=1.0)
    assert mesh.is_watertight and mesh.body_count == 1


def test_infinite_and_undefined_densities_are_survived():
    def broken(points):
        density = sphere(0.5)(points)
        density[density > 1.3] = torch.inf
        density[points[:, 0] > 0.9] = torch.nan
        return density

    mesh = mesh_of(broken)
    assert mesh.is_watertight and np.isfinite(mesh.vertices).all()


def test_a_long_box_has_cells_in_proportion():
    assert lattice_cells(LONG, 64) == (64, 32, 24)
    mesh = mesh_of(sphere(0.5, (0.3, -0.2, 0.75)), aabb=LONG, resolution=80, block=9)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.02)
    np.testing.assert_allclose(mesh.center_mass, (0.3, -0.2, 0.75), atol=2e-3)


@pytest.mark.parametrize("block", [5, None])
def test_a_surface_that_leaves_the_box_is_closed_at_the_box(block):
    mesh = mesh_of(sphere(0.6, (1.0, 0.0, 0.0)), block=block)
    assert mesh.is_watertight and mesh.body_count == 1
    assert mesh.volume == pytest.approx(2 / 3 * math.pi * 0.6**3, rel=0.02)
    assert mesh.bounds[1, 0] == 1.0


def test_a_box_full_of_density_becomes_the_box():
    mesh = mesh_of(lambda points: torch.full((len(points),), 5.0), aabb=LONG, resolution=10)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4.0 * 2.0 * 1.5, rel=0.05)  # its edges are cut by at most half a cell
    np.testing.assert_array_equal(mesh.bounds, LONG.numpy())


def test_nothing_at_the_level_gives_an_empty_mesh():
    vertices, faces = extract_mesh(sphere(0.5), CUBE, 16, 99.0, progress=False)
    assert vertices.shape == (0, 3) and faces.shape == (0, 3)


def test_unoccupied_space_is_not_evaluated_and_the_surface_there_is_left_out():
    evaluated = []

    def density(points):
        evaluated.append(points)
        return torch.maximum(sphere(0.3, (-0.5, 0, 0))(points), sphere(0.3, (0.5, 0, 0))(points))

    mesh = mesh_of(density, occupied=lambda points: points[:, 0] < 0.0)
    assert torch.cat(evaluated)[:, 0].max() < 0.0
    assert mesh.is_watertight and mesh.body_count == 1 and mesh.bounds[1, 0] < 0.0


def test_an_occupancy_that_covers_the_surface_changes_nothing():
    inside = lambda points: points.norm(dim=-1) < 0.9
    np.testing.assert_array_equal(mesh_of(sphere(0.7), occupied=inside).vertices, mesh_of(sphere(0.7)).vertices)


def test_the_density_function_is_asked_for_bounded_numbers_of_points():
    counts = []
    density = sphere(0.7)
    extract_mesh(lambda points: counts.append(len(points)) or density(points), CUBE, 100, 1.0, progress=False)
    assert sum(counts) == 101**3  # no lattice point is evaluated twice
    assert max(counts) <= 1 << 19


def step(points):
    """A density that is 1 in a ball and 0 around it but for a very steep slope."""
    return torch.sigmoid((0.7 - points.norm(dim=-1)) / 1e-3)


@pytest.mark.parametrize("block", [1, 7, None])
def test_halved_edges_find_the_surface_of_a_step(block):
    errors = []
    for halvings in (0, 3, 6):
        vertices, faces = extract_mesh(step, CUBE, 40, 0.5, halvings=halvings, block=block, progress=False)
        errors.append(np.abs(np.linalg.norm(vertices, axis=1) - 0.7).mean())
        assert trimesh.Trimesh(vertices, faces, process=False).is_watertight
    assert errors[0] > 0.15 * 0.05 and errors[1] < 0.2 * errors[0] and errors[2] < 0.2 * errors[1]


@pytest.mark.parametrize("density", [step, white_noise, lambda points: torch.full((len(points),), 5.0)])
def test_halving_edges_keeps_the_mesh_closed_and_in_the_box(density):
    vertices, faces = extract_mesh(density, CUBE, 20, 0.55, halvings=3, progress=False)
    assert trimesh.Trimesh(vertices, faces, process=False).is_watertight
    assert np.abs(vertices).max() <= 1.0
    plain = extract_mesh(density, CUBE, 20, 0.55, progress=False)
    np.testing.assert_array_equal(faces, plain[1])


@pytest.mark.parametrize("bad", [{"resolution": 1}, {"block": 0}])
def test_bad_sizes_are_refused(bad):
    with pytest.raises(ValueError, match="at least"):
        mesh_of(sphere(0.5), **bad)


def two_spheres():
    both = lambda points: torch.maximum(sphere(0.4, (-0.5, 0, 0))(points), sphere(0.15, (0.6, 0, 0))(points))
    return extract_mesh(both, CUBE, 40, 1.0, progress=False)


@pytest.mark.parametrize("share, pieces", [(0.0, 2), (0.01, 2), (0.5, 1), (1.0, 1)])
def test_small_pieces_are_dropped_whole(share, pieces):
    vertices, faces, dropped = keep_large_components(*two_spheres(), share)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight and mesh.body_count == pieces == 2 - dropped
    assert len(np.unique(faces)) == len(vertices)
    assert mesh.bounds[0, 0] == pytest.approx(-0.9, abs=0.05)
