"""eugen-export: a run becomes a file that other programs read, whole or not at all."""

import sys

import numpy as np
import pytest
import torch
import trimesh

from eugen_fields.errors import InputError
from eugen_fields.meshing.build import build_mesh
from eugen_fields.meshing.export import main
from eugen_fields.meshing.export_mesh import export_mesh
from eugen_fields.meshing.extraction.surface import density_span, near_occupied, surface_level
from eugen_fields.meshing.files import write_mesh
from eugen_fields.runs import open_run

pytest_plugins = "support.run_fixture"

# the sphere of that run; its world is a quarter turned, shifted, and twice as large
CENTER, RADIUS, SCALE = np.array([0.2, -0.1, 0.0]), 0.5, 0.5
WORLD_CENTER = (-0.1 / 0.5 + 0.25, -(0.2 / 0.5 - 0.5), 0.0 / 0.5 - 1.0)
SMALL = {"resolution": 40, "progress": False, "device": "cpu"}


@pytest.fixture
def run(sphere_run):
    return open_run(sphere_run, device="cpu")


def test_the_mesh_is_the_surface_of_the_field_in_the_world(sphere_run):
    facts = export_mesh(sphere_run, **SMALL)
    assert facts["path"] == sphere_run / "mesh.ply"
    assert facts["watertight"] and facts["components"] == 1 and facts["step"] == 200
    mesh = trimesh.load(facts["path"], process=False)
    assert (facts["vertices"], facts["faces"]) == (len(mesh.vertices), len(mesh.faces))
    np.testing.assert_allclose(facts["extent"], mesh.extents, rtol=1e-5)
    distances = np.linalg.norm(mesh.vertices - WORLD_CENTER, axis=1) * SCALE
    assert np.abs(distances - RADIUS).max() < 0.15
    assert mesh.volume > 0


def test_the_training_frame_is_that_of_the_network(run, tmp_path):
    facts = export_mesh(run, tmp_path / "mesh.ply", frame="training", **SMALL)
    mesh = trimesh.load(facts["path"], process=False)
    np.testing.assert_allclose(mesh.center_mass, CENTER, atol=0.05)


def test_a_mirrored_world_keeps_the_triangles_facing_outward(run):
    run.world_from_scene = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    mesh, _ = build_mesh(run, resolution=24, progress=False)
    assert mesh.volume > 0
    outward = mesh.vertices - mesh.center_mass
    assert (np.einsum("ij,ij->i", mesh.vertex_normals, outward) > 0).mean() > 0.95


def test_colours_are_those_of_the_field(run):
    mesh, _ = build_mesh(run, resolution=40, frame="training", progress=False)
    outward = mesh.vertices - CENTER
    truth = 0.5 + 0.5 * outward / np.linalg.norm(outward, axis=1, keepdims=True)
    assert np.abs(mesh.visual.vertex_colors[:, :3] / 255.0 - truth).mean() < 0.08


def test_the_level_lies_on_the_slope_of_the_surface(run):
    level = surface_level(run.field, run.grid, step_size=0.02)
    low, high = density_span(run.field, run.grid)
    assert level is not None and 10.0 * low < level < 0.9 * high
    assert level == surface_level(run.field, run.grid, step_size=0.02)  # the same on each call


def test_a_given_level_is_used_and_a_higher_one_gives_a_smaller_mesh(run):
    (inner, level), (outer, _) = (build_mesh(run, resolution=32, level=x, progress=False) for x in (25.0, 5.0))
    assert level == 25.0
    assert inner.volume < outer.volume


def test_the_dilated_grid_reaches_one_cell_further(run):
    run.grid.occupied.zero_()
    run.grid.occupied[(8 * 16 + 8) * 16 + 8] = True
    cell = 2.0 / 16
    near = near_occupied(run.grid)
    center = torch.full((1, 3), cell / 2)
    steps = torch.tensor([[0.0, 0, 0], [cell, 0, 0], [-cell, cell, cell], [2 * cell, 0, 0], [0, -2 * cell, 0]])
    assert near(center + steps).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_the_mesh_keeps_to_what_the_grid_allows(run, share):
    """Whatever the field has elsewhere, at levels that the grid tells of and at lower ones."""
    run.grid.restrict(run.grid.cell_centers()[:, 0] > 0)
    level = share * run.grid.min_density
    mesh, _ = build_mesh(run, resolution=32, frame="training", level=level, progress=False)
    assert mesh.vertices[:, 0].min() > -0.13, "no further than one cell"
    assert mesh.vertices[:, 0].max() > 0.5


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.4, 9.0])
def test_what_is_occupied_within_a_radius_is_never_missed(run, radius):
    generator = torch.Generator().manual_seed(0)
    points = 2.0 * torch.rand(20000, 3, generator=generator) - 1.0
    steps = torch.nn.functional.normalize(torch.randn(20000, 3, generator=generator), dim=-1) * radius
    others = points + steps * torch.rand(20000, 1, generator=generator)
    occupied = near_occupied(run.grid)(others)
    assert 0 < int(occupied.sum()) < 20000
    assert bool(near_occupied(run.grid, radius)(points)[occupied].all())


# Files


@pytest.mark.parametrize("ending", ["ply", "glb", "obj", "PLY"])
def test_shape_colours_and_normals_come_back_from_the_file(ending, tmp_path):
    sphere = trimesh.creation.icosphere(subdivisions=2)
    sphere.visual.vertex_colors = ((0.5 + 0.5 * sphere.vertices) * 255).astype(np.uint8)
    path = tmp_path / f"mesh.{ending}"
    write_mesh(sphere, path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]  # nothing beside it
    back = trimesh.load_scene(path, process=False).geometry.popitem()[1]
    assert back.is_watertight
    np.testing.assert_array_equal(back.faces, sphere.faces)
    np.testing.assert_allclose(back.vertices, sphere.vertices, atol=1e-6)
    np.testing.assert_allclose(back.vertex_normals, sphere.vertex_normals, atol=1e-5)
    # trimesh keeps the vertex colours of a mesh with a material (GLB has an unlit one) as an attribute
    colors = back.visual.vertex_attributes["color"] if ending == "glb" else back.visual.vertex_colors
    found, truth = (values[:, :3].astype(float) / 255 for values in (colors, sphere.visual.vertex_colors))
    if ending == "glb":  # and they are linear light there
        truth = np.where(truth <= 0.04045, truth / 12.92, ((truth + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(found, truth, atol=0.5 / 255 + 1e-9)


def test_a_file_that_is_there_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    path = tmp_path / "mesh.ply"
    path.write_text("old")

    def fails(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(KeyboardInterrupt):
        write_mesh(trimesh.creation.icosphere(), path)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_missing_folders_are_made(run, tmp_path):
    assert export_mesh(run, tmp_path / "a" / "b.obj", **SMALL)["path"].is_file()


# Bad input


@pytest.mark.parametrize("name", ["mesh.off", "mesh", "mesh.ply.gz"])
def test_an_unknown_ending_names_the_four(run, tmp_path, name):
    with pytest.raises(InputError, match=r"\.ply, \.glb, \.obj, \.stl"):
        export_mesh(run, tmp_path / name, **SMALL)


def test_an_output_that_cannot_be_written_is_refused_before_any_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr("eugen_fields.meshing.export_mesh.find_surface", lambda *args, **options: pytest.fail("worked"))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.ply").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        export_mesh(run, tmp_path / "file" / "mesh.ply", **SMALL)
    with pytest.raises(InputError, match="is a folder"):
        export_mesh(run, tmp_path / "folder.ply", **SMALL)


def test_a_level_where_nothing_is_names_the_densities(run, tmp_path):
    with pytest.raises(InputError, match=r"nothing at level 1e\+06; densities span .*\.\."):
        export_mesh(run, tmp_path / "mesh.ply", level=1e6, **SMALL)
    assert not list(tmp_path.glob("mesh*"))


def test_an_empty_field_is_said_to_be_empty(run, tmp_path):
    for parameter in run.field.trunk.parameters():
        parameter.zero_()
    with pytest.raises(InputError, match="no opaque surface; densities span"):
        export_mesh(run, tmp_path / "mesh.ply", **SMALL)


@pytest.mark.parametrize("bad", [{"resolution": 1}, {"level": 0.0}, {"level": float("nan")}, {"min_component": 2.0}])
def test_options_out_of_range_are_refused(run, tmp_path, bad):
    with pytest.raises(InputError, match=f"--{next(iter(bad)).replace('_', '-')} is"):
        export_mesh(run, tmp_path / "mesh.ply", **(SMALL | bad))


# The command


def test_the_command_writes_the_file_and_prints_the_facts(sphere_run, tmp_path, monkeypatch, capsys):
    path = tmp_path / "mesh.glb"
    arguments = [str(sphere_run), "--output", str(path), "--resolution", "32", "--device", "cpu", "--step", "100"]
    monkeypatch.setattr(sys, "argv", ["eugen-export", *arguments])
    main()
    printed = capsys.readouterr().out
    assert path.is_file()
    for fact in (
        "step        100",
        "level",
        "vertices",
        "faces",
        "watertight  yes",
        "components  1",
        "extent",
        str(path),
    ):
        assert fact in printed


def test_ctrl_c_ends_the_command_in_one_line(sphere_run, monkeypatch):
    def interrupted(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["eugen-export", str(sphere_run)])
    monkeypatch.setattr("eugen_fields.meshing.export_mesh.export_mesh", interrupted)
    with pytest.raises(SystemExit, match="no file was written"):
        main()


def test_bad_input_ends_the_command_with_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["eugen-export", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="error: there is no run"):
        main()
