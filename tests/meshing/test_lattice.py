"""The blocks that are passed over cannot hold the surface, and the mesh is the same without them."""

import numpy as np
import pytest
import torch
import trimesh
from support.distance_shapes import SHAPES

from eugen_fields.meshing import extract_mesh
from eugen_fields.meshing.extraction.lattice import Lattice, surface_blocks

CUBE = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
LONG = torch.tensor([[-1.2, -1.0, -0.9], [1.1, 1.0, 0.9]])


@pytest.mark.parametrize("aabb", [CUBE, LONG])
@pytest.mark.parametrize("name", SHAPES)
def test_every_point_that_is_not_open_is_on_the_side_it_is_said_to_be(name, aabb):
    distance = SHAPES[name].distance
    lattice = Lattice(aabb, 70)
    blocks = surface_blocks(lambda points: -distance(points), lattice, 0.0, lipschitz=1.0)
    y, z = np.meshgrid(np.arange(lattice.cells[1] + 1), np.arange(lattice.cells[2] + 1), indexing="ij")
    num_open = 0
    for x in range(lattice.cells[0] + 1):
        inside = -distance(lattice.points(np.stack([np.full(y.shape, x), y, z], axis=-1))).numpy() > 0
        is_open, said_inside = blocks.plane(x)
        assert (said_inside == inside)[~is_open].all()
        num_open += is_open.sum()
    assert 0 < num_open < 0.4 * 71**3


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("level", [0.0, 0.05])
def test_the_mesh_is_the_same_with_fewer_evaluations(name, level):
    evaluated = []

    def closeness(points):
        evaluated.append(len(points))
        return -SHAPES[name].distance(points)

    meshes, counts = [], []
    for lipschitz in (None, 1.0, 2.0):
        evaluated.clear()
        meshes.append(extract_mesh(closeness, CUBE, 96, -level, lipschitz=lipschitz, progress=False))
        counts.append(sum(evaluated))
    for mesh in meshes[1:]:
        np.testing.assert_array_equal(meshes[0][0], mesh[0])
        np.testing.assert_array_equal(meshes[0][1], mesh[1])
    assert counts[1] < 0.4 * counts[0] and counts[1] < counts[2]


@pytest.mark.parametrize("block", [1, 6, 50])
def test_slabs_do_not_matter_to_it(block):
    torus = lambda points: -SHAPES["torus"].distance(points)
    whole, sliced = (extract_mesh(torus, LONG, 50, 0.0, lipschitz=1.0, block=b, progress=False) for b in (None, block))
    np.testing.assert_array_equal(whole[0], sliced[0])
    np.testing.assert_array_equal(whole[1], sliced[1])


def test_unoccupied_space_cuts_the_solid_and_the_mesh_is_closed_there():
    ball = lambda points: 0.8 - points.norm(dim=-1)
    vertices, faces = extract_mesh(
        ball, CUBE, 64, 0.0, occupied=lambda points: points[:, 0] < 0.02, lipschitz=1.0, progress=False
    )
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight and mesh.body_count == 1
    # the cut lies on the first plane that is unoccupied, since the density there is just the level
    assert mesh.bounds[1, 0] == pytest.approx(1 / 32, abs=1e-3)
    assert mesh.volume == pytest.approx(2 / 3 * np.pi * 0.8**3 + np.pi * 0.8**2 / 32, rel=0.01)


@pytest.mark.parametrize("lipschitz", [None, 1.0])
@pytest.mark.parametrize("level", [0.02, 0.0, -0.02])
def test_unoccupied_blocks_are_passed_over_and_change_nothing(lipschitz, level):
    center, asked = torch.tensor([-0.4, 0.2, 0.0]), []

    def occupied(points):
        asked.append(len(points))
        return (points - center).norm(dim=-1) < 0.4

    meshes, counts = [], []
    for within in (None, lambda radius: lambda points: (points - center).norm(dim=-1) < 0.4 + radius):
        asked.clear()
        meshes.append(
            extract_mesh(
                lambda points: -SHAPES["torus"].distance(points), CUBE, 90, level,
                occupied=occupied, occupied_within=within, lipschitz=lipschitz, progress=False,
            )
        )  # fmt: skip
        counts.append(sum(asked))
    assert len(meshes[0][1]) > 100
    if level >= 0.0:  # below, what is unoccupied is inside
        assert counts[1] < (0.2 if lipschitz is None else 0.6) * counts[0]
    np.testing.assert_array_equal(meshes[0][0], meshes[1][0])
    np.testing.assert_array_equal(meshes[0][1], meshes[1][1])


def test_a_function_that_breaks_its_bound_still_gives_a_closed_mesh():
    steep = lambda points: 5.0 * torch.sin(4.0 * points).sum(dim=-1)
    vertices, faces = extract_mesh(steep, CUBE, 64, 0.0, lipschitz=0.5, progress=False)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent


def test_undefined_values_leave_a_block_open():
    def broken(points):
        values = 0.5 - points.norm(dim=-1)
        return torch.where(points[:, 0] > 0.5, torch.nan, values)

    vertices, faces = extract_mesh(broken, CUBE, 40, 0.0, lipschitz=1.0, progress=False)
    assert np.isfinite(vertices).all() and trimesh.Trimesh(vertices, faces, process=False).is_watertight
