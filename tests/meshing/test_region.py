"""--box: what is in it and nothing else, in the coordinates of the frame it is given in."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support.distance_shapes import SHAPES
from support.shape_runs import DENSITY, density_run, distance_run

from eugen_fields.errors import InputError
from eugen_fields.meshing.build import build_mesh
from eugen_fields.meshing.options import MeshOptions
from eugen_fields.meshing.region import export_region
from eugen_fields.meshing.report import surface_facts

QUICK = {"progress": False, "level": DENSITY / 2, "resolution": 64}


def similarity(scale=2.0, shift=(3.0, -1.0, 0.5), turn=(0.3, -0.2, 0.9), mirror=False):
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = scale * torch.from_numpy(Rotation.from_rotvec(turn).as_matrix())
    if mirror:
        matrix[:3, 0] *= -1
    matrix[:3, 3] = torch.tensor(shift, dtype=torch.float64)
    return matrix


def training_distance(vertices, matrix, name):
    scene_from_world = torch.linalg.inv(matrix)
    points = torch.from_numpy(vertices.copy()) @ scene_from_world[:3, :3].T + scene_from_world[:3, 3]
    return SHAPES[name].distance(points).abs()


def test_a_box_crops_and_closes_what_it_cuts(tmp_path):
    mesh, _ = build_mesh(density_run("sphere", tmp_path), box=(0.0, -1.0, -1.0, 1.0, 1.0, 1.0), **QUICK)
    facts = surface_facts(mesh.vertices, mesh.faces)
    assert facts["watertight"] and facts["volume"] == pytest.approx(SHAPES["sphere"].volume / 2, rel=0.01)
    assert mesh.bounds[0, 0] == pytest.approx(0.0, abs=1e-6)


def test_what_was_seen_is_cropped_and_left_open(tmp_path):
    mesh, _ = build_mesh(
        distance_run("sphere", tmp_path), box=(0.0, -1.0, -1.0, 1.0, 1.0, 1.0), resolution=64, progress=False
    )
    facts = surface_facts(mesh.vertices, mesh.faces)
    assert not facts["watertight"]
    assert facts["area"] == pytest.approx(2 * np.pi * 0.7**2, rel=0.02)
    closed, _ = build_mesh(
        distance_run("sphere", tmp_path),
        box=(0.0, -1.0, -1.0, 1.0, 1.0, 1.0), region="box", resolution=64, progress=False,
    )  # fmt: skip
    assert surface_facts(closed.vertices, closed.faces)["volume"] == pytest.approx(2 / 3 * np.pi * 0.7**3, rel=0.01)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_whole_is_the_same_in_a_box_of_a_turned_world(tmp_path, mirror):
    matrix = similarity(mirror=mirror)
    run = density_run("torus", tmp_path, world_from_scene=matrix)
    for box in (None, (-5.0, -5.0, -5.0, 8.0, 8.0, 8.0)):
        mesh, _ = build_mesh(run, box=box, **QUICK)
        facts = surface_facts(mesh.vertices, mesh.faces)
        assert facts["watertight"] and mesh.volume > 0
        assert facts["volume"] == pytest.approx(8.0 * SHAPES["torus"].volume, rel=0.01)
        assert float(training_distance(mesh.vertices, matrix, "torus").max()) < 3.5 / 64
        outward = trimesh_normals_agree(mesh)
        assert outward > 0.99


def trimesh_normals_agree(mesh):
    """Share of the triangles that face the way their vertices' normals point."""
    mean = mesh.vertex_normals[mesh.faces].mean(axis=1)
    return (np.einsum("ij,ij->i", mean, mesh.face_normals) > 0).mean()


def test_a_box_lies_along_the_axes_of_its_frame(tmp_path):
    matrix = similarity()
    run = density_run("box", tmp_path, world_from_scene=matrix)
    box = (2.6, -1.6, 0.1, 3.5, -0.4, 1.0)  # inside the solid in the world: it comes back itself
    mesh, _ = build_mesh(run, box=box, **QUICK)
    np.testing.assert_allclose(mesh.bounds.reshape(-1), box, atol=1e-5)
    sides = np.diff(np.reshape(box, (2, 3)), axis=0)
    assert mesh.volume == pytest.approx(sides.prod(), rel=0.02)


def test_a_box_in_the_training_frame(tmp_path):
    run = density_run("box", tmp_path, world_from_scene=similarity())
    mesh, _ = build_mesh(run, box=(-0.2, -0.2, -0.2, 0.9, 0.9, 0.9), frame="training", **QUICK)
    np.testing.assert_allclose(mesh.bounds, [[-0.2] * 3, [0.7, 0.45, 0.56]], atol=0.01)


def test_coordinates_far_from_the_origin_lose_nothing(tmp_path):
    matrix = similarity(1.0, (4.0e5, 5.0e6, 100.0), (0.0, 0.0, 0.4))
    run = density_run("sphere", tmp_path, world_from_scene=matrix)
    box = tuple(np.concatenate([matrix[:3, 3] - 0.9, matrix[:3, 3] + 0.9]))
    mesh, _ = build_mesh(run, box=box, **QUICK)
    assert float(training_distance(mesh.vertices, matrix, "sphere").max()) < 1.0 / 64
    assert mesh.is_watertight


def test_a_box_that_is_larger_than_the_scene_spends_no_lattice_on_nothing(tmp_path):
    run = distance_run("sphere", tmp_path)
    region = export_region(run, MeshOptions(box=(-50.0,) * 3 + (50.0,) * 3))
    np.testing.assert_allclose((region.aabb[1] - region.aabb[0]).numpy(), 2.0)


def test_a_box_off_the_scene_names_where_the_scene_is(tmp_path):
    run = density_run("sphere", tmp_path, world_from_scene=similarity(turn=(0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match=r"--box 9 9 9 10 10 10 lies outside .* spans 1\.\.5, -3\.\.1, -1\.5\.\.2\.5"):
        build_mesh(run, box=(9.0, 9.0, 9.0, 10.0, 10.0, 10.0), **QUICK)


def test_a_box_without_a_surface_is_named(tmp_path):
    run = density_run("sphere", tmp_path)
    with pytest.raises(InputError, match="nothing at level 200 in --box"):
        build_mesh(run, box=(0.8, 0.8, 0.8, 1.0, 1.0, 1.0), **QUICK)


def test_an_unbounded_field_is_looked_at_outside_its_scene_box(tmp_path):
    """The same solid, four times as large and off to the side, in a field whose scene box does not reach it."""
    run = density_run("torus", tmp_path, bounded=False)
    near = run.field.distance
    run.field.distance = lambda points: 4.0 * near((points - torch.tensor([20.0, 0.0, 0.0])) / 4.0)
    mesh, _ = build_mesh(run, box=(15.0, -5.0, -5.0, 25.0, 5.0, 5.0), **(QUICK | {"resolution": 96}))
    facts = surface_facts(mesh.vertices, mesh.faces)
    assert facts["watertight"] and facts["components"] == 1
    assert facts["volume"] == pytest.approx(64.0 * SHAPES["torus"].volume, rel=0.01)
    np.testing.assert_allclose(mesh.center_mass, [20.0, 0.0, 0.0], atol=0.01)
